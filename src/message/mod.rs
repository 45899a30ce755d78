//! Changes → the words people read.
//!
//! Pure. A human channel says everything that is due in one message: ten services of one incident
//! are one piece of news, a start and an end that both waited are "had trouble from … to …".

pub mod when;
pub mod words;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::{Change, ChangeKind, Tone};

/// Names in a headline before "and 3 more".
const HEADLINE_NAMES: usize = 2;

/// When and where something is said; `now` decides only how much of a date is needed.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub now: Timestamp,
    pub zone: &'a TimeZone,
}

/// One message for people: plain text, Apple's words in it unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One line.
    pub title: String,
    /// Lines.
    pub body: String,
    /// Of the worst in it.
    pub tone: Tone,
}

/// Changes that are one thing to say, for one or more services.
#[derive(Clone, Debug)]
pub struct News<'a> {
    /// What happened; stands for all the services.
    pub change: &'a Change,
    pub services: Vec<&'a str>,
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
/// empty message.
pub fn compose(changes: &[Change], said: &Said) -> Message {
    let folded = fold(changes);
    let news = group(&folded);
    let tone = tone(news.iter().map(|news| words::tone(news.change.kind)));
    let mut advice: Vec<&str> = Vec::new();
    for text in news.iter().map(words::advice_for) {
        if !text.is_empty() && !advice.contains(&text) {
            advice.push(text);
        }
    }
    let (title, mut lines) = match news.as_slice() {
        [] => (String::new(), Vec::new()),
        [only] => (words::headline(only, said), paragraph(only, said)),
        [first, rest @ ..] => {
            let title = format!("{} (and {} more)", words::headline(first, said), rest.len());
            (title, news.iter().flat_map(|news| section(news, said)).collect())
        }
    };
    lines.extend(advice.into_iter().map(str::to_owned));
    Message { title, body: lines.join("\n"), tone }
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
    let news = News { change, services: services(change) };
    let (headline, details) = (words::headline(&news, said), words::details(&news, said));
    if details.is_empty() { headline } else { format!("{headline}. {details}") }
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

fn section(news: &News, said: &Said) -> Vec<String> {
    let mut lines = paragraph(news, said);
    lines[0] = format!("\u{2022} {}. {}", words::headline(news, said), lines[0]);
    lines
}

/// What happened to one outage while it waited to be told, as one change.
fn fold(changes: &[Change]) -> Vec<Change> {
    let mut folded: Vec<Change> = Vec::new();
    for change in changes {
        let same = folded.iter_mut().find(|earlier| {
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
        ChangeKind::Worsened | ChangeKind::Eased if began => {
            Change { kind: earlier.kind, seen_at: earlier.seen_at, was_kind: None, ..later.clone() }
        }
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
            Some(news) if news.services.contains(&change.service.as_str()) => {}
            Some(news) => news.services.push(&change.service),
            None => all.push(News { change, services: services(change) }),
        }
    }
    // The worst first: a bubble shows its first line.
    all.sort_by_key(|news| words::tone(news.change.kind) != Tone::Alarm);
    all
}

#[cfg(test)]
mod tests;
