//! Durations as Go writes them: `30s`, `1m30s`, `1.5h`. Pure.

use std::time::Duration;

/// Go counts the nanoseconds of a duration in an `i64`, and refuses a longer one.
const LONGEST: u128 = i64::MAX as u128;

/// Reads a duration as Go's `time.ParseDuration` does, save that a negative one
/// is refused: <https://pkg.go.dev/time#ParseDuration>.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut sum: u128 = 0;
    loop {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        let (unit, after) = after.split_at(after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len()));
        sum = sum.checked_add(nanos(whole, fraction, nanos_of(unit)?)?).filter(|sum| *sum <= LONGEST)?;
        if after.is_empty() {
            return u64::try_from(sum).ok().map(Duration::from_nanos);
        }
        rest = after;
    }
}

/// The digits in front, and what follows them.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn nanos_of(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        // The two characters that look like a mu.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn nanos(whole: &str, fraction: &str, unit: u128) -> Option<u128> {
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // What comes after so many digits is less than a nanosecond of any unit.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    whole.checked_mul(unit)?.checked_add(part * unit / scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let second = 1_000_000_000;
        for (text, nanos) in [
            ("30s", 30 * second),
            ("1m30s", 90 * second),
            ("+1.5h", 5_400 * second),
            ("100ms", second / 10),
            (".5s", second / 2),
            ("1.s", second),
            ("1h1m1s1ms1us1ns", 3_661_001_001_001),
            ("2\u{b5}s", 2_000),
            ("2\u{3bc}s", 2_000),
            ("0", 0),
            ("0s", 0),
            ("0.3333333333333333333333h", 1_199_999_999_999),
            ("9223372036854775807ns", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_and_what_is_negative_is_none() {
        for text in [
            "",
            "30",
            "s",
            ".s",
            "-30s",
            "30 s",
            " 30s",
            "30s ",
            "30x",
            "1d",
            "3m1",
            "1e3s",
            "\u{661}s",
            "+",
            "1.2.3s",
            "9223372036854775808ns",
            "99999999999999999999999999999999999999999999h",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}", like in "[+-]?([0-9.]{0,30}(ns|us|ms|s|m|h)?){0,3}") {
            let _ = (parse(&text), parse(&like));
        }
    }
}
