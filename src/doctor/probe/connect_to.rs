//! Connects to a given address instead of resolving a host (`--connect-to`): for tests, and to try a mirror
//! or a filter without a change to the hosts file.
//!
//! Replaces addresses only. The requested name, which the certificate must match, stays the same.

use std::net::SocketAddr;

const FORM: &str =
    "HOST:PORT:ADDRESS:PORT, for example www.apple.com:443:192.0.2.1:8443 or …:[2001:db8::1]:8443";

/// One `--connect-to`, as in curl but with an IP address. Several for one host and port are several
/// addresses of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectTo {
    /// In lower case.
    pub host: String,
    pub port: u16,
    pub to: SocketAddr,
}

impl ConnectTo {
    /// # Errors
    ///
    /// One line with the expected form.
    pub fn parse(text: &str) -> Result<ConnectTo, String> {
        let invalid = || format!("invalid value \"{}\": expected {FORM}", crate::text::plain_line(text, 80));
        let (host, rest) = text.trim().split_once(':').ok_or_else(invalid)?;
        let (port, to) = rest.split_once(':').ok_or_else(invalid)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(invalid());
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
        let to: SocketAddr = to.parse().map_err(|_| invalid())?;
        if to.port() == 0 {
            return Err(invalid());
        }
        Ok(ConnectTo { host: host.to_ascii_lowercase(), port, to })
    }

    /// Returns whether this applies to a host, at any port.
    pub fn is_for(&self, host: &str) -> bool {
        self.host.eq_ignore_ascii_case(host)
    }
}

/// Returns the addresses given for a host and port; `None` if there are none.
pub(super) fn overrides(list: &[ConnectTo], host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let matching = list.iter().filter(|entry| entry.is_for(host) && entry.port == port);
    let addresses: Vec<SocketAddr> = matching.map(|entry| entry.to).collect();
    (!addresses.is_empty()).then_some(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, u16, &str)>) {
        let parsed = ConnectTo::parse(text);
        match expected {
            Some((host, port, to)) => {
                let to = to.parse().expect("an address");
                assert_eq!(parsed, Ok(ConnectTo { host: host.to_owned(), port, to }));
            }
            None => {
                let error = parsed.expect_err(text);
                assert!(error.contains("HOST:PORT:ADDRESS:PORT") && !error.contains('\n'), "{error}");
            }
        }
    }

    #[test]
    fn an_invalid_value_is_refused_with_the_expected_form() {
        check("www.apple.com:443:127.0.0.1:8443", Some(("www.apple.com", 443, "127.0.0.1:8443")));
        check(" WWW.Apple.com:80:[::1]:81 ", Some(("www.apple.com", 80, "[::1]:81")));
        for invalid in [
            "",
            "www.apple.com",
            "www.apple.com:443",
            "www.apple.com:443:127.0.0.1",
            ":443:127.0.0.1:1",
            "www.apple.com::127.0.0.1:1",
            "www.apple.com:0:127.0.0.1:1",
            "www.apple.com:443:127.0.0.1:0",
            "www.apple.com:99999:127.0.0.1:1",
            "www.apple.com:443:localhost:1",
            "www.apple.com:443:::1:1",
            "www apple:443:127.0.0.1:1\n",
        ] {
            check(invalid, None);
        }
    }

    #[test]
    fn one_port_can_have_several_addresses() {
        let list: Vec<ConnectTo> =
            ["a.example:1:127.0.0.1:7", "a.example:1:[::1]:8", "a.example:2:127.0.0.1:9"]
                .iter()
                .map(|text| ConnectTo::parse(text).expect("right"))
                .collect();
        let to = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert_eq!(overrides(&list, "A.example", 1), Some(vec![to("127.0.0.1:7"), to("[::1]:8")]));
        assert_eq!(overrides(&list, "a.example", 3), None);
        assert_eq!(overrides(&list, "b.example", 1), None);
    }
}
