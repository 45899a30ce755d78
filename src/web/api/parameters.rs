//! The parameters of a request. An unknown, repeated or invalid one is an error, because a misspelt filter
//! must not read as an answer to it.

use axum::extract::Query;
use axum::http::Uri;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::{OutageKey, ServiceKey};
use crate::web::problem::Problem;

/// The maximum number of elements in a page.
pub const LIMIT_MAX: usize = 500;
const LIMIT_DEFAULT: usize = 50;
/// The greatest whole number that is exact in JavaScript. No database has as many changes.
const ID_MAX: i64 = (1 << 53) - 1;
pub const SERVICE: &str = "service";
pub const LIMIT: &str = "limit";

/// The checked names and the values of a query.
#[derive(Debug)]
pub struct Parameters {
    given: Vec<(String, String)>,
}

impl Parameters {
    /// Reads the query of an address that has parameters with these names.
    pub fn parse(uri: &Uri, names: &[&str]) -> Result<Parameters, Problem> {
        let Query(given) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::bad_request("the query cannot be read; expected name=value&name=value"))?;
        for (index, (name, _)) in given.iter().enumerate() {
            if !names.contains(&name.as_str()) {
                return Err(Problem::bad_request(match names {
                    [] => "unknown parameter; this address has none".to_owned(),
                    names => format!("unknown parameter; this address has: {}", names.join(", ")),
                }));
            }
            if given[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::bad_request("a parameter is given twice; remove one"));
            }
        }
        Ok(Parameters { given })
    }

    /// Rejects every parameter.
    pub fn none(uri: &Uri) -> Result<(), Problem> {
        Parameters::parse(uri, &[]).map(drop)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Returns the query with another value of one parameter.
    pub fn query_with(&self, name: &str, value: &str) -> String {
        let others = self.given.iter().filter(|(given, _)| given != name);
        let others = others.map(|(name, value)| (name.as_str(), value.as_str()));
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let pairs = others.chain([(name, value)]);
        let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        pairs.join("&")
    }

    /// Returns the id of a change, which is at least `min`.
    pub fn id(&self, name: &str, min: i64) -> Result<Option<i64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        whole_number(text).filter(|id| (min..=ID_MAX).contains(id)).map(Some).ok_or_else(|| {
            Problem::bad_request(format!("invalid {name}: expected the id of a change, at least {min}"))
        })
    }

    pub fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.text(LIMIT) else { return Ok(LIMIT_DEFAULT) };
        let limit = whole_number(text).and_then(|limit| usize::try_from(limit).ok());
        limit.filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or_else(|| {
            Problem::bad_request(format!("invalid limit: expected a number from 1 to {LIMIT_MAX}"))
        })
    }

    /// Reads a time in RFC 3339, or a date, which begins at midnight UTC.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let of_date =
            || text.parse::<Date>().ok()?.to_zoned_datetime(TimeZone::UTC).ok().map(|day| day.timestamp());
        let time = if text.contains([':']) { text.parse::<Timestamp>().ok() } else { of_date() };
        let whole = time.and_then(|time| Timestamp::from_second(time.as_second()).ok());
        whole.map(Some).ok_or_else(|| {
            let expected = "expected a date (2026-05-04) or a time with its zone (2026-05-04T08:15:00Z)";
            Problem::bad_request(format!("invalid {name}: {expected}"))
        })
    }

    /// Reads the key of an outage.
    pub fn outage(&self, name: &str) -> Result<Option<OutageKey>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        OutageKey::parse(text)
            .map(Some)
            .ok_or_else(|| Problem::bad_request(format!("invalid {name}: expected the key of an outage")))
    }

    /// Returns the service with the given name; `None` without the parameter. An unknown name is an error.
    pub fn service<'k>(
        &self,
        mut known: impl Iterator<Item = &'k ServiceKey>,
    ) -> Result<Option<ServiceKey>, Problem> {
        let Some(text) = self.text(SERVICE) else { return Ok(None) };
        let wanted = ServiceKey::new(text);
        match known.any(|key| *key == wanted) {
            true => Ok(Some(wanted)),
            false => Err(Problem::not_found("no service has this name; /api/v1/services lists the names")),
        }
    }
}

/// Reads digits only, because `+1` and `01` are other spellings of one address.
fn whole_number(text: &str) -> Option<i64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Parameters, Problem> {
        let uri: Uri = format!("/x?{query}").parse().expect("an address");
        Parameters::parse(&uri, &["since", "limit", "before", SERVICE])
    }

    #[test]
    fn unknown_repeated_and_invalid_parameters_are_errors() {
        for query in ["sinse=2026-01-01", "limit=1&limit=2", "=1", "Since=2026-01-01", "a"] {
            assert!(parse(query).is_err(), "{query}");
        }
        for limit in ["", "0", "-1", "+1", "01", "1.0", "501", "99999999999999999999", "x", "1%20"] {
            assert!(parse(&format!("limit={limit}")).expect("known names").limit().is_err(), "{limit}");
        }
        for (limit, expected) in [("limit=1", 1), ("limit=500", 500), ("", 50), ("since=1", 50)] {
            assert_eq!(parse(limit).expect("known names").limit().expect("a number"), expected);
        }
        for time in ["", "today", "2026-05-04T08:15:00", "2026-13-01", "30d"] {
            assert!(parse(&format!("since={time}")).expect("known names").time("since").is_err(), "{time}");
        }
        for time in ["2026-05-04", "2026-05-04T00:00:00Z", "2026-05-04T02:00:00%2B02:00"] {
            let found = parse(&format!("since={time}")).expect("known names").time("since").expect("a time");
            assert_eq!(found, Some("2026-05-04T00:00:00Z".parse().expect("a time")), "{time}");
        }
        let hostile = parse("%62efore=1&service=%3E%22%0d%0aX%3A+1").expect("known names");
        assert_eq!(hostile.query_with("before", "a/b"), "service=%3E%22%0D%0AX%3A%201&before=a%2Fb");
        assert!(parse("before=0").expect("known names").id("before", 1).is_err());
        assert_eq!(parse("before=7").expect("known names").id("before", 1).expect("an id"), Some(7));
    }

    #[test]
    fn an_unknown_service_is_an_error() {
        let known = ["iCloud Backup", "Photos"].map(ServiceKey::new);
        let found = |query: &str| parse(query).expect("known names").service(known.iter());
        assert_eq!(found("").expect("all"), None);
        assert_eq!(found("service=icloud++BACKUP").expect("one"), Some(ServiceKey::new("iCloud Backup")));
        for unknown in ["service=Fotos", "service=", "service=*"] {
            assert!(found(unknown).is_err(), "{unknown}");
        }
    }
}
