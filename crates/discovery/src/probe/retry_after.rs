//! When a server wants to be asked again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::Response;
use reqwest::header::{DATE, RETRY_AFTER};

/// The pause that a `Retry-After` asks for, in seconds or until a date. The date is by
/// the server's clock, which the answer's own `Date` shows.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name| response.headers().get(name)?.to_str().ok().map(str::trim);
    let date = |text| DateTime::parse_from_rfc2822(text).ok().map(|date| date.to_utc());
    let asked = header(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = header(DATE).and_then(date).unwrap_or_else(Utc::now);
    (date(asked)? - now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_clock_of_the_server() {
        let asked = |date: Option<&str>, text: &str| {
            let answer = http::Response::builder().status(429).header(RETRY_AFTER, text);
            let answer = date.into_iter().fold(answer, |answer, date| answer.header(DATE, date));
            retry_after(&Response::from(answer.body("").expect("an answer")))
        };
        // A server whose clock is years behind.
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (text, expected) in [
            ("90", Some(90)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:51:07 GMT", Some(90)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:36 GMT", None),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(asked(date, text), expected.map(Duration::from_secs), "{text:?}");
        }
        let in_an_hour = (Utc::now() + chrono::TimeDelta::hours(1)).to_rfc2822();
        for date in [None, Some("now")] {
            let pause = asked(date, &in_an_hour).expect("a pause").as_secs();
            assert!((3500..=3600).contains(&pause), "by our own clock: {pause}");
        }
    }
}
