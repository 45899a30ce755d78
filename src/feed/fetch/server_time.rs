//! The time at a server, from the headers of a response.
//!
//! Reads no wall clock. A server may send any time, so a caller needs a second source.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AGE, DATE, HeaderMap};

use crate::http;

/// The time at a server when its response arrived. Accurate to a few seconds.
#[derive(Clone, Copy, Debug)]
pub struct ServerTime {
    time: Timestamp,
    arrived: Instant,
}

impl ServerTime {
    /// Reads `Date` from a response that has just arrived. Adds `Age`, because a cache keeps the date of the
    /// original response (RFC 9111, 5.1).
    pub fn from_headers(headers: &HeaderMap) -> Option<ServerTime> {
        let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse().ok()).unwrap_or(0);
        let time = date(headers)?.checked_add(SignedDuration::from_secs(age)).ok()?;
        Some(ServerTime { time, arrived: Instant::now() })
    }

    /// Returns the seconds by which a clock is ahead that showed `now` at `began`.
    pub fn ahead_s(self, now: Timestamp, began: Instant) -> i64 {
        let elapsed_s = self.arrived.saturating_duration_since(began).as_secs();
        now.as_second() + i64::try_from(elapsed_s).unwrap_or(0) - self.time.as_second()
    }
}

/// Returns `Date`.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http::date(headers.get(DATE)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    #[test]
    fn the_time_in_a_cache_is_the_date_plus_the_age() {
        #[track_caller]
        fn check(fields: &[(HeaderName, &'static str)], expected: Option<i64>) {
            let headers = fields.iter().map(|(name, text)| (name.clone(), text.parse().expect("a value")));
            let time = ServerTime::from_headers(&headers.collect());
            let now = "2026-11-25T12:10:00Z".parse().expect("a time");
            assert_eq!(time.map(|time| time.ahead_s(now, time.arrived)), expected);
        }
        let date = (DATE, "Wed, 25 Nov 2026 12:00:00 GMT");
        check(std::slice::from_ref(&date), Some(600));
        check(&[date.clone(), (AGE, "590")], Some(10));
        check(&[date.clone(), (AGE, "old")], Some(600));
        check(&[date, (AGE, "9223372036854775807")], None);
        check(&[(DATE, "yesterday")], None);
        check(&[(AGE, "590")], None);
    }
}
