//! A strict reader of the `OpenMetrics` text format, as far as we use it.

#![allow(dead_code, reason = "each user takes the part it needs")]

use std::collections::{BTreeMap, HashSet};

/// The samples of one scrape.
#[derive(Debug)]
pub struct Scrape {
    samples: BTreeMap<Series, f64>,
    families: Vec<Family>,
}

type Labels = Vec<(String, String)>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub name: String,
    pub labels: Labels,
}

#[derive(Debug, Default)]
pub struct Family {
    pub name: String,
    pub kind: String,
    pub unit: Option<String>,
    pub help: String,
}

impl Scrape {
    /// # Panics
    ///
    /// At whatever the format does not allow.
    pub fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends with its end marker");
        let mut scrape = Scrape { samples: BTreeMap::new(), families: Vec::new() };
        let mut names = HashSet::new();
        for line in body.split_terminator('\n') {
            if let Some(described) = line.strip_prefix("# ") {
                let mut words = described.splitn(3, ' ');
                let mut word = || words.next().expect("keyword, name and text");
                let (keyword, name, text) = (word(), word(), word().to_owned());
                if scrape.families.last().is_none_or(|family| family.name != name) {
                    assert!(names.insert(name.to_owned()), "{name} is described in one place only");
                    scrape.families.push(Family { name: name.into(), ..Family::default() });
                }
                let family = scrape.families.last_mut().expect("one was pushed");
                match keyword {
                    "HELP" => assert_eq!(std::mem::replace(&mut family.help, text), "", "{name} is explained once"),
                    "TYPE" => assert_eq!(std::mem::replace(&mut family.kind, text), "", "{name} has one type"),
                    "UNIT" => assert_eq!(family.unit.replace(text), None, "{name} has one unit"),
                    other => panic!("{other} is no keyword"),
                }
                continue;
            }
            let family = scrape.families.last().expect("a description comes first");
            let (series, value) = sample(line);
            family.check(&series, value);
            assert_eq!(scrape.samples.insert(series, value), None, "{line} comes once");
        }
        scrape.families.iter().for_each(Family::check_description);
        scrape.check_histograms();
        scrape
    }

    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// The value of this series, written as in the text, if it is there.
    pub fn find(&self, series: &str) -> Option<f64> {
        self.samples.get(&sample(&format!("{series} 0")).0).copied()
    }

    pub fn value(&self, series: &str) -> f64 {
        self.find(series).unwrap_or_else(|| panic!("{series} is missing from {self:#?}"))
    }

    /// The sum over all series of this name.
    pub fn sum(&self, name: &str) -> f64 {
        self.series(name).map(|(_, value)| value).sum()
    }

    pub fn series(&self, name: &str) -> impl Iterator<Item = (&Series, f64)> {
        self.samples.iter().filter(move |(series, _)| series.name == name).map(|(series, value)| (series, *value))
    }

    /// The values of this label over all series of this name, in order.
    pub fn labels(&self, name: &str, label: &str) -> Vec<&str> {
        let of = |series: &'_ Series| series.labels.iter().position(|(key, _)| key == label);
        self.series(name).filter_map(|(series, _)| of(series).map(|at| series.labels[at].1.as_str())).collect()
    }

    /// Buckets add up, and the last one has all.
    fn check_histograms(&self) {
        for family in self.families.iter().filter(|family| family.kind == "histogram") {
            let mut before: Option<(Labels, f64, f64)> = None;
            let mut buckets: Vec<_> = self.series(&format!("{}_bucket", family.name)).collect();
            let split = |series: &Series| {
                let (le, rest): (Vec<_>, Vec<_>) = series.labels.clone().into_iter().partition(|(key, _)| key == "le");
                (rest, number(&le.first().expect("a bucket has a bound").1))
            };
            buckets.sort_by(|(a, _), (b, _)| split(a).partial_cmp(&split(b)).expect("numbers"));
            assert!(!buckets.is_empty());
            for (series, count) in buckets {
                let (rest, le) = split(series);
                if let Some((others, bound, so_far)) = before.filter(|(others, ..)| *others == rest) {
                    assert!(bound < le && so_far <= count, "{others:?}");
                }
                if le.is_infinite() {
                    let all = Series { name: format!("{}_count", family.name), labels: rest.clone() };
                    assert_eq!(self.samples.get(&all), Some(&count), "the last bucket has all");
                }
                before = Some((rest, le, count));
            }
        }
    }
}

impl Family {
    fn check_description(&self) {
        let Family { name, kind, unit, help } = self;
        assert!(is_name(name) && !kind.is_empty() && help.ends_with('.'), "{self:?}");
        assert!(!name.ends_with("_total"), "{name}: the suffix belongs to the sample");
        if let Some(unit) = unit {
            assert!(name.ends_with(&format!("_{unit}")), "{name} ends with its unit");
        }
    }

    fn check(&self, series: &Series, value: f64) {
        let suffixes: &[&str] = match self.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_sum", "_count", "_bucket"],
            other => panic!("{other} is no type of ours"),
        };
        let suffix = series.name.strip_prefix(&self.name).expect("a sample belongs to the family before it");
        assert!(suffixes.contains(&suffix), "{} in a {}", series.name, self.kind);
        assert!(self.kind == "gauge" || value >= 0.0, "{series:?} {value}");
        let keys: HashSet<_> = series.labels.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), series.labels.len(), "a label comes once: {series:?}");
    }
}

fn is_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(rest)
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        _ => text.parse().unwrap_or_else(|_| panic!("{text:?} is a number")),
    }
}

fn sample(line: &str) -> (Series, f64) {
    let end = line.find(['{', ' ']).expect("a name ends");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            let (key, quoted) = inner.split_once("=\"").expect("a label has a value");
            assert!(is_name(key), "{line}");
            let (value, after) = unquoted(quoted);
            labels.push((key.to_owned(), value));
            match after.strip_prefix(',') {
                Some(more) => inner = more,
                None => {
                    rest = after.strip_prefix('}').expect("labels end");
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').expect("a space before the value");
    (Series { name: name.into(), labels }, number(value))
}

/// The text up to the closing quote, and what comes after that.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next().expect("something is escaped").1 {
                'n' => '\n',
                escaped @ ('"' | '\\') => escaped,
                other => panic!("{other:?} is not to be escaped"),
            }),
            c => value.push(c),
        }
    }
    panic!("a value without end: {text:?}");
}
