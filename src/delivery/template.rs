//! User-defined message texts: minijinja templates for title and body.
//!
//! Pure. A template can use the variables of [`variables`] and nothing else: no file, no other template, and
//! at most [`FUEL`] steps. A configuration is accepted only if its templates render every kind of
//! change. If one fails later, the built-in text is sent.

use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::{Value, json};

use crate::delivery::message::{Context, Message, RenderContext, compose, names};
use crate::delivery::payload;
use crate::model::{Change, ChangeKind, Edition, EventKind, FeedId, LastBackup};
use crate::setting::SettingError;
use crate::text;

/// The maximum number of steps. Typical templates need a few hundred.
const FUEL: u64 = 50_000;
const TITLE_MAX_CHARS: usize = 200;
const ERROR_MAX_CHARS: usize = 300;
const BODY_MAX_CHARS: usize = 8_000;
const SOURCE_MAX_BYTES: usize = 8 * 1024;

/// The templates of a channel. Default: the built-in texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    title: Option<String>,
    body: Option<String>,
}

impl Template {
    /// Parses the templates and renders a sample of every kind of change.
    ///
    /// # Errors
    ///
    /// The setting at fault, without secrets.
    pub fn new(title: Option<&str>, body: Option<&str>) -> Result<Template, SettingError> {
        let template = Template { title: title.map(str::to_owned), body: body.map(str::to_owned) };
        for (key, template) in [("title", &template.title), ("body", &template.body)] {
            let Some(template) = template else { continue };
            if template.len() > SOURCE_MAX_BYTES {
                return Err(SettingError::new(
                    key,
                    format!("template too large: expected at most {SOURCE_MAX_BYTES} bytes"),
                ));
            }
            for kind in ChangeKind::ALL {
                render_samples(template, kind).map_err(|error| SettingError::new(key, error))?;
            }
        }
        Ok(template)
    }

    pub fn has_title(&self) -> bool {
        self.title.is_some()
    }

    pub fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Applies the templates to the built-in message.
    ///
    /// # Errors
    ///
    /// The built-in message, and one line for the log.
    pub fn apply(
        &self,
        message: Message,
        changes: &[Change],
        ctx: &RenderContext,
    ) -> Result<Message, (Message, String)> {
        if self.title.is_none() && self.body.is_none() {
            return Ok(message);
        }
        let variables = variables(&message, changes, ctx);
        let rendered = |template: &Option<String>, built_in: &str| match template {
            Some(template) => render(template, &variables),
            None => Ok(built_in.to_owned()),
        };
        let texts = rendered(&self.title, &message.title)
            .and_then(|title| Ok((title, rendered(&self.body, &message.body)?)));
        match texts {
            Ok((title, body)) => {
                let title = text::plain_line(&title, TITLE_MAX_CHARS);
                // Some channels reject an empty title.
                let title = if title.is_empty() { message.title } else { ctx.marked(title) };
                Ok(Message { title, body: text::plain_text(&body, BODY_MAX_CHARS), ..message })
            }
            Err(error) => Err((message, error)),
        }
    }
}

/// Returns the variables of a template, as documented in `docs/channels.md`.
fn variables(message: &Message, changes: &[Change], ctx: &RenderContext) -> Value {
    let first = changes.first();
    json!({
        "title": message.title,
        "body": message.body,
        "advice": message.advice,
        "severity": message.severity.as_str(),
        "kind": first.map_or("", |change| change.kind.as_str()),
        "service": names(changes),
        "drill": ctx.is_drill,
        "changes": changes.iter().map(|change| payload::change(change, ctx)).collect::<Vec<_>>(),
    })
}

fn render(template: &str, variables: &Value) -> Result<String, String> {
    let mut environment = Environment::new();
    // A misspelt variable must be an error and not an empty string.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.render_str(template, minijinja::value::Serde(variables)).map_err(|error| {
        let place = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
        let names: Vec<&str> =
            variables.as_object().into_iter().flat_map(serde_json::Map::keys).map(String::as_str).collect();
        text::plain_line(&format!("{}{place}{}", cause(&error), help(error.kind(), &names)), ERROR_MAX_CHARS)
    })
}

/// Returns the cause in words for users; the engine's messages are for programmers.
fn cause(error: &minijinja::Error) -> String {
    let name = error.detail().and_then(|detail| detail.split('`').nth(1)).map(|name| format!(" {name:?}"));
    let name = name.unwrap_or_default();
    match error.kind() {
        ErrorKind::UndefinedError => format!("unknown variable{name}"),
        ErrorKind::UnknownFilter => "unknown filter".to_owned(),
        ErrorKind::UnknownFunction | ErrorKind::UnknownMethod => "unknown function".to_owned(),
        ErrorKind::UnknownTest => "unknown test".to_owned(),
        ErrorKind::SyntaxError => "invalid syntax".to_owned(),
        ErrorKind::OutOfFuel => "the template takes too many steps".to_owned(),
        ErrorKind::TemplateNotFound => "a template cannot include another template".to_owned(),
        _ => "invalid operation on a value".to_owned(),
    }
}

fn help(kind: ErrorKind, names: &[&str]) -> String {
    match kind {
        ErrorKind::UndefinedError => format!(": expected one of {}", names.join(", ")),
        ErrorKind::SyntaxError => {
            ": expected text, {{ NAME }}, {% if NAME %} … {% endif %} or {% for NAME in LIST %} … {% endfor %}"
                .to_owned()
        }
        _ => "; see docs/channels.md".to_owned(),
    }
}

/// Renders a template with a change that has every field, and with one that has only the required ones.
fn render_samples(template: &str, kind: ChangeKind) -> Result<(), String> {
    let zone = jiff::tz::TimeZone::UTC;
    let at = jiff::Timestamp::UNIX_EPOCH;
    let ctx = RenderContext { now: at, zone: &zone, is_drill: false };
    let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
    let bare = Change::bare(kind, feed, at, at);
    let full = Change {
        service: "iCloud Backup".to_owned(),
        message_id: Some("1".to_owned()),
        occurrence: Some(1),
        outage_kind: Some(EventKind::Outage),
        was_kind: Some(EventKind::Issue),
        began_at: Some(at),
        ended_at: Some(at),
        users_affected: Some("Some users are affected".to_owned()),
        message: "Users may be unable to back up.".to_owned(),
        near: vec!["Photos".to_owned()],
        phone: Some(LastBackup { at, read_at: at, phones: 1 }),
        ..bare.clone()
    };
    for changes in [vec![bare.clone()], vec![full.clone()], vec![full, bare]] {
        let message = compose(&changes, &Context::default(), &ctx);
        render(template, &variables(&message, &changes, &ctx))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_rejected_with_the_known_ones() {
        let error = Template::new(Some("{{ title }}\n{{ titel }}"), None).expect_err("refused").to_string();
        let words = "title: unknown variable \"titel\" in line 2: expected one of title, body, advice, severity, kind, \
                     service, drill, changes";
        assert_eq!(error, words);
        let error = Template::new(None, Some("{% if kind %}")).expect_err("refused").to_string();
        assert!(error.starts_with("body: invalid syntax in line 1: expected text, "), "{error}");
        let endless = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}";
        assert!(Template::new(Some(endless), None).is_err());
    }
}
