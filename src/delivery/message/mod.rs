//! Composes the message that people read from changes.
//!
//! Pure. A message contains all the changes that it is given: ten services of one incident are one piece
//! of news, a start and an end that both waited are "Was down … from … to …". Each piece of news has its
//! own headline and advice. `store` decides which changes share a message.

pub mod advice;
pub mod phrases;
pub mod time_format;
mod title;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::{Change, ChangeKind, LastBackup, Outage, Phase, ServiceKey, Severity};
use crate::text::grouped;

/// Names in a headline before "and 3 more".
const HEADLINE_NAMES: usize = 2;
/// More news than this is told in a line each, what to do above it.
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
    /// What is going on now and was told before; in order of time.
    pub lasting: Vec<Outage>,
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

/// Changes that are one thing to say, for one or more services.
#[derive(Clone, Debug)]
pub struct News<'a> {
    /// What happened; stands for all the services.
    pub change: &'a Change,
    pub services: Vec<&'a str>,
    /// What is known of the last backup, where a backup is among the services.
    pub phone: Option<LastBackup>,
}

impl News<'_> {
    /// `iCloud Backup`, `iCloud Backup and Photos`, `iCloud Backup, Photos and 8 more`.
    pub fn names(&self) -> String {
        named(&self.services)
    }

    fn headline(&self) -> String {
        title::headline(self)
    }
}

fn named(services: &[&str]) -> String {
    match services {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one} and {two}"),
        many => format!("{} and {} more", many[..HEADLINE_NAMES].join(", "), many.len() - HEADLINE_NAMES),
    }
}

/// Says all of it in one message. `changes` are in the order in which they happened; none gives an
/// empty message.
pub fn compose(changes: &[Change], context: &Context, said: &RenderContext) -> Message {
    let folded = fold(changes);
    let news = group(&folded);
    let (lines, severity) = match context.form {
        Form::Full => {
            let severity = severity(news.iter().map(|news| advice::severity(news.change.kind)));
            (full(&news, &folded, context, said), severity)
        }
        Form::Compact => compact(&news, &folded, context, said),
    };
    Message {
        title: said.marked(title(&news, context)),
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

/// All that is known of each piece of news, briefly where there are many.
fn full(news: &[News], folded: &[Change], context: &Context, said: &RenderContext) -> Vec<String> {
    let is_long = news.len() + context.more > LONG_MESSAGE;
    let shared = shared_advice(news).map(str::to_owned);
    let mut lines = match news {
        [only] if context.more == 0 => paragraph(only, said),
        _ => sections(news, is_long, context.more, shared.is_some(), said),
    };
    if let Some(digest) = &context.digest {
        lines.insert(0, phrases::held_back(digest.since, said));
        lines.extend(phrases::still_going_on(&unmentioned(&digest.lasting, folded), said));
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
    said: &RenderContext,
) -> (Vec<String>, Severity) {
    let others = unmentioned(&context.others, folded);
    let (ongoing, over): (Vec<&Outage>, Vec<&Outage>) =
        others.into_iter().partition(|outage| matches!(outage.phase, Phase::Ongoing(_)));
    let mut lines = Vec::new();
    for (index, news) in news.iter().enumerate() {
        if index == 0 {
            lines.extend(glance(news, said));
        } else {
            lines.push(brief(news, said, |advice| lines.contains(&advice.to_owned())));
        }
    }
    lines.extend(phrases::still_going_on(&ongoing, said));
    lines.extend(phrases::already_over(&over, said));
    lines.extend(context.digest.as_ref().map(|digest| phrases::held_back(digest.since, said)));
    let goes_on = !ongoing.is_empty() || news.iter().any(|news| advice::is_trouble(news.change.kind));
    let severity = match goes_on {
        true => Severity::Alert,
        false => severity(news.iter().map(|news| advice::severity(news.change.kind))),
    };
    (lines, severity)
}

/// What happened, what to do, and then what Apple writes.
fn glance(news: &News, said: &RenderContext) -> Vec<String> {
    let lines = [
        phrases::summary(news.change, said),
        advice::advice_for(news).to_owned(),
        phrases::last_backup(news, said),
        phrases::excerpt(news.change),
        services_line(news).unwrap_or_default(),
    ];
    lines.into_iter().filter(|line| !line.is_empty()).collect()
}

/// One line, with what to do unless that stands elsewhere.
fn brief(news: &News, said: &RenderContext, stands: impl Fn(&str) -> bool) -> String {
    let advice = advice::advice_for(news);
    let advice = if stands(advice) || advice == advice::WAIT { "" } else { advice };
    let line = format!("\u{2022} {}. {} {advice}", news.headline(), phrases::times(news, said));
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
    is_advised: bool,
    said: &RenderContext,
) -> Vec<String> {
    let mut lines = Vec::new();
    for news in news.iter().take(SECTIONS_MAX) {
        if is_long {
            lines.push(brief(news, said, |_| is_advised));
            lines.extend(services_line(news));
            continue;
        }
        let mut section = paragraph(news, said);
        section[0] = format!("\u{2022} {}. {}", news.headline(), section[0]).trim_end().to_owned();
        lines.extend(section);
        lines
            .extend(Some(advice::advice_for(news).to_owned()).filter(|text| !is_advised && !text.is_empty()));
    }
    let unlisted = news.len().saturating_sub(SECTIONS_MAX) + more;
    if unlisted > 0 {
        lines.push(format!("\u{2022} And {} more; see `statusd history`.", grouped(unlisted)));
    }
    lines
}

/// The severity of several pieces of news: that of the worst, and relief only where all are.
fn severity(mut tones: impl Iterator<Item = Severity> + Clone) -> Severity {
    if tones.clone().any(|severity| severity == Severity::Alert) {
        return Severity::Alert;
    }
    if tones.all(|severity| severity == Severity::Resolved) { Severity::Resolved } else { Severity::Info }
}

/// One line for the log and for tables: headline, details.
pub fn line(change: &Change, said: &RenderContext) -> String {
    let news = News { change, services: services(change), phone: change.phone };
    let (headline, details) = (news.headline(), phrases::details(&news, said));
    said.marked(if details.is_empty() { headline } else { format!("{headline}. {details}") })
}

/// The services that changes are about, each once, as a headline names them.
pub fn names(changes: &[Change]) -> String {
    let Some(change) = changes.first() else { return String::new() };
    let mut services: Vec<&str> = Vec::new();
    for service in changes.iter().map(|change| change.service.as_str()) {
        if !service.is_empty() && !services.contains(&service) {
            services.push(service);
        }
    }
    News { change, services, phone: None }.names()
}

fn services(change: &Change) -> Vec<&str> {
    if change.service.is_empty() { Vec::new() } else { vec![&change.service] }
}

/// The details, and who else where the headline could not name all.
fn paragraph(news: &News, said: &RenderContext) -> Vec<String> {
    std::iter::once(phrases::details(news, said)).chain(services_line(news)).collect()
}

fn services_line(news: &News) -> Option<String> {
    let is_cut = news.services.len() > HEADLINE_NAMES;
    is_cut.then(|| format!("Services: {}.", phrases::listed(&news.services)))
}

/// What happened to one outage while it waited to be told, as one change.
fn fold(changes: &[Change]) -> Vec<Change> {
    let mut folded: Vec<Change> = Vec::new();
    for change in changes {
        let same = folded.iter_mut().find(|earlier| {
            let sight = [ChangeKind::Unreadable, ChangeKind::Readable];
            if sight.contains(&change.kind) && sight.contains(&earlier.kind) {
                return earlier.feed == change.feed;
            }
            if change.kind.is_about_a_phone() {
                return (earlier.kind, &earlier.message_id, earlier.began_at)
                    == (change.kind, &change.message_id, change.began_at);
            }
            change.message_id.is_some()
                && (&earlier.service, &earlier.message_id, earlier.occurrence)
                    == (&change.service, &change.message_id, change.occurrence)
        });
        match same {
            Some(earlier) => *earlier = folded_pair(earlier, change),
            None => folded.push(change.clone()),
        }
    }
    folded
}

fn folded_pair(earlier: &Change, later: &Change) -> Change {
    let began = matches!(earlier.kind, ChangeKind::Began | ChangeKind::Reopened);
    match later.kind {
        // Nobody heard of the start: to the reader it is news that is over.
        ChangeKind::Ended if began => {
            Change { kind: ChangeKind::Missed, seen_at: earlier.seen_at, ..later.clone() }
        }
        // Nobody heard how it began: it begins as it is now.
        ChangeKind::Worsened | ChangeKind::Eased if began => Change {
            kind: earlier.kind,
            seen_at: earlier.seen_at,
            was_kind: None,
            phone: earlier.phone,
            ..later.clone()
        },
        // Nobody heard of the former times.
        ChangeKind::Moved if matches!(earlier.kind, ChangeKind::Planned | ChangeKind::Started) => {
            Change { kind: earlier.kind, seen_at: earlier.seen_at, ..later.clone() }
        }
        // A reminder adds nothing to what is said already.
        ChangeKind::Reminder if earlier.kind != ChangeKind::Reminder => earlier.clone(),
        _ => later.clone(),
    }
}

/// The services of one incident are one piece of news, unless Apple writes something else about each.
fn group(changes: &[Change]) -> Vec<News<'_>> {
    let mut all: Vec<News> = Vec::new();
    for change in changes {
        let same = all.iter_mut().find(|news| {
            change.message_id.is_some()
                && (news.change.kind, &news.change.outage_kind, news.change.began_at, news.change.ended_at)
                    == (change.kind, &change.outage_kind, change.began_at, change.ended_at)
                && phrases::of_apple(news.change) == phrases::of_apple(change)
        });
        match same {
            Some(news) => {
                news.phone = news.phone.or(change.phone);
                if !news.services.contains(&change.service.as_str()) {
                    news.services.push(&change.service);
                }
            }
            None => all.push(News { change, services: services(change), phone: change.phone }),
        }
    }
    // The worst first: a bubble shows its first line. Then backups: there is something to do about them.
    all.sort_by_key(|news| {
        let is_backup = news.services.iter().any(|service| ServiceKey::new(service).is_backup());
        (advice::severity(news.change.kind) != Severity::Alert, !is_backup)
    });
    all
}

#[cfg(test)]
mod tests;
