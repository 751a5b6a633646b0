use std::fmt;
use std::time::Duration;

/// Shows a duration for a person, with as many digits as a person reads: `0s`, `<1ms`,
/// `711ms`, `1.5s`, `10s`, `2m5s`, `3h`, `2d4h`.
///
/// ```
/// use std::time::Duration;
///
/// let took = Duration::from_micros(710_901);
/// assert_eq!(vmcp_status::human_duration(took).to_string(), "711ms");
/// ```
pub fn human_duration(duration: Duration) -> impl fmt::Display {
    HumanDuration(duration)
}

struct HumanDuration(Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MILLISECOND: Duration = Duration::from_millis(1);
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        if self.0 < MILLISECOND {
            return f.write_str("<1ms");
        }
        let millis = self.0.as_micros().saturating_add(500) / 1000;
        let (tenths, seconds) = (millis.saturating_add(50) / 100, millis.saturating_add(500) / 1000);
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        let mut two = |large, unit, small, smaller_unit| match small {
            0 => write!(f, "{large}{unit}"),
            _ => write!(f, "{large}{unit}{small}{smaller_unit}"),
        };
        match seconds {
            _ if millis < 1000 => two(millis, "ms", 0, ""),
            _ if tenths < 100 && tenths % 10 != 0 => write!(f, "{}.{}s", tenths / 10, tenths % 10),
            0..60 => two(seconds, "s", 0, ""),
            60..3600 => two(minutes, "m", seconds % 60, "s"),
            3600..86_400 => two(hours, "h", minutes % 60, "m"),
            _ => two(days, "d", hours % 24, "h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_has_as_many_digits_as_a_person_reads() {
        let second = 1_000_000_000;
        for (nanos, shown) in [
            (0, "0s"),
            (1, "<1ms"),
            (710_900_717, "711ms"),
            (999_999_999, "1s"),
            (second, "1s"),
            (second + 500_000_000, "1.5s"),
            (9 * second + 990_000_000, "10s"),
            (10 * second + 400_000_000, "10s"),
            (59 * second + 700_000_000, "1m"),
            (125 * second, "2m5s"),
            (3600 * second, "1h"),
            (3 * 3600 * second + 300 * second, "3h5m"),
            (52 * 3600 * second, "2d4h"),
        ] {
            assert_eq!(human_duration(Duration::from_nanos(nanos)).to_string(), shown);
        }
        assert!(human_duration(Duration::MAX).to_string().ends_with('h'));
    }
}
