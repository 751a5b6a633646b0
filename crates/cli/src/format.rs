//! Single values for a person.

use chrono::{DateTime, Utc};
use vmcp_status::Status;

/// What stands for a value that is empty.
pub(crate) const NONE: &str = "<none>";

/// A foreign text in one line that does nothing to a terminal: white space
/// becomes a space, control characters and those that turn the direction of
/// writing are shown escaped.
pub(crate) fn plain(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\t' => line.push(' '),
            _ if char.is_control() || turns_direction(char) => line.extend(char.escape_unicode()),
            _ => line.push(char),
        }
    }
    line
}

/// Separators of lines and paragraphs, which lie between, are no better.
fn turns_direction(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How long ago, as short as kubectl says it.
pub(crate) fn age(since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    let Some(since) = since else {
        return NONE.into();
    };
    let seconds = (now - since).num_seconds();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        // Clocks of two machines differ a little.
        ..=-2 => "<invalid>".into(),
        -1..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

fn two(large: i64, unit: &str, small: i64, smaller_unit: &str) -> String {
    if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{smaller_unit}") }
}

/// How many backends are routable, and how many are listed.
///
/// A list that was cut for size counts all that are routable and does not say
/// how many it lacks; the message does, in words for a person.
pub(crate) fn counts(status: &Status) -> String {
    format!("{} routable, {} listed", status.backend_count, status.discovered_backends.len())
}

/// The same for a column. Where the list lacks routable backends, a ratio would
/// mislead, so the two numbers stand apart.
pub(crate) fn short_counts(status: &Status) -> String {
    let (routable, backends) = (status.backend_count, &status.discovered_backends);
    let listed_routable = backends.iter().filter(|backend| backend.is_routable()).count();
    if usize::try_from(routable).is_ok_and(|routable| routable > listed_routable) {
        format!("{routable} ({} listed)", backends.len())
    } else {
        format!("{routable}/{}", backends.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn ages_read_as_those_of_kubectl() {
        let (minute, hour, day) = (60, 3600, 86_400);
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        for (seconds, short) in [
            (-3600, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (2 * minute, "2m"),
            (3 * minute + 12, "3m12s"),
            (10 * minute + 1, "10m"),
            (179 * minute, "179m"),
            (3 * hour, "3h"),
            (4 * hour + 5 * minute, "4h5m"),
            (47 * hour, "47h"),
            (2 * day, "2d"),
            (7 * day + 3 * hour, "7d3h"),
            (8 * day + 3 * hour, "8d"),
            (729 * day, "729d"),
            (731 * day, "2y1d"),
            (3000 * day, "8y"),
        ] {
            assert_eq!(age(Some(now - TimeDelta::seconds(seconds)), now), short, "{seconds}");
        }
        assert_eq!(age(None, now), "<none>");
    }

    #[test]
    fn foreign_text_is_one_harmless_line() {
        for (text, shown) in [
            ("two\nlines\r\nthree\tcells", "two lines three cells"),
            ("\u{1b}[31mred\u{7}\r", "\\u{1b}[31mred\\u{7}\\u{d}"),
            ("\u{9b}31m\u{7f}\0", "\\u{9b}31m\\u{7f}\\u{0}"),
            ("gnp\u{202e}exe", "gnp\\u{202e}exe"),
            ("日本 é 👩‍🔬", "日本 é 👩‍🔬"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }
}
