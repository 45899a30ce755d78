//! Decides which requests are answered, and adds the security headers to every response.
//!
//! `Host` is checked so that a page of another site cannot read this one through DNS rebinding. Tokens are
//! compared in constant time. No request changes anything: only GET and HEAD are answered.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY,
    TRANSFER_ENCODING, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use super::settings::WebConfig;
use crate::secret::Secret;

const EMBED: &str = "/embed/";
const METRICS: &str = "/metrics";
/// Answered without a token and to any `Host`, because the probes of containers and load balancers have no
/// token and use addresses. They tell nothing of Apple.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/healthz"];
const URI_MAX_BYTES: usize = 2048;

/// Checks a request before anything is done for it.
pub fn check<B>(request: &Request<B>, config: &WebConfig) -> Result<(), Problem> {
    let path = request.uri().path();
    let is_probe = PROBES.contains(&path);
    if !is_probe && !host_is_known(request, config) {
        let detail = "unknown host name: add it to hosts in the table [web] of statusd's configuration";
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "statusd answers only GET and HEAD");
        return Err(problem.with_header(ALLOW, "GET, HEAD"));
    }
    let length = request.headers().get(CONTENT_LENGTH);
    if length.is_some_and(|length| length != "0") || request.headers().contains_key(TRANSFER_ENCODING) {
        let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "statusd accepts no request body");
        return Err(problem.with_header(axum::http::header::CONNECTION, "close"));
    }
    if request.uri().to_string().len() > URI_MAX_BYTES {
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "the address is longer than 2048 bytes"));
    }
    if is_probe {
        return Ok(());
    }
    let token = match path {
        METRICS => config.metrics_token.as_ref().or(config.token.as_ref()),
        _ => config.token.as_ref(),
    };
    match token {
        Some(token) if !is_authorized(request.headers(), token) => {
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "a token is required");
            Err(problem.with_header(WWW_AUTHENTICATE, "Basic realm=\"statusd\", charset=\"UTF-8\""))
        }
        Some(_) | None => Ok(()),
    }
}

/// HTTP/1.1 requires `Host`; a target in absolute form takes precedence.
fn host_is_known<B>(request: &Request<B>, config: &WebConfig) -> bool {
    let mut hosts = request.headers().get_all(HOST).into_iter();
    let header = hosts.next().and_then(|host| host.to_str().ok());
    if hosts.next().is_some() {
        return false;
    }
    let Some(host) = request.uri().authority().map(|authority| authority.as_str()).or(header) else {
        return false;
    };
    let name = without_port(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let is_loopback = name == "localhost"
        || name.ends_with(".localhost")
        || name.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback());
    is_loopback || config.hosts.iter().any(|known| known == "*" || known == name.trim_matches(['[', ']']))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

/// Accepts `Bearer TOKEN`, and `Basic` with any user and the token as the password.
fn is_authorized(headers: &HeaderMap, token: &Secret) -> bool {
    let Some(given) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else { return false };
    let Some((scheme, value)) = given.split_once(' ') else { return false };
    let password = match scheme.to_ascii_lowercase().as_str() {
        "bearer" => value.trim().as_bytes().to_vec(),
        "basic" => {
            let Ok(decoded) = STANDARD.decode(value.trim()) else { return false };
            match decoded.iter().position(|byte| *byte == b':') {
                Some(colon) => decoded[colon + 1..].to_vec(),
                None => return false,
            }
        }
        _ => return false,
    };
    password.ct_eq(token.expose().as_bytes()).into()
}

/// Adds the headers that every response has.
pub fn add_headers(response: &mut Response<Body>, path: &str, config: &WebConfig) {
    let ancestors = match path.starts_with(EMBED) && !config.embed_origins.is_empty() {
        true => config.embed_origins.join(" "),
        false => "'none'".to_owned(),
    };
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors {ancestors}"
    );
    let headers = response.headers_mut();
    // Origins were checked to be header values.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    let fixed: [(HeaderName, &'static str); 4] = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-site"),
        (HeaderName::from_static("permissions-policy"), "interest-cohort=()"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::settings::Settings;
    use super::*;

    fn config(toml: &str) -> WebConfig {
        let settings: Settings = toml::from_str(toml).expect("settings");
        settings.check(&|path: &Path| Ok(Secret::new(path.display().to_string()))).expect("a configuration")
    }

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().uri("/");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request")
    }

    #[track_caller]
    fn status(request: &Request<()>, config: &WebConfig) -> u16 {
        check(request, config).err().map_or(200, |response| response.into_response().status().as_u16())
    }

    #[test]
    fn only_loopback_and_configured_hosts_are_answered() {
        let local = config("");
        let named = config("hosts = ['Status.example', '192.0.2.7', '2001:db8::1']");
        for (host, locally, with_names) in [
            ("localhost", 200, 200),
            ("localhost:7380", 200, 200),
            ("127.0.0.1:7380", 200, 200),
            ("127.8.9.10", 200, 200),
            ("[::1]:7380", 200, 200),
            ("::1", 200, 200),
            ("localhost.", 200, 200),
            ("status.example.", 421, 200),
            ("status.example", 421, 200),
            ("STATUS.example:443", 421, 200),
            ("192.0.2.7:80", 421, 200),
            ("[2001:db8::1]:80", 421, 200),
            ("localhost.evil.example", 421, 421),
            ("evil.example", 421, 421),
            ("127.0.0.1.evil.example", 421, 421),
            ("", 421, 421),
        ] {
            assert_eq!(status(&request(&[("host", host)]), &local), locally, "{host}");
            assert_eq!(status(&request(&[("host", host)]), &named), with_names, "{host}");
        }
        assert_eq!(status(&request(&[]), &local), 421);
        for probe in PROBES {
            let mut request = request(&[("host", "10.1.2.3:7380")]);
            *request.uri_mut() = probe.parse().expect("a path");
            assert_eq!(status(&request, &local), 200, "{probe}");
        }
        assert_eq!(status(&request(&[("host", "localhost"), ("host", "evil.example")]), &local), 421);
        assert_eq!(status(&request(&[("host", "any.example")]), &config("hosts = ['*']")), 200);
    }

    #[test]
    fn tokens_open_only_their_own_pages() {
        let config = config("token_file = 'page'\nmetrics_token_file = 'scrape'");
        let with = |path: &str, authorization: Option<&str>| {
            let mut request = request(&[("host", "localhost")]);
            *request.uri_mut() = path.parse().expect("a path");
            if let Some(value) = authorization {
                request.headers_mut().insert(AUTHORIZATION, value.parse().expect("a header"));
            }
            status(&request, &config)
        };
        assert_eq!(with("/", None), 401);
        assert_eq!(with("/", Some("Bearer page")), 200);
        assert_eq!(with("/", Some("bearer page")), 200);
        assert_eq!(with("/", Some("Bearer scrape")), 401);
        assert_eq!(with("/", Some("Bearer pag")), 401);
        assert_eq!(with("/", Some("Bearer ")), 401);
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(with("/", Some(&basic("anyone:page"))), 200);
        assert_eq!(with("/", Some(&basic("page"))), 401);
        assert_eq!(with("/", Some("Basic !")), 401);
        assert_eq!(with("/metrics", Some("Bearer scrape")), 200);
        assert_eq!(with("/metrics", Some("Bearer page")), 401);
        assert_eq!(with("/livez", None), 200);
        assert_eq!(with("/readyz", None), 200);
    }

    #[test]
    fn nothing_but_reading_is_answered() {
        let config = config("");
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"] {
            let mut request = request(&[("host", "localhost")]);
            *request.method_mut() = method.parse().expect("a method");
            assert_eq!(status(&request, &config), 405, "{method}");
        }
        assert_eq!(status(&request(&[("host", "localhost"), ("content-length", "1")]), &config), 413);
        assert_eq!(
            status(&request(&[("host", "localhost"), ("transfer-encoding", "chunked")]), &config),
            413
        );
        assert_eq!(status(&request(&[("host", "localhost"), ("content-length", "0")]), &config), 200);
    }
}
