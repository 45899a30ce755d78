//! The documented JSON of changes (`docs/json.md`).
//!
//! Times are RFC 3339 in UTC, `null` if unknown. Within a version, fields may be added. None is renamed,
//! removed or given another meaning.

use serde_json::{Map, Value, json};

use crate::delivery::message::{RenderContext, line};
use crate::model::{Change, EventKind};

/// The version of all JSON documents.
pub const VERSION: u32 = 1;

/// Returns the nine fields of a replayed change, in this order.
pub fn replayed(change: &Change) -> Value {
    Value::Object(core(change))
}

/// Returns all fields of a change: the body of a webhook and an element of `history --json`.
pub fn change(change: &Change, ctx: &RenderContext) -> Value {
    with_text(change, &line(change, ctx), ctx)
}

/// Like [`change`], with another `text`.
pub fn with_text(change: &Change, text: &str, ctx: &RenderContext) -> Value {
    let mut fields = Map::new();
    fields.insert("version".to_owned(), json!(VERSION));
    fields.append(&mut core(change));
    fields.insert("feed".to_owned(), json!(change.feed.to_string()));
    fields.insert("seen_at".to_owned(), json!(change.seen_at));
    fields.insert("was_kind".to_owned(), json!(change.was_kind.as_ref().map(EventKind::as_str)));
    fields.insert("users_affected".to_owned(), json!(change.users_affected));
    fields.insert("apple_text".to_owned(), json!(change.message));
    fields.insert("did_you_mean".to_owned(), json!(change.near));
    let phone = change.phone;
    fields.insert("phone_backup_at".to_owned(), json!(phone.map(|phone| phone.at)));
    fields.insert("phone_read_at".to_owned(), json!(phone.map(|phone| phone.read_at)));
    fields.insert("phones".to_owned(), json!(phone.map(|phone| phone.phones)));
    fields.insert("text".to_owned(), json!(text));
    fields.insert("drill".to_owned(), json!(ctx.is_drill));
    Value::Object(fields)
}

fn core(change: &Change) -> Map<String, Value> {
    let service = (!change.service.is_empty()).then_some(&change.service);
    let fields = [
        ("at", json!(change.at)),
        ("kind", json!(change.kind.as_str())),
        ("service", json!(service)),
        ("message_id", json!(change.message_id)),
        ("occurrence", json!(change.occurrence)),
        ("outage_kind", json!(change.outage_kind.as_ref().map(EventKind::as_str))),
        ("began_at", json!(change.began_at)),
        ("ended_at", json!(change.ended_at)),
        ("key", json!(change.key())),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
