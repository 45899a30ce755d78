//! Reads the proxy variables of the environment, for every HTTP client of statusd.
//!
//! Opens no connection. An empty variable counts as unset, and the upper-case name takes precedence.
//! User names and passwords are never shown (`an_invalid_variable_is_named_without_its_value`).

use std::fmt;

use reqwest::{ClientBuilder, NoProxy, Url};

use crate::text;

/// `HTTPS` and `HTTP` take precedence over [`ALL`].
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];
const EXEMPT: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// If set, statusd runs as a CGI program, and `HTTP_PROXY` may come from a request header
/// (CVE-2016-5385).
const CGI: &str = "REQUEST_METHOD";
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];
const SOCKS_PORT: u16 = 1_080;
const HTTP_PORT: u16 = 80;
const SHOWN_MAX_CHARS: usize = 120;

/// A proxy and the variable that sets it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxySetting {
    pub variable: &'static str,
    url: Url,
}

/// An invalid variable. `Display` is one line with the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyError {
    pub variable: &'static str,
    kind: ErrorKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ErrorKind {
    /// The value has no host.
    NoAddress,
    Scheme(String),
    /// An entry of `NO_PROXY` that cannot match any host.
    Exempt(String),
}

/// The proxy settings of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    pub https: Option<ProxySetting>,
    pub http: Option<ProxySetting>,
    /// Hosts that bypass the proxies, separated by commas.
    pub exempt: Option<String>,
    /// Invalid variables, which are ignored.
    pub errors: Vec<ProxyError>,
}

impl Proxies {
    /// Reads the variables. `environment` returns the value of a variable, if it is set.
    pub fn read(environment: &dyn Fn(&str) -> Option<String>) -> Proxies {
        let value_of = |name: &&'static str| {
            let value = environment(name).filter(|value| !value.trim().is_empty())?;
            Some((*name, value.trim().to_owned()))
        };
        let is_cgi = value_of(&CGI).is_some();
        let mut errors = Vec::new();
        let mut setting = |names: [&'static str; 2]| {
            let is_allowed = |name: &&&'static str| !(is_cgi && **name == "HTTP_PROXY");
            let (variable, value) = names.iter().filter(is_allowed).find_map(value_of)?;
            match parse_address(&value) {
                Ok(url) => Some(ProxySetting { variable, url }),
                Err(kind) => {
                    errors.push(ProxyError { variable, kind });
                    None
                }
            }
        };
        let (https, http, all) = (setting(HTTPS), setting(HTTP), setting(ALL));
        let exempt = EXEMPT.iter().find_map(value_of);
        if let Some((variable, list)) = &exempt
            && let Some(entry) = entries(list).find(|entry| cannot_match(entry))
        {
            errors.push(ProxyError {
                variable,
                kind: ErrorKind::Exempt(shown(entry.rsplit('@').next().unwrap_or_default())),
            });
        }
        Proxies {
            https: https.or_else(|| all.clone()),
            http: http.or(all),
            exempt: exempt.map(|(_, list)| entries(&list).collect::<Vec<_>>().join(",")),
            errors,
        }
    }

    /// Returns the proxy that most connections use: the one for https, else the one for http.
    pub fn first(&self) -> Option<&ProxySetting> {
        self.https.as_ref().or(self.http.as_ref())
    }
}

/// Applies the proxies of the process's environment to a client. If none is set, the client keeps the
/// system's proxy settings (macOS).
pub fn apply(builder: ClientBuilder) -> ClientBuilder {
    let proxies = Proxies::read(&|name| std::env::var(name).ok());
    let mut builder = match &proxies {
        Proxies { https: None, http: None, errors, .. } if errors.is_empty() => return builder,
        // Otherwise reqwest reads the environment itself, by other rules.
        _ => builder.no_proxy(),
    };
    let exempt = proxies.exempt.as_deref().and_then(NoProxy::from_string);
    let https = proxies.https.and_then(|setting| reqwest::Proxy::https(setting.url).ok());
    let http = proxies.http.and_then(|setting| reqwest::Proxy::http(setting.url).ok());
    for proxy in https.into_iter().chain(http) {
        builder = builder.proxy(proxy.no_proxy(exempt.clone()));
    }
    builder
}

/// Parses the address in a variable. Accepts a host without a scheme, because that form is common.
fn parse_address(value: &str) -> Result<Url, ErrorKind> {
    let whole = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let scheme = whole.split("://").next().unwrap_or_default().to_lowercase();
    if !SCHEMES.contains(&scheme.as_str()) {
        return Err(ErrorKind::Scheme(shown(&scheme)));
    }
    let url = Url::parse(&whole).map_err(|_| ErrorKind::NoAddress)?;
    if url.host_str().is_some_and(|host| !host.is_empty()) { Ok(url) } else { Err(ErrorKind::NoAddress) }
}

/// Splits `NO_PROXY`. Accepts spaces between entries and brackets around IPv6 addresses, because both are
/// common.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    let entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
    entries.map(|entry| entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry))
}

/// Returns whether an entry cannot match any host: an entry with a port, a URL or a glob. Hosts, domains and
/// addresses with an optional mask can match.
fn cannot_match(entry: &str) -> bool {
    let is_glob = entry.contains('*') && entry != "*";
    let has_port = entry.split_once(':').is_some_and(|(_, port)| !port.contains(':'));
    is_glob || has_port || entry.contains('@')
}

fn shown(text: &str) -> String {
    text::plain_line(text, SHOWN_MAX_CHARS)
}

impl ProxySetting {
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    pub fn port(&self) -> u16 {
        let usual = if self.url.scheme().starts_with("socks") { SOCKS_PORT } else { HTTP_PORT };
        self.url.port_or_known_default().unwrap_or(usual)
    }

    /// Returns host and port only: `proxy.example:3128`.
    pub fn address(&self) -> String {
        shown(&format!("{}:{}", self.url.host_str().unwrap_or_default(), self.port()))
    }
}

impl fmt::Debug for ProxySetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.address(), self.variable)
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variable = self.variable;
        match &self.kind {
            ErrorKind::NoAddress => {
                write!(f, "invalid {variable}: expected an address such as http://proxy.example:3128")
            }
            ErrorKind::Scheme(scheme) => {
                write!(
                    f,
                    "invalid {variable}: unsupported proxy scheme {scheme}://; expected http, https, socks5h or socks5"
                )
            }
            ErrorKind::Exempt(entry) => write!(
                f,
                "invalid {variable}: {entry:?} matches no host; expected names, domains or addresses, separated by commas"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Proxies {
        let value =
            |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        Proxies::read(&value)
    }

    #[track_caller]
    fn check(set: &[(&str, &str)], https: &str, http: &str, errors: &[&str]) {
        let proxies = read(set);
        let text = |setting: &Option<ProxySetting>| {
            setting.as_ref().map(|setting| format!("{setting:?}")).unwrap_or_default()
        };
        assert_eq!((text(&proxies.https).as_str(), text(&proxies.http).as_str()), (https, http), "{set:?}");
        let messages: Vec<String> = proxies.errors.iter().map(ProxyError::to_string).collect();
        assert_eq!(messages, errors, "{set:?}");
        assert!(!format!("{proxies:?} {messages:?}").contains("canary"), "{proxies:?}");
    }

    #[test]
    fn precedence_of_variables_and_their_addresses() {
        check(&[], "", "", &[]);
        check(
            &[("HTTPS_PROXY", "http://u:canary@p.example:3128/")],
            "p.example:3128 in HTTPS_PROXY",
            "",
            &[],
        );
        check(&[("https_proxy", "p.example:3128")], "p.example:3128 in https_proxy", "", &[]);
        check(&[("https_proxy", "u:canary@p.example:8080")], "p.example:8080 in https_proxy", "", &[]);
        check(&[("https_proxy", "https://p.example")], "p.example:443 in https_proxy", "", &[]);
        check(&[("http_proxy", "[::1]:3128")], "", "[::1]:3128 in http_proxy", &[]);
        let all = "p.example:1080 in ALL_PROXY";
        check(&[("ALL_PROXY", "socks5h://u:canary@p.example")], all, all, &[]);
        check(&[("ALL_PROXY", "socks5://p.example"), ("HTTP_PROXY", "q:1")], all, "q:1 in HTTP_PROXY", &[]);
        // Upper case takes precedence, but an empty variable is unset.
        check(&[("HTTPS_PROXY", "p:1"), ("https_proxy", "q:2")], "p:1 in HTTPS_PROXY", "", &[]);
        check(&[("HTTPS_PROXY", " "), ("https_proxy", "q:2")], "q:2 in https_proxy", "", &[]);
        check(&[("HTTP_PROXY", "p:1"), ("REQUEST_METHOD", "GET")], "", "", &[]);
    }

    #[test]
    fn an_invalid_variable_is_named_without_its_value() {
        let no_address = |variable: &str| {
            format!("invalid {variable}: expected an address such as http://proxy.example:3128")
        };
        for value in
            ["::::", "http://", "http://u:canary@", "http://u:canary@p.example:port", "http://p:99999"]
        {
            check(&[("http_proxy", value)], "", "", &[&no_address("http_proxy")]);
            check(&[("HTTPS_PROXY", value)], "", "", &[&no_address("HTTPS_PROXY")]);
        }
        let message =
            "invalid all_proxy: unsupported proxy scheme ftp://; expected http, https, socks5h or socks5";
        check(&[("all_proxy", "ftp://u:canary@p.example")], "", "", &[message]);
        // ALL_PROXY applies if the specific variable is invalid.
        let errors = [no_address("https_proxy")];
        let all = "p:1 in ALL_PROXY";
        check(&[("https_proxy", "::::"), ("ALL_PROXY", "p:1")], all, all, &[&errors[0]]);
    }

    #[test]
    fn no_proxy_is_a_list_of_hosts() {
        for list in ["localhost,127.0.0.1", " .example.com , 10.0.0.0/8 ", "*", "", "a,,b", "::1", "a [::1]"]
        {
            check(&[("NO_PROXY", list)], "", "", &[]);
        }
        assert_eq!(read(&[("no_proxy", "a  [::1], b")]).exempt.as_deref(), Some("a,::1,b"));
        for (list, entry) in
            [("a,*.example.com", "*.example.com"), ("http://a", "http://a"), ("a:80", "a:80")]
        {
            let message = format!(
                "invalid no_proxy: {entry:?} matches no host; expected names, domains or addresses, separated by commas"
            );
            check(&[("no_proxy", list)], "", "", &[&message]);
        }
    }
}
