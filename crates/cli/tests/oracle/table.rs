//! The table of `docs/toolhive.md`, which names every difference, and what does not
//! agree with it.

use std::collections::BTreeMap;

use super::seen::{Aspect, Sequence};

/// The heading of the tables in the page.
const HEADING: &str = "\n## What you see\n";
/// What each of them begins with.
const COLUMNS: &str = "| timeline | seen | ToolHive's vMCP | vmcp-status | why |";

/// Where something is seen: the timeline and the aspect.
pub type Place = (String, Aspect);

/// What the two gateways show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub toolhive: Sequence,
    pub ours: Sequence,
}

/// Every difference that the page names.
#[derive(Debug)]
pub struct Table(BTreeMap<Place, Pair>);

impl Table {
    /// Reads the tables in the page.
    ///
    /// # Errors
    ///
    /// Says which line is not a row, or is one for the second time.
    pub fn parse(page: &str) -> Result<Self, String> {
        let (_, section) = page.split_once(HEADING).ok_or_else(|| format!("there is no heading{HEADING}"))?;
        let section = section.split("\n## ").next().unwrap_or_default();
        let mut rows = BTreeMap::new();
        for table in section.split(COLUMNS).skip(1) {
            // The first line below the columns is the rule.
            for line in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
                let (place, pair) = row(line).ok_or_else(|| format!("this is not a row of the table: {line}"))?;
                if rows.insert(place, pair).is_some() {
                    return Err(format!("this is told twice: {line}"));
                }
            }
        }
        Ok(Table(rows))
    }

    /// All that the page and what was seen do not agree on.
    pub fn disagreements(&self, seen: &BTreeMap<Place, Pair>) -> Vec<String> {
        let wrong = seen.iter().filter_map(|(place, pair)| self.disagreement(place, pair));
        let unseen = self.0.keys().filter(|place| !seen.contains_key(*place));
        let unseen = unseen
            .map(|(timeline, aspect)| format!("in the table, but in no timeline: {timeline}, {}", aspect.as_str()));
        wrong.chain(unseen).collect()
    }

    fn disagreement(&self, place: &Place, pair: &Pair) -> Option<String> {
        let (Pair { toolhive, ours }, (timeline, aspect)) = (pair, place);
        let cells = format!("| {timeline} | {} | {toolhive} | {ours} |", aspect.as_str());
        match self.0.get(place) {
            None if toolhive == ours => None,
            None => Some(format!("not in the table: {cells} |")),
            Some(_) if toolhive == ours => Some(format!("in the table, but no difference: {cells}")),
            Some(row) if row == pair => None,
            Some(_) => Some(format!("otherwise in the table: {cells}")),
        }
    }
}

/// One difference; none if it has no reason, for that is what the table is for.
fn row(line: &str) -> Option<(Place, Pair)> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [timeline, aspect, toolhive, ours, why] = cells[..] else { return None };
    let aspect = Aspect::ALL.into_iter().find(|known| known.as_str() == aspect)?;
    let pair = Pair { toolhive: Sequence::parse(toolhive), ours: Sequence::parse(ours) };
    (!timeline.is_empty() && !why.is_empty()).then(|| ((timeline.to_owned(), aspect), pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page with these rows in the second of its tables.
    fn table(rows: &str) -> Result<Table, String> {
        let columns = format!("{COLUMNS}\n|---|---|---|---|---|");
        let other = "| other | phase | Ready | Failed | why |";
        Table::parse(&format!(
            "# A page\n{HEADING}\nText.\n\n{columns}\n\nText.\n\n{columns}\n{rows}\n\n## Rest\n\n{columns}\n{other}\n"
        ))
    }

    fn seen(toolhive: &str, ours: &str) -> BTreeMap<Place, Pair> {
        let pair = Pair { toolhive: Sequence::parse(toolhive), ours: Sequence::parse(ours) };
        BTreeMap::from([(("lost-check".to_owned(), Aspect::Status), pair)])
    }

    const ROW: &str = "| lost-check | status | ready → degraded → ready | ready | one is none |";

    #[test]
    fn difference_that_the_table_names_agrees_with_it() {
        let table = table(ROW).expect("a table");
        assert_eq!(table.disagreements(&seen("ready → degraded → ready", "ready")), [""; 0]);
    }

    #[test]
    fn difference_whose_row_was_removed_disagrees_and_its_row_is_proposed() {
        let table = table("").expect("a table");
        let found = table.disagreements(&seen("ready → degraded → ready", "ready"));
        assert_eq!(found, ["not in the table: | lost-check | status | ready → degraded → ready | ready | |"]);
        assert_eq!(table.disagreements(&seen("ready", "ready")), [""; 0]);
    }

    #[test]
    fn row_that_no_timeline_shows_disagrees() {
        let table = table(&format!("{ROW}\n| invented | phase | Ready | Failed | because |")).expect("a table");
        let found = table.disagreements(&seen("ready → degraded → ready", "ready"));
        assert_eq!(found, ["in the table, but in no timeline: invented, phase"]);
    }

    #[test]
    fn row_of_what_is_equal_or_else_different_disagrees() {
        let table = table(ROW).expect("a table");
        let found = |toolhive, ours| table.disagreements(&seen(toolhive, ours)).join("\n");
        assert!(found("ready", "ready").contains("but no difference"));
        assert!(
            found("ready → unavailable", "ready")
                .contains("otherwise in the table: | lost-check | status | ready → unav")
        );
    }

    #[test]
    fn line_that_is_not_a_whole_row_is_an_error_that_repeats_it() {
        for line in ["| a | status | x | y |", "| a | colour | x | y | z |", "| a | status | x | y | |"] {
            let error = table(line).expect_err("it is not a row");
            assert!(error.contains(line), "{error}");
        }
        let error = table(&format!("{ROW}\n{ROW}")).expect_err("it is there twice");
        assert!(error.contains("told twice"), "{error}");
        assert!(Table::parse("# A page\n").expect_err("no heading").contains(HEADING));
    }
}
