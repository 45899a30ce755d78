//! Composes the message that people read from changes.
//!
//! Pure. A message contains all the changes that it is given: ten services of one incident are one piece
//! of news, a start and an end that both waited are "Was down … from … to …". Each piece of news has its
//! own headline and advice. `store` decides which changes share a message.

pub mod advice;
mod news;
pub mod phrases;
pub mod time_format;
mod title;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::{Change, Outage, Phase, ServiceKey, Severity};
use crate::text::grouped;
use news::{HEADLINE_NAMES, fold, group, named, services};

pub use news::{News, names};

/// The number of pieces of news from which each gets one line, below the advice.
const LONG_MESSAGE: usize = 5;
/// The maximum number of such lines.
const SECTIONS_MAX: usize = 100;
/// Prefix of every message of a drill.
pub const DRILL: &str = "DRILL: ";

/// The time and time zone of a message. `now` decides only how much of a date is shown.
#[derive(Clone, Copy, Debug)]
pub struct RenderContext<'a> {
    pub now: Timestamp,
    pub zone: &'a TimeZone,
    /// Every message of a drill begins with [`DRILL`].
    pub is_drill: bool,
}

impl RenderContext<'_> {
    /// Prefixes `text` in a drill, so that a drill is not mistaken for an outage.
    pub fn marked(&self, text: String) -> String {
        if self.is_drill && !text.starts_with(DRILL) { format!("{DRILL}{text}") } else { text }
    }
}

/// The reason why a message is late, and the outages that are ongoing beside its news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// The time since which the oldest of its changes is held back.
    pub since: Timestamp,
    /// Ongoing outages that were announced before, in order of time.
    pub ongoing: Vec<Outage>,
}

/// The space available for a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// No limit.
    #[default]
    Full,
    /// The bubble of one incident, of which a screen shows three to eight lines. The advice comes before
    /// Apple's own text, which is shortened.
    Compact,
}

/// The contents of a message beside its changes.
#[derive(Clone, Debug, Default)]
pub struct Context {
    pub form: Form,
    pub digest: Option<Digest>,
    /// The other announced services of a bubble's incident, in their current state.
    pub others: Vec<Outage>,
    /// Further news that is counted and not listed.
    pub more: usize,
}

/// One message for people: plain text, Apple's words in it unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One line.
    pub title: String,
    /// Several lines.
    pub body: String,
    /// The advice, as in the body; empty if there is none.
    pub advice: String,
    /// The severity of the worst news.
    pub severity: Severity,
}

/// Composes one message from `changes`, which are in the order of events. No changes give an empty message.
pub fn compose(changes: &[Change], context: &Context, ctx: &RenderContext) -> Message {
    let folded = fold(changes);
    let news = group(&folded);
    let (lines, severity) = match context.form {
        Form::Full => {
            let severity = severity(news.iter().map(|news| advice::severity(news.change.kind)));
            (full(&news, &folded, context, ctx), severity)
        }
        Form::Compact => compact(&news, &folded, context, ctx),
    };
    Message {
        title: ctx.marked(title(&news, context)),
        body: lines.join("\n"),
        advice: advice(&news).join("\n"),
        severity,
    }
}

/// Returns the title, also of several pieces of news.
fn title(news: &[News], context: &Context) -> String {
    let Some(first) = news.first() else { return String::new() };
    let label = title::label(first.change);
    let mut services: Vec<&str> = Vec::new();
    for service in news.iter().flat_map(|news| &news.services) {
        if !services.contains(service) {
            services.push(service);
        }
    }
    let is_alike = context.more == 0 && news.iter().all(|news| title::label(news.change) == label);
    if news.len() > 1 && is_alike && !services.is_empty() {
        return title::headed(&label, &named(&services));
    }
    let unnamed = news.iter().filter(|news| news.services.is_empty()).count();
    let others = (services.len() + unnamed + context.more).saturating_sub(1);
    let is_whole = context.more == 0 && (news.len() == 1 || context.form == Form::Compact);
    if is_whole || others == 0 {
        return first.headline();
    }
    let shown = News {
        change: first.change,
        services: first.services[..first.services.len().min(1)].to_vec(),
        phone: None,
    };
    format!("{} and {} more", shown.headline(), grouped(others))
}

/// Returns all details of each piece of news, or one line each if there are many.
fn full(news: &[News], folded: &[Change], context: &Context, ctx: &RenderContext) -> Vec<String> {
    let is_long = news.len() + context.more > LONG_MESSAGE;
    let shared = shared_advice(news).map(str::to_owned);
    let mut lines = match news {
        [only] if context.more == 0 => paragraph(only, ctx),
        _ => sections(news, is_long, context.more, shared.is_some(), ctx),
    };
    if let Some(digest) = &context.digest {
        lines.insert(0, phrases::held_back(digest.since, ctx));
        lines.extend(phrases::still_ongoing(&unmentioned(&digest.ongoing, folded), ctx));
    }
    // Clients cut long messages at the end, and the advice must survive.
    let place = if is_long { 0 } else { lines.len() };
    lines.splice(place..place, shared);
    lines
}

/// Returns the lines of a bubble and its severity, which stays `Alert` while an outage in it is ongoing.
fn compact(
    news: &[News],
    folded: &[Change],
    context: &Context,
    ctx: &RenderContext,
) -> (Vec<String>, Severity) {
    let others = unmentioned(&context.others, folded);
    let (ongoing, over): (Vec<&Outage>, Vec<&Outage>) =
        others.into_iter().partition(|outage| matches!(outage.phase, Phase::Ongoing(_)));
    let mut lines = Vec::new();
    for (index, news) in news.iter().enumerate() {
        if index == 0 {
            lines.extend(short_paragraph(news, ctx));
        } else {
            lines.push(bullet(news, ctx, |advice| lines.contains(&advice.to_owned())));
        }
    }
    lines.extend(phrases::still_ongoing(&ongoing, ctx));
    lines.extend(phrases::already_over(&over, ctx));
    lines.extend(context.digest.as_ref().map(|digest| phrases::held_back(digest.since, ctx)));
    let is_ongoing = !ongoing.is_empty() || news.iter().any(|news| advice::is_trouble(news.change.kind));
    let severity = match is_ongoing {
        true => Severity::Alert,
        false => severity(news.iter().map(|news| advice::severity(news.change.kind))),
    };
    (lines, severity)
}

/// Returns what happened, the advice, and then Apple's text.
fn short_paragraph(news: &News, ctx: &RenderContext) -> Vec<String> {
    let lines = [
        phrases::summary(news.change, ctx),
        advice::advice_for(news).to_owned(),
        phrases::last_backup(news, ctx),
        phrases::excerpt(news.change),
        services_line(news).unwrap_or_default(),
    ];
    lines.into_iter().filter(|line| !line.is_empty()).collect()
}

/// Returns one line, with the advice unless that `is_given` elsewhere.
fn bullet(news: &News, ctx: &RenderContext, is_given: impl Fn(&str) -> bool) -> String {
    let advice = advice::advice_for(news);
    let advice = if is_given(advice) || advice == advice::WAIT { "" } else { advice };
    let line = format!("\u{2022} {}. {} {advice}", news.headline(), phrases::times(news, ctx));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns each piece of advice once.
fn advice(news: &[News]) -> Vec<&'static str> {
    let mut advice: Vec<&str> = Vec::new();
    for text in news.iter().map(advice::advice_for) {
        if !text.is_empty() && !advice.contains(&text) {
            advice.push(text);
        }
    }
    advice
}

/// Returns the advice if it is the same for all the news, so that it is given once.
fn shared_advice(news: &[News]) -> Option<&'static str> {
    let first = advice::advice_for(news.first()?);
    let is_shared = !first.is_empty() && news.iter().all(|news| advice::advice_for(news) == first);
    is_shared.then_some(first)
}

/// Returns the outages that none of the changes is about.
fn unmentioned<'a>(outages: &'a [Outage], changes: &[Change]) -> Vec<&'a Outage> {
    let is_mentioned = |outage: &&Outage| {
        changes.iter().any(|change| {
            change.message_id.as_deref() == Some(outage.message_id.as_str())
                && ServiceKey::new(&change.service) == ServiceKey::new(&outage.service)
        })
    };
    outages.iter().filter(|outage| !is_mentioned(outage)).collect()
}

/// Returns a paragraph for each piece of news, or a line if there are many.
fn sections(
    news: &[News],
    is_long: bool,
    more: usize,
    has_shared_advice: bool,
    ctx: &RenderContext,
) -> Vec<String> {
    let mut lines = Vec::new();
    for news in news.iter().take(SECTIONS_MAX) {
        if is_long {
            lines.push(bullet(news, ctx, |_| has_shared_advice));
            lines.extend(services_line(news));
            continue;
        }
        let mut section = paragraph(news, ctx);
        section[0] = format!("\u{2022} {}. {}", news.headline(), section[0]).trim_end().to_owned();
        lines.extend(section);
        lines.extend(
            Some(advice::advice_for(news).to_owned()).filter(|text| !has_shared_advice && !text.is_empty()),
        );
    }
    let unlisted = news.len().saturating_sub(SECTIONS_MAX) + more;
    if unlisted > 0 {
        lines.push(format!("\u{2022} And {} more; see `statusd history`.", grouped(unlisted)));
    }
    lines
}

/// Returns the severity of the worst; `Resolved` only if all are resolved.
fn severity(mut severities: impl Iterator<Item = Severity> + Clone) -> Severity {
    if severities.clone().any(|severity| severity == Severity::Alert) {
        return Severity::Alert;
    }
    if severities.all(|severity| severity == Severity::Resolved) {
        Severity::Resolved
    } else {
        Severity::Info
    }
}

/// Returns headline and details in one line, for the log and for tables.
pub fn line(change: &Change, ctx: &RenderContext) -> String {
    let news = News { change, services: services(change), phone: change.phone };
    let (headline, details) = (news.headline(), phrases::details(&news, ctx));
    ctx.marked(if details.is_empty() { headline } else { format!("{headline}. {details}") })
}

/// Returns the details, and all services if the headline cannot name them.
fn paragraph(news: &News, ctx: &RenderContext) -> Vec<String> {
    std::iter::once(phrases::details(news, ctx)).chain(services_line(news)).collect()
}

fn services_line(news: &News) -> Option<String> {
    let is_cut = news.services.len() > HEADLINE_NAMES;
    is_cut.then(|| format!("Services: {}.", phrases::listed(&news.services)))
}

#[cfg(test)]
mod tests;
