//! Sends messages to a chat or channel of Microsoft Teams through a workflow with the trigger "When a
//! Teams webhook request is received".
//!
//! Promise: plain. A workflow takes no idempotency key, so a repeat is a second message. A message cannot
//! be replaced or answered. The workflow accepts the message first and posts it later; only its run
//! history shows whether posting succeeded.
//!
//! URLs of the older connectors work as long as Microsoft supports them. Apple's text appears only in text
//! runs, which have no markup (`apples_text_is_never_in_a_text_block`).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::chat::{self, Chat, WebhookTable};
use super::http::{HttpReply, HttpTarget};
use super::outcome::{Notice, SendOutcome};
use crate::model::Severity;
use crate::secret::Secret;
use crate::text;

/// The limit of the body in UTF-8. A request may have 28 KB, and Microsoft does not document how it counts.
/// With this limit a request fits even in UTF-16 or with every character escaped.
const BODY_MAX_BYTES: usize = 6 * 1024;
/// Each line has a block of its own. Further lines share one more block.
const LINES_MAX: usize = 60;
const ACCEPTED: &str = "the workflow posts the message later; see its run history";
const CARD: &str = "application/vnd.microsoft.card.adaptive";
/// Part of the body of a 200 that reports the failure of an older connector.
const FAILED: &str = "delivery failed";
/// Precedes the status in such a body.
const FAILED_STATUS: &str = "returned HTTP error ";

/// `[channel.teams.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The workflow's URL, including the query. The URL alone allows posting.
    pub url: Option<Secret>,
    /// A file that contains the URL.
    pub url_file: Option<PathBuf>,
}

impl WebhookTable for Settings {
    const CHAT: Chat = Chat { payload, classify };

    fn address(&self) -> (&Option<Secret>, &Option<PathBuf>) {
        (&self.url, &self.url_file)
    }
}

fn classify(target: &HttpTarget, reply: &HttpReply) -> SendOutcome {
    let raw = reply.text();
    if chat::is_success(reply) {
        return classify_success(target, reply, raw.trim());
    }
    let json = reply.json();
    let error = &json["error"];
    match (error["code"].as_str(), error["message"].as_str()) {
        (Some(code), message) => {
            let reason = format!("{code}: {}", message.unwrap_or_default());
            chat::classify(target, reply, &reason, advice(code))
        }
        (None, _) => chat::classify(target, reply, &raw, None),
    }
}

/// Classifies a 2xx response, which may report a failure in its body or come from another server.
fn classify_success(target: &HttpTarget, reply: &HttpReply, body: &str) -> SendOutcome {
    if let Some(status) = hidden_failure(body) {
        let hidden = HttpReply { status, ..reply.clone() };
        return chat::classify(target, &hidden, body, None);
    }
    if reply.has_html_body() {
        let advice = "the response is a web page; check that url is the complete address of the workflow";
        return chat::permanent(target, reply, advice, "");
    }
    let note = if reply.status == 202 { ACCEPTED } else { body };
    chat::delivered(target, reply, None, note)
}

/// Returns the status of a failure that an older connector reports in the body of a 200 ("Webhook message
/// delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId …"). Returns
/// 500 if the body contains no valid status.
fn hidden_failure(body: &str) -> Option<u16> {
    let status = body.split_once(FAILED_STATUS).map(|(_, rest)| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok().filter(|status| *status >= 400).unwrap_or(500)
    });
    status.or(body.contains(FAILED).then_some(500))
}

/// Returns the advice for one of the workflow's error codes.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "WorkflowTriggerIsNotEnabled" => {
            "the workflow is turned off; turn it on in the Workflows app of Teams"
        }
        "WorkflowNotFound" => {
            "the workflow was deleted; create a new one and write its address into the config"
        }
        "DirectApiAuthorizationRequired" => {
            "the address contains no signature; copy the complete address, and allow anyone to trigger the \
             workflow"
        }
        "TriggerInputSchemaMismatch" => {
            "the workflow expects another format; create it from the template for webhook requests"
        }
        _ => return None,
    })
}

fn payload(notice: &Notice) -> Value {
    let body = text::truncate(&chat::body(notice), BODY_MAX_BYTES, char::len_utf8);
    let title = json!({
        "type": "TextRun",
        "text": chat::title(notice),
        "size": "Medium",
        "weight": "Bolder",
        "color": colour(notice.severity),
    });
    // A text block interprets Markdown, and the Teams clients differ in how to escape it. A rich text block
    // shows text literally. Each line is a block, because a line break within a block shows as a space.
    let mut blocks = vec![json!({"type": "RichTextBlock", "inlines": [title]})];
    for line in lines(&body) {
        let run = json!({"type": "TextRun", "text": line});
        blocks.push(json!({"type": "RichTextBlock", "spacing": "Small", "inlines": [run]}));
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": CARD,
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": blocks,
                "msteams": {"width": "Full"},
            },
        }],
    })
}

/// Returns the lines that are not empty, with those beyond [`LINES_MAX`] joined into one.
fn lines(body: &str) -> Vec<String> {
    let all: Vec<&str> = body.lines().filter(|line| !line.is_empty()).collect();
    let (first, rest) = all.split_at(all.len().min(LINES_MAX));
    let rest = (!rest.is_empty()).then(|| rest.join(" "));
    first.iter().map(|line| (*line).to_owned()).chain(rest).collect()
}

/// Adaptive Cards name colours by meaning.
fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Alert => "Attention",
        Severity::Resolved => "Good",
        Severity::Info => "Default",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::chat::ChatWebhook as Teams;
    use crate::channel::chat::tests::notice;

    #[test]
    fn the_message_is_a_card_of_text_runs() {
        let expected = json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": [
                        {"type": "RichTextBlock", "inlines": [{
                            "type": "TextRun",
                            "text": "iCloud Backup is down",
                            "size": "Medium",
                            "weight": "Bolder",
                            "color": "Attention",
                        }]},
                        {"type": "RichTextBlock", "spacing": "Small", "inlines": [
                            {"type": "TextRun", "text": "Since 08:15."},
                        ]},
                        {"type": "RichTextBlock", "spacing": "Small", "inlines": [
                            {"type": "TextRun", "text": "Wait."},
                        ]},
                    ],
                    "msteams": {"width": "Full"},
                },
            }],
        });
        assert_eq!(payload(&notice("iCloud Backup is down", "Since 08:15.\n\nWait.")), expected);
    }

    #[test]
    fn apples_text_is_never_in_a_text_block() {
        let payload = payload(&notice("[Apple](https://evil.example)", "<at>all</at> **x**")).to_string();
        assert!(!payload.contains("TextBlock\",\"text") && !payload.contains("https://evil"), "{payload}");
        assert!(payload.contains("[Apple](") && payload.contains("**x**"), "unchanged: {payload}");
    }

    #[test]
    fn the_longest_message_fits_however_it_is_counted() {
        for text in
            ["a\n\n".repeat(9_000), "\u{30d0}".repeat(9_000), "\u{1f44d}".repeat(9_000), "\"".repeat(9_000)]
        {
            let payload = payload(&notice(&text, &text)).to_string();
            let escaped: usize =
                payload.chars().map(|c| if c.is_ascii() { 1 } else { 6 * c.len_utf16() }).sum();
            for bytes in [payload.len(), 2 * payload.encode_utf16().count(), escaped] {
                assert!(bytes < 28 * 1024, "{bytes} {text:.9}");
            }
        }
    }

    #[test]
    fn lines_beyond_the_limit_are_joined() {
        let body: Vec<String> = (0..LINES_MAX + 3).map(|number| number.to_string()).collect();
        let lines = lines(&body.join("\n"));
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (LINES_MAX + 1, Some("60 61 62")));
    }

    #[test]
    fn a_failure_in_a_2xx_response_is_found() {
        let failed = |rest: &str| {
            hidden_failure(&format!(
                "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {rest}"
            ))
        };
        assert_eq!(failed("429 with ContextId tcid=0,server=x..."), Some(429));
        assert_eq!(failed("413"), Some(413));
        assert_eq!(failed(""), Some(500));
        assert_eq!(failed("99999999999"), Some(500));
        assert_eq!(failed("200"), Some(500));
        assert_eq!(hidden_failure("Webhook message delivery failed with error: x"), Some(500));
        assert_eq!((hidden_failure("1"), hidden_failure("")), (None, None));
    }

    #[test]
    fn debug_shows_scheme_and_host_only() {
        let toml = "url = 'https://prod.logic.azure.com/workflows/T0PATH?sig=s3cret'";
        let settings: Settings = toml::from_str(toml).expect("settings");
        let teams = Teams::new(&settings, &|_| panic!("no file")).expect("ready");
        let shown = format!("{settings:?} {teams:?} {:?}", serde_json::json!(settings));
        assert!(shown.contains("https://prod.logic.azure.com/…"), "{shown}");
        assert!(!shown.contains("T0PATH") && !shown.contains("s3cret"), "{shown}");
    }
}
