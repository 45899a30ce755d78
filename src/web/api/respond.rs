//! Answers with a validator: `ETag`, and 304 for a client that has the answer already (RFC 9110).
//!
//! The tag is weak, because fields such as the time of the answer do not count, and a proxy may compress.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use ring::digest::{SHA256, digest};
use serde_json::Value;

const TAG_BYTES: usize = 12;
pub const JSON: &str = "application/json";

/// Answers with a document. `volatile` names the fields that change with every answer, such as `at`.
pub fn json(headers: &HeaderMap, document: &Value, volatile: &[&str]) -> Response<Body> {
    let mut stable = document.clone();
    if let Value::Object(fields) = &mut stable {
        fields.retain(|name, _| !volatile.contains(&name.as_str()));
    }
    answer(headers, JSON, &stable.to_string(), format!("{document:#}\n"))
}

/// Answers with a text that is the same for the same data.
pub fn text(headers: &HeaderMap, content_type: &'static str, body: String) -> Response<Body> {
    let tagged = body.clone();
    answer(headers, content_type, &tagged, body)
}

fn answer(headers: &HeaderMap, content_type: &'static str, tagged: &str, body: String) -> Response<Body> {
    let hash = hex::encode(&digest(&SHA256, tagged.as_bytes()).as_ref()[..TAG_BYTES]);
    let tag = format!("W/\"{hash}\"");
    let is_known = matches(headers, &tag);
    let mut response = Response::new(if is_known { Body::empty() } else { Body::from(body) });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    // Digits and quotes are a header value.
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Compares as RFC 9110, 13.1.2 demands: weakly.
fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let values = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|known| known.trim() == "*" || opaque(known) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(tags: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for tag in tags {
            headers.append(IF_NONE_MATCH, HeaderValue::from_str(tag).expect("a header value"));
        }
        headers
    }

    #[test]
    fn a_tag_ignores_volatile_fields_and_is_answered_with_304() {
        let document = |at: u32, value: u32| json!({"at": at, "value": value});
        let tag = |document: &Value| {
            let response = super::json(&HeaderMap::new(), document, &["at"]);
            response.headers()[ETAG].to_str().expect("a tag").to_owned()
        };
        let first = tag(&document(1, 1));
        assert_eq!(first, tag(&document(2, 1)));
        assert_ne!(first, tag(&document(1, 2)));
        let strong = first.trim_start_matches("W/").to_owned();
        let status = |tags: &[&str]| super::json(&asked(tags), &document(3, 1), &["at"]).status().as_u16();
        assert_eq!(status(&[]), 200);
        assert_eq!(status(&["\"other\""]), 200);
        assert_eq!(status(&["garbage"]), 200);
        for tags in [vec![first.as_str()], vec![&strong], vec!["*"], vec!["\"other\"", &first]] {
            assert_eq!(status(&tags), 304, "{tags:?}");
        }
        assert_eq!(status(&[&format!("\"a\" , {first}")]), 304);
        let response = super::json(&asked(&["*"]), &document(3, 1), &["at"]);
        assert_eq!(response.headers()[ETAG], first.as_str());
        assert!(!response.headers().contains_key(CONTENT_TYPE));
    }
}
