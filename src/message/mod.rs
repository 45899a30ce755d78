//! Changes → the words people read.
//!
//! Pure. A human channel says everything that is due in one message: ten services of one incident
//! are one piece of news, a start and an end that both waited are "had trouble from … to …".

pub mod when;
pub mod words;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::{Change, ChangeKind, LastBackup, Outage, ServiceKey, Tone};

/// Names in a headline before "and 3 more".
const HEADLINE_NAMES: usize = 2;
/// More news than this is told in a line each, what to do above it.
const LONG_MESSAGE: usize = 5;
/// And no more lines than this: nobody reads on.
const SECTIONS_MAX: usize = 100;
/// Before every message of a drill.
pub const DRILL: &str = "DRILL: ";

/// When and where something is said; `now` decides only how much of a date is needed.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub now: Timestamp,
    pub zone: &'a TimeZone,
    /// Every message of a drill begins with [`DRILL`].
    pub is_drill: bool,
}

impl Said<'_> {
    /// `text` so that nobody takes a drill for an outage.
    pub fn marked(&self, text: String) -> String {
        if self.is_drill && !text.starts_with(DRILL) { format!("{DRILL}{text}") } else { text }
    }
}

/// Why a message says what is long known, and what goes on beside its news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// When the oldest of its changes was held back.
    pub since: Timestamp,
    /// What is going on now and was told before; in order of time.
    pub lasting: Vec<Outage>,
}

/// One message for people: plain text, Apple's words in it unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One line.
    pub title: String,
    /// Lines.
    pub body: String,
    /// What to do, as it stands in the body; empty where there is nothing to do.
    pub advice: String,
    /// Of the worst in it.
    pub tone: Tone,
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
        match self.services.as_slice() {
            [] => String::new(),
            [one] => (*one).to_owned(),
            [one, two] => format!("{one} and {two}"),
            many => format!("{} and {} more", many[..HEADLINE_NAMES].join(", "), many.len() - HEADLINE_NAMES),
        }
    }
}

/// Says all of it in one message. `changes` are in the order in which they happened; none gives an
/// empty message. With a digest it also says since when it was held back, and what else goes on.
pub fn compose(changes: &[Change], digest: Option<&Digest>, said: &Said) -> Message {
    let folded = fold(changes);
    let news = group(&folded);
    let tone = tone(news.iter().map(|news| words::tone(news.change.kind)));
    let advice = advice(&news);
    let (title, mut lines) = match news.as_slice() {
        [] => (String::new(), Vec::new()),
        [only] => (words::headline(only, said), paragraph(only, said)),
        [first, rest @ ..] => {
            let title = format!("{} (and {} more)", words::headline(first, said), rest.len());
            (title, sections(&news, said))
        }
    };
    if let Some(digest) = digest {
        lines.insert(0, words::held_back(digest.since, said));
        lines.extend(words::still_going_on(&unmentioned(digest, &folded), said));
    }
    // Whoever cuts a long message cuts its end, and what to do must be in it.
    let place = if news.len() > LONG_MESSAGE { 0 } else { lines.len() };
    lines.splice(place..place, advice.iter().map(|text| (*text).to_owned()));
    Message { title: said.marked(title), body: lines.join("\n"), advice: advice.join("\n"), tone }
}

/// Each piece of advice once.
fn advice(news: &[News]) -> Vec<&'static str> {
    let mut advice: Vec<&str> = Vec::new();
    for text in news.iter().map(words::advice_for) {
        if !text.is_empty() && !advice.contains(&text) {
            advice.push(text);
        }
    }
    advice
}

/// What goes on beside the outages that the message is about.
fn unmentioned<'a>(digest: &'a Digest, changes: &[Change]) -> Vec<&'a Outage> {
    let is_mentioned = |outage: &&Outage| {
        changes.iter().any(|change| {
            change.message_id.as_deref() == Some(outage.message_id.as_str())
                && ServiceKey::new(&change.service) == ServiceKey::new(&outage.service)
        })
    };
    digest.lasting.iter().filter(|outage| !is_mentioned(outage)).collect()
}

/// A line or two for each piece of news, briefly where there are many.
fn sections(news: &[News], said: &Said) -> Vec<String> {
    let is_long = news.len() > LONG_MESSAGE;
    let told = news.iter().take(SECTIONS_MAX);
    let mut lines: Vec<String> = told.flat_map(|news| section(news, is_long, said)).collect();
    if news.len() > SECTIONS_MAX {
        let more = news.len() - SECTIONS_MAX;
        lines.push(format!("\u{2022} And {more} more: `statusd history` has them all."));
    }
    lines
}

/// The tone of several pieces of news: that of the worst, and relief only where all are.
fn tone(mut tones: impl Iterator<Item = Tone> + Clone) -> Tone {
    if tones.clone().any(|tone| tone == Tone::Alarm) {
        return Tone::Alarm;
    }
    if tones.all(|tone| tone == Tone::Relief) { Tone::Relief } else { Tone::Neutral }
}

/// One line for the log and for tables: headline, details.
pub fn line(change: &Change, said: &Said) -> String {
    let news = News { change, services: services(change), phone: change.phone };
    let (headline, details) = (words::headline(&news, said), words::details(&news, said));
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
fn paragraph(news: &News, said: &Said) -> Vec<String> {
    let mut lines = vec![words::details(news, said)];
    if news.services.len() > HEADLINE_NAMES {
        lines.push(format!("Services: {}.", news.services.join(", ")));
    }
    lines
}

fn section(news: &News, briefly: bool, said: &Said) -> Vec<String> {
    let headline = words::headline(news, said);
    if briefly {
        let times = words::times(news, said);
        let names = (news.services.len() > HEADLINE_NAMES)
            .then(|| format!("Services: {}.", news.services.join(", ")));
        return std::iter::once(format!("\u{2022} {headline}. {times}").trim_end().to_owned())
            .chain(names)
            .collect();
    }
    let mut lines = paragraph(news, said);
    lines[0] = format!("\u{2022} {headline}. {}", lines[0]);
    lines
}

/// What happened to one outage while it waited to be told, as one change.
fn fold(changes: &[Change]) -> Vec<Change> {
    let mut folded: Vec<Change> = Vec::new();
    for change in changes {
        let same = folded.iter_mut().find(|earlier| {
            let sight = [ChangeKind::Blind, ChangeKind::Sighted];
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
        ChangeKind::Lasts if earlier.kind != ChangeKind::Lasts => earlier.clone(),
        _ => later.clone(),
    }
}

/// The services of one incident are one piece of news.
fn group(changes: &[Change]) -> Vec<News<'_>> {
    let mut all: Vec<News> = Vec::new();
    for change in changes {
        let same = all.iter_mut().find(|news| {
            change.message_id.is_some()
                && (news.change.kind, &news.change.outage_kind, news.change.began_at, news.change.ended_at)
                    == (change.kind, &change.outage_kind, change.began_at, change.ended_at)
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
    // The worst first: a bubble shows its first line.
    all.sort_by_key(|news| words::tone(news.change.kind) != Tone::Alarm);
    all
}

#[cfg(test)]
mod tests;
