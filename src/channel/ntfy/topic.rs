//! The URL of a topic, split into the server's publishing URL and the topic's name.

use crate::setting::SettingError;
use reqwest::Url;

/// The limit of ntfy for topics and sequence ids.
const NAME_MAX_CHARS: usize = 64;

/// A topic and the URL to publish to.
pub struct Topic {
    /// The server's root, which accepts JSON. Includes the path under which a proxy serves ntfy.
    pub root: Url,
    pub name: String,
}

impl Topic {
    /// Splits a URL at its last path segment, which is the topic's name.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(url: &Url) -> Result<Topic, SettingError> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SettingError::new("url", "contains a user or password")
                .hint("write them as user and password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(SettingError::new("url", "contains ? or #")
                .hint("write only the topic's address, https://host/TOPIC"));
        }
        let mut url = url.clone();
        url.path_segments_mut().expect("an HTTP URL has a path: http_url rejects others").pop_if_empty();
        let name = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned();
        if !is_name(&name) {
            return Err(SettingError::new(
                "url",
                format!("invalid topic: expected 1 to {NAME_MAX_CHARS} of the characters A-Z a-z 0-9 - _"),
            )
            .hint("write https://host/TOPIC"));
        }
        let root = url.join(".").expect("a URL joined with \".\" is a URL");
        Ok(Topic { root, name })
    }
}

/// Returns true for a valid topic name or sequence id.
pub fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=NAME_MAX_CHARS).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, root: &str, name: &str) {
        let topic = Topic::new(&Url::parse(url).expect("an address")).expect("a topic");
        assert_eq!((topic.root.as_str(), topic.name.as_str()), (root, name));
    }

    #[test]
    fn the_topic_is_the_last_path_segment() {
        check("https://ntfy.sh/alerts", "https://ntfy.sh/", "alerts");
        check("https://ntfy.sh/alerts/", "https://ntfy.sh/", "alerts");
        check("https://a.example:8443/push/ntfy/a-B_9", "https://a.example:8443/push/ntfy/", "a-B_9");
    }
}
