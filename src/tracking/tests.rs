//! The rules of the state machine as one-line timelines: one letter per scheduled poll for what the feed
//! shows, and the changes that are announced, with the number of the poll.
//!
//! Polls are five minutes apart. As in the daemon, an unconfirmed change is polled again after 45 s.
//! `{12}` repeats the letter before it. The watched service is "iCloud Backup", its event has the id 1001.
//! Another service is always listed and fine.
//!
//! | letter | the feed shows |
//! |---|---|
//! | `.` `-` | the service without its event |
//! | `i` `o` `p` | ongoing: Issue, Outage, Performance |
//! | `r` | resolved Issue |
//! | `q` `w` | an unknown status, no end: Issue, Outage |
//! | `Q` | an unknown status, an end in the past |
//! | `t` `z` `h` | ongoing, an unknown type; no type; as `u`, without a type |
//! | `u` `v` `e` | Maintenance upcoming in two days; a day later; in two days with another end |
//! | `k` `l` | Maintenance still upcoming after its start; after its end |
//! | `m` `M` `N` | Maintenance ongoing, with an end that moves at every poll; a fixed end; another |
//! | `c` `d` | Maintenance completed; completed before its start |
//! | `I` `R` | ongoing, resolved; starting ten days later: the id was reused |
//! | `s` | a stale copy: an older stamp, everything fine |
//! | `n` | a document without any stamp, everything fine |
//! | `_` | the service is not listed |
//! | `x` `y` | unreadable: Apple's fault, ours |

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::absence::{Absence, WITHDRAWN_AFTER, absent};
use super::transition::{Transition, transition};
use super::*;
use crate::model::{
    ChangeKind, DateOrder, Edition, Event, EventKind, Fault, FeedHealth, FeedId, FeedState, Listing, Outage,
    OverBy, StaleRun, Stamp,
};

const POLL_S: i64 = 300;
const CONFIRM_S: i64 = 45;
/// 2026-01-01T00:00:00Z, the first poll.
const ZERO_S: i64 = 1_767_225_600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(ZERO_S + second).expect("within range")
}

fn event(letter: char, now: Timestamp) -> Option<Event> {
    let kind = match letter {
        'i' | 'r' | 'q' | 'Q' | 'I' | 'R' => EventKind::Issue,
        'o' | 'w' => EventKind::Outage,
        'p' => EventKind::Performance,
        't' => EventKind::Other("Trouble".to_owned()),
        'z' | 'h' => EventKind::Other(String::new()),
        'u' | 'v' | 'e' | 'k' | 'l' | 'm' | 'M' | 'N' | 'c' | 'd' => EventKind::Maintenance,
        _ => return None,
    };
    let status = match letter {
        'u' | 'v' | 'e' | 'k' | 'l' | 'h' => EventStatus::Upcoming,
        'r' | 'c' | 'd' | 'R' => EventStatus::Over,
        'q' | 'Q' | 'w' => EventStatus::Unknown("investigating".to_owned()),
        _ => EventStatus::Ongoing,
    };
    let end = match letter {
        'r' | 'c' | 'Q' => Some(at(-60)),
        'R' => Some(at(10 * 86_400 + 60)),
        'm' => Some(now + SignedDuration::from_hours(1)),
        'u' | 'd' | 'h' => Some(at(2 * 86_400 + 4 * 3_600)),
        'v' => Some(at(3 * 86_400 + 4 * 3_600)),
        'e' => Some(at(2 * 86_400 + 5 * 3_600)),
        'l' => Some(at(1_800)),
        'M' => Some(at(86_400)),
        'N' => Some(at(86_400 + 3_600)),
        _ => None,
    };
    let start = match letter {
        'I' | 'R' => at(10 * 86_400),
        'u' | 'e' | 'd' | 'h' => at(2 * 86_400),
        'v' => at(3 * 86_400),
        _ => at(-3_600),
    };
    Some(Event {
        message_id: "1001".to_owned(),
        kind,
        status,
        start: Some(start),
        end,
        users_affected: None,
        message: String::new(),
    })
}

fn document(letter: char, now: Timestamp) -> Document {
    let fine = |name: &str, events| Listing { name: name.to_owned(), events, malformed: false };
    let mut services = BTreeMap::from([(ServiceKey::new("Photos"), fine("Photos", Vec::new()))]);
    if letter != '_' {
        let events = event(letter, now).into_iter().collect();
        services.insert(ServiceKey::new("iCloud Backup"), fine("iCloud Backup", events));
    }
    let stamp = match letter {
        's' => Stamp::at(at(-86_400)),
        'n' => Stamp::default(),
        _ => Stamp::at(now),
    };
    Document { stamp, banner: None, services }
}

/// Expands `o-{3}` to `o---`.
fn letters(timeline: &str) -> Vec<char> {
    let mut letters = Vec::new();
    let mut rest = timeline.chars();
    while let Some(letter) = rest.next() {
        if letter != '{' {
            letters.push(letter);
            continue;
        }
        let count: String = rest.by_ref().take_while(|c| *c != '}').collect();
        let last = *letters.last().expect("a letter before the braces");
        let more = count.parse::<usize>().expect("a count in the braces") - 1;
        letters.extend(std::iter::repeat_n(last, more));
    }
    letters
}

struct Told {
    beliefs: Beliefs,
    told: Vec<String>,
    history: Vec<String>,
    changes: Vec<Change>,
}

fn play(timeline: &str) -> Told {
    play_watching(timeline, &["iCloud Backup"])
}

fn play_watching(timeline: &str, names: &[&str]) -> Told {
    let watch = Watchlist::new(names);
    let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
    let mut pending = Pending::default();
    let mut all =
        Told { beliefs: Beliefs::new(feed), told: Vec::new(), history: Vec::new(), changes: Vec::new() };
    for (index, letter) in letters(timeline).into_iter().enumerate() {
        let slot = POLL_S * i64::try_from(index).expect("few polls");
        let mut polls = vec![(slot, POLL_S - CONFIRM_S)];
        while let Some((second, awake_s)) = polls.pop() {
            let now = at(second);
            let update = match letter {
                'x' | 'y' => {
                    let fault = if letter == 'x' { Fault::Apple } else { Fault::Ours };
                    let failure = FeedFailure { fault, reason: "no answer".to_owned() };
                    let awake_s = u64::try_from(awake_s + CONFIRM_S).expect("positive");
                    unreadable(&all.beliefs, &mut pending, &failure, awake_s, now)
                }
                _ => compare(&all.beliefs, &mut pending, &document(letter, now), &watch, now),
            };
            for change in &update.changes {
                let line = format!("{}@{index}", change.kind.as_str());
                if is_for(change, &watch) {
                    all.told.push(line)
                } else {
                    all.history.push(line)
                }
                all.changes.push(change.clone());
            }
            update.apply(&mut all.beliefs);
            if pending.oldest().is_some() && second == slot && !matches!(letter, 'x' | 'y') {
                polls.push((slot + CONFIRM_S, CONFIRM_S));
            }
        }
    }
    all
}

#[track_caller]
fn check(timeline: &str, expected: &str) {
    assert_eq!(play(timeline).told.join(" "), expected, "{timeline}");
}

#[track_caller]
fn check_history(timeline: &str, expected: &str) {
    assert_eq!(play(timeline).history.join(" "), expected, "{timeline}");
}

#[test]
fn rule_1_a_start_and_an_end_are_told_once() {
    check(".....", "");
    check("..iii..", "began@2");
    check("..ooor.", "began@2 ended@5");
    check(".irrrr.....", "began@1 ended@2");
    check("o", "began@0");
}

#[test]
fn rule_2_stale_copies_change_nothing() {
    check(".oosssoor", "began@1 ended@8");
    check(".sososor", "began@2 ended@7");
    check(".s{144}", "");
    // Only stale copies for twelve hours: Apple's clock was reset.
    let all = play("os{146}");
    assert_eq!(all.beliefs.state.stale, None);
    assert_eq!(all.beliefs.state.stamp, Some(at(-86_400)));
    // A document without a stamp is accepted, and leaves the newest stamp unchanged.
    check("onn{30}o", "began@0 withdrawn@25 reopened@32");
}

#[test]
fn rule_2_an_older_copy_is_accepted_after_twelve_hours_and_twelve_polls() {
    let stamp = Some(at(0));
    let older = |hours: i64| Stamp::at(at(-3_600 * hours));
    let mut state = Beliefs::new(FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() }).state;
    state.stamp = stamp;
    let mut accepted = Vec::new();
    for poll in 0..16 {
        // An hour apart, the one-day-old copy alternating with the month-old one.
        let hours = if poll % 2 == 0 { 24 } else { 720 };
        let (verdict, stamp, stale) = freshness(&state, &older(hours), at(3_600 * poll));
        (state.stamp, state.stale) = (stamp, stale);
        if verdict == Acceptance::AcceptedOlder {
            accepted.push((poll, hours));
        }
    }
    assert_eq!(accepted, [(12, 24), (14, 24)].into_iter().take(accepted.len()).collect::<Vec<_>>());
    assert_eq!(accepted.first(), Some(&(12, 24)));
    // Two polls with a night of sleep between them are not enough.
    let run = StaleRun { since: at(0), newest: at(-86_400), fetches: 1 };
    state.stale = Some(run);
    state.stamp = stamp;
    assert_eq!(freshness(&state, &older(24), at(13 * 3_600)).0, Acceptance::Stale);
}

fn state_with(stamp: Option<Timestamp>, date_order: Option<DateOrder>) -> FeedState {
    let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
    FeedState { stamp, date_order, ..Beliefs::new(feed).state }
}

#[test]
fn rule_2_a_stamp_in_the_future_is_ignored() {
    let hours = |hours: i64| at(3_600 * hours);
    let state = state_with(Some(at(0)), None);
    let accepted = |stamp| (Acceptance::Accepted, Some(stamp), None);
    assert_eq!(freshness(&state, &Stamp::at(hours(26)), at(0)), accepted(hours(26)));
    assert_eq!(freshness(&state, &Stamp::at(hours(27)), at(0)), accepted(at(0)));
    // Nor is one in the stored state, so the next stamp replaces it.
    let poisoned = state_with(Some(hours(24 * 365)), None);
    assert_eq!(freshness(&poisoned, &Stamp::at(hours(-1)), at(0)), accepted(hours(-1)));
    assert_eq!(newest_stamp(&poisoned, at(0)), None);
    // The stored stamp is kept, because the local clock may be wrong.
    assert_eq!(freshness(&poisoned, &Stamp::default(), at(0)), accepted(hours(24 * 365)));
}

#[test]
fn rule_2_the_known_date_order_decides_or_else_the_nearest_past_reading() {
    use DateOrder::{DayFirst, MonthFirst};
    let days = |days: i64| at(86_400 * days);
    let stamp = |month_first, day_first, order| Stamp {
        readings: Some([days(month_first), days(day_first), days(month_first)]),
        order,
    };
    let read = |stamp: &Stamp, had| published(stamp, had, at(0));
    assert_eq!(read(&stamp(-30, -1, None), None), Some(days(-1)));
    assert_eq!(read(&stamp(-30, 1, None), None), Some(days(1)));
    assert_eq!(read(&stamp(-30, 30, None), None), Some(days(-30)));
    assert_eq!(read(&stamp(30, 60, None), None), None);
    assert_eq!(read(&stamp(-30, -1, None), Some(MonthFirst)), Some(days(-30)));
    assert_eq!(read(&stamp(30, -1, None), Some(MonthFirst)), None);
    assert_eq!(read(&stamp(-1, -30, Some(DayFirst)), Some(MonthFirst)), Some(days(-30)));
}

#[test]
fn rule_2_the_date_order_is_kept_from_accepted_documents() {
    let watch = Watchlist::new(&["iCloud Backup"]);
    let mut beliefs = play(".").beliefs;
    let mut poll_at = |stamp, second| {
        let document = Document { stamp, ..document('.', at(second)) };
        compare(&beliefs, &mut Pending::default(), &document, &watch, at(second)).apply(&mut beliefs);
        beliefs.state.clone()
    };
    let proof = Stamp { order: Some(DateOrder::DayFirst), ..Stamp::at(at(400)) };
    assert_eq!(poll_at(proof, 400).date_order, Some(DateOrder::DayFirst));
    let stale = Stamp { order: Some(DateOrder::MonthFirst), ..Stamp::at(at(-86_400)) };
    assert_eq!(poll_at(stale, 500).date_order, Some(DateOrder::DayFirst));
    let open = Stamp { readings: Some([at(600), at(500), at(600)]), order: None };
    assert_eq!(poll_at(open, 700).stamp, Some(at(500)));
}

/// Replay skips idle time, but not the time at which a stamp becomes valid.
#[test]
fn rule_2_a_stamp_that_becomes_valid_is_a_deadline() {
    let beliefs = Beliefs { state: state_with(None, None), ..play(".").beliefs };
    let document = Document { stamp: Stamp::at(at(30 * 3_600)), ..document('.', at(0)) };
    let deadline = next_deadline(&beliefs, &Pending::default(), Some(&document), at(0));
    assert_eq!(deadline, Some(at(4 * 3_600)));
}

#[test]
fn rule_3_spellings_of_a_name_are_one_service() {
    let watch = Watchlist::new(&[" icloud\u{a0}BACKUP"]);
    assert!(watch.matches(&ServiceKey::new("iCloud Backup ")));
}

#[test]
fn rule_4_over_and_ongoing_again_is_reopened() {
    check(".or.o.r", "began@1 ended@2 reopened@4 ended@6");
    check(".orororor", "began@1 ended@2 reopened@3 ended@4 reopened@5 ended@6 reopened@7 ended@8");
    // The same id with a much later start is another outage.
    check(".ir..I", "began@1 ended@2 began@5");
    check(".ir..R", "began@1 ended@2 missed@5");
    let occurrences: Vec<_> = play(".ir..IR").changes.iter().map(|change| change.occurrence).collect();
    assert_eq!(occurrences, [Some(1), Some(1), Some(2), Some(2)]);
}

#[test]
fn rule_5_the_end_is_the_one_that_apple_gives() {
    let all = play(".ir");
    assert_eq!(all.changes[1].ended_at, Some(at(-60)));
}

#[test]
fn rule_6_silence_is_not_recovery() {
    check(".o--or.", "began@1 ended@5");
    check(".o-{24}", "began@1");
    check(".o-{25}", "began@1 withdrawn@26");
    check(".o-{25}oor", "began@1 withdrawn@26 reopened@27 ended@29");
    // Listed again as resolved: the history is corrected without a notice.
    check(".o-{25}rr", "began@1 withdrawn@26");
    check_history(".o-{25}rr", "corrected@27");
    // Listed in between: the two hours start again.
    check(".o-{24}o-{24}o", "began@1");
    let withdrawn = &play(".o-{25}").changes[1];
    assert_eq!((withdrawn.seen_at, withdrawn.ended_at), (at(2 * POLL_S), None));
}

#[test]
fn rule_6_two_hours_of_sleep_are_not_an_absence() {
    let mut missing = None;
    for (second, long) in [(0, false), (3 * 3_600, false), (3 * 3_600 + 60, true)] {
        match absent(missing.as_ref(), WITHDRAWN_AFTER, at(second)) {
            Absence::Counted(counted) => missing = Some(counted),
            Absence::Long { since } => {
                assert_eq!(since, at(0));
                assert!(long, "at {second}");
                return;
            }
        }
    }
    panic!("never long");
}

#[test]
fn rule_7_posted_late_is_missed_but_not_in_the_first_document() {
    check("..r..", "missed@2");
    check("r....", "");
    check_history("r....", "noted@0");
    check("rr.i", "reopened@3");
    let missed = &play("..r").changes[0];
    assert_eq!((missed.began_at, missed.ended_at), (Some(at(-3_600)), Some(at(-60))));
}

#[test]
fn rule_8_unknown_words_count_as_an_outage() {
    check(".q.", "began@1");
    check(".Q.", "missed@1");
    check(".t", "began@1");
    check(".tr", "began@1 ended@2");
    // An unknown status does not change the type.
    assert_eq!(play(".q").changes[0].outage_kind, Some(EventKind::Issue));
    check(".wwoor", "began@1 ended@5");
    assert_eq!(play(".w").changes[0].outage_kind, Some(EventKind::Outage));
    check(".iw", "began@1 worsened@2");
    // An unknown type does not change the severity.
    check(".iqtir", "began@1 ended@5");
    check(".otor", "began@1 ended@4");
}

#[test]
fn rule_9_severity_changes_are_announced() {
    check(".iooir", "began@1 worsened@2 eased@4 ended@5");
    check(".pio", "began@1 worsened@2 worsened@3");
    let worsened = &play(".io").changes[1];
    assert_eq!(worsened.was_kind, Some(EventKind::Issue));
    // A repeated change within one outage has its own key.
    let keys: Vec<_> = play(".ioio").changes.iter().map(Change::key).collect();
    let expected = ["1/began", "1/worsened", "1/eased", "1/worsened/2"];
    assert_eq!(keys, expected.map(|tail| format!("consumer/en_US/icloud%20backup/1001/{tail}")));
}

#[test]
fn rule_10_maintenance_is_not_an_outage() {
    check(".uumc.", "planned@1 started@3 over@4");
    check(".mc", "started@1 over@2");
    check(".uc", "planned@1 over@2");
    check(".c", "");
    check_history(".c", "noted@1");
    // No longer listed after its announced end: over, as announced.
    check(".m-{30}", "started@1 over@26");
    // Maintenance that becomes an outage.
    check(".mor", "started@1 began@2 ended@3");
}

#[test]
fn rule_10_changed_plans_are_announced() {
    check(".uvvm", "planned@1 moved@2 started@4");
    check(".ueu", "planned@1 moved@2 moved@3");
    check(".uvuuc", "planned@1 moved@2 moved@3 over@5");
    let keys: Vec<_> = play(".uvu").changes.iter().map(Change::key).collect();
    let expected = ["planned", "moved", "moved/2"];
    assert_eq!(keys, expected.map(|tail| format!("consumer/en_US/icloud%20backup/1001/1/{tail}")));
    let moved = &play(".uv").changes[1];
    assert_eq!((moved.began_at, moved.ended_at), (Some(at(3 * 86_400)), Some(at(3 * 86_400 + 14_400))));
    // Running maintenance with a later end; with another end at every poll.
    check(".MNNc", "started@1 moved@2 over@4");
    check(".mmm", "started@1");
    // No longer listed, or completed, before its start. A plan listed again is a new one.
    check(".u-{30}", "planned@1 cancelled@26");
    check(".ud", "planned@1 cancelled@2");
    check(".u-{30}um", "planned@1 cancelled@26 planned@32 started@33");
    let cancelled = &play(".u-{30}").changes[1];
    assert_eq!(
        (cancelled.began_at, cancelled.ended_at),
        (Some(at(2 * 86_400)), Some(at(2 * 86_400 + 14_400)))
    );
    assert_eq!(cancelled.seen_at, at(2 * POLL_S));
    // No longer listed after its start: withdrawn, or over if its end has passed too.
    check(".k-{30}", "planned@1 withdrawn@26");
    check(".l-{30}", "planned@1 over@26");
}

#[test]
fn rule_10_a_removed_time_or_a_shift_of_seconds_is_not_a_move() {
    let event = event('u', at(0)).expect("a plan");
    let held = |event: &Event| match transition(
        None,
        &observe(event, None, at(0)).expect("an observation"),
        "iCloud Backup",
        at(0),
    ) {
        Transition::Changed(ChangeKind::Planned, outage) => outage,
        other => panic!("{other:?}"),
    };
    let transitioned = |other: &Event| match transition(
        Some(&held(&event)),
        &observe(other, Some(&held(&event)), at(0)).expect("an observation"),
        "",
        at(0),
    ) {
        Transition::Changed(kind, outage) => (Some(kind), outage.end),
        Transition::Same | Transition::Absent => (None, None),
    };
    let by = |seconds| event.end.map(|end| end + SignedDuration::from_secs(seconds));
    assert_eq!(transitioned(&Event { end: by(59), ..event.clone() }), (Some(ChangeKind::Revised), by(59)));
    assert_eq!(transitioned(&Event { end: by(-60), ..event.clone() }), (Some(ChangeKind::Moved), by(-60)));
    assert_eq!(transitioned(&Event { end: None, ..event.clone() }), (None, None));
    // A plan without an end gets one.
    let endless = held(&Event { end: None, ..event.clone() });
    let given = transition(Some(&endless), &observe(&event, None, at(0)).expect("an observation"), "", at(0));
    assert!(matches!(given, Transition::Changed(ChangeKind::Moved, _)), "{given:?}");
}

/// Running maintenance whose type became empty was once announced as an outage.
#[test]
fn rule_8_a_type_that_apple_removes_is_kept() {
    check(".mzzm.", "started@1");
    check(".uz", "planned@1 started@2");
    check(".uhhhu", "planned@1");
    check(".uh{30}", "planned@1");
    check(".oz.zr", "began@1 ended@5");
    check(".pzzi", "began@1 worsened@4");
    // Without a known type, or with an unknown word, the event counts as an outage.
    check(".z", "began@1");
    check(".h", "");
    check(".mt", "started@1 began@2");
}

/// Affected users, message and the end of an outage that is over are kept when Apple removes them.
#[test]
fn rule_9_details_that_apple_removes_are_kept() {
    let told = Event {
        users_affected: Some("Some users are affected".to_owned()),
        message: "Users cannot back up.".to_owned(),
        ..event('o', at(0)).expect("an outage")
    };
    let silent = Event { users_affected: None, message: String::new(), start: None, ..told.clone() };
    let over = |event: &Event, end| Event { status: EventStatus::Over, end, ..event.clone() };
    let transitioned = |held: Option<&Outage>, event: &Event| {
        transition(held, &observe(event, held, at(0)).expect("an observation"), "iCloud Backup", at(0))
    };
    let changed = |held: Option<&Outage>, event: &Event| match transitioned(held, event) {
        Transition::Changed(_, outage) => outage,
        other => panic!("{other:?}"),
    };
    let held = changed(None, &told);
    assert_eq!(transitioned(Some(&held), &silent), Transition::Same);
    let ended = changed(Some(&held), &over(&silent, Some(at(-60))));
    let Outage { users_affected, message, start, end, .. } = &ended;
    assert_eq!((users_affected, message, *start), (&told.users_affected, &told.message, told.start));
    assert_eq!(*end, Some(at(-60)));
    assert_eq!(transitioned(Some(&ended), &over(&silent, None)), Transition::Same);
    // The end of a withdrawn outage is our guess and is not kept.
    let withdrawn = Outage { phase: Phase::Over(OverBy::Withdrawal), ..ended };
    assert_eq!(changed(Some(&withdrawn), &over(&silent, None)).end, None);
}

/// Documents with up to 2,000 new events each time must not fill memory and database.
#[test]
fn events_over_the_limit_are_ignored_until_there_is_room() {
    let wave = |number: usize| {
        let mut document = document('.', at(0));
        let listing = document.services.get_mut(&ServiceKey::new("iCloud Backup")).expect("a service");
        let event =
            |id: usize| Event { message_id: format!("{number}/{id}"), ..event('o', at(0)).expect("one") };
        listing.events = (0..1_200).map(event).collect();
        document
    };
    let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
    let (mut beliefs, mut pending) = (Beliefs::new(feed), Pending::default());
    let watch = Watchlist::new(&["*"]);
    let mut left_out = Vec::new();
    for poll in 0..80 {
        let document = wave(poll / 2);
        let now = at(i64::try_from(poll).expect("small") * 60);
        let update = compare(&beliefs, &mut pending, &document, &watch, now);
        left_out.push(update.left_out);
        update.apply(&mut beliefs);
        assert!(beliefs.outages.len() <= ACTIVE_MAX && pending.first_seen.len() <= 1_200);
    }
    // Each wave needs a second poll to be confirmed.
    assert_eq!(left_out[..8], [0, 0, 0, 0, 0, 600, 1_200, 1_200]);
    assert_eq!(beliefs.outages.len(), ACTIVE_MAX);
    // Two hours later the other outages are withdrawn.
    let mut last = wave(100);
    last.stamp = Stamp::at(at(3 * 3_600));
    for poll in 0..4 {
        let update = compare(&beliefs, &mut pending, &last, &watch, at(3 * 3_600 + poll * 60));
        update.apply(&mut beliefs);
    }
    let is_ongoing = |outage: &&Outage| matches!(outage.phase, Phase::Ongoing(_));
    assert_eq!(beliefs.outages.values().filter(is_ongoing).count(), 1_200);
}

#[test]
fn rule_10_two_different_moves_do_not_confirm_each_other() {
    let watch = Watchlist::new(&["iCloud Backup"]);
    let mut beliefs = play(".u").beliefs;
    let mut pending = Pending::default();
    let mut poll_at = |letter, second| {
        let update = compare(&beliefs, &mut pending, &document(letter, at(second)), &watch, at(second));
        let kinds: Vec<_> = update.changes.iter().map(|change| (change.kind, change.seen_at)).collect();
        update.apply(&mut beliefs);
        kinds
    };
    assert_eq!(poll_at('v', 600), []);
    assert_eq!(poll_at('e', 645), []);
    assert_eq!(poll_at('e', 690), [(ChangeKind::Moved, at(645))]);
}

#[test]
fn rule_11_a_watched_name_that_matches_no_service() {
    check("___", "unlisted@0");
    check("___..", "unlisted@0 listed_again@3");
    check("._{288}", "");
    check("._{289}", "unlisted@289");
    check("._{289}..", "unlisted@289 listed_again@290");
    check("._{200}._{200}", "");
    let all = play_watching("...", &["iCloud Bakup", "xyz*"]);
    assert_eq!(all.told, ["unlisted@0", "unlisted@0"]);
    assert_eq!(all.changes[0].near, ["iCloud Backup"]);
    // A glob that matches a service later is reported once.
    let all = play_watching("__..", &["iCloud*"]);
    assert_eq!(all.told, ["unlisted@0", "listed_again@2"]);
    assert!(!all.beliefs.services.contains_key(&ServiceKey::new("iCloud*")));
}

#[test]
fn rule_12_a_change_seen_once_is_not_announced() {
    let watch = Watchlist::new(&["iCloud Backup"]);
    let mut beliefs = play(".").beliefs;
    let mut pending = Pending::default();
    let mut poll_at = |letter, second| {
        // Only the stale copy has a stamp, so that the clock below can be set back.
        let stamp = if letter == 's' { Stamp::at(at(-86_400)) } else { Stamp::default() };
        let document = Document { stamp, ..document(letter, at(second)) };
        let update = compare(&beliefs, &mut pending, &document, &watch, at(second));
        let kinds: Vec<_> = update.changes.iter().map(|change| (change.kind, change.seen_at)).collect();
        update.apply(&mut beliefs);
        kinds
    };
    assert_eq!(poll_at('o', 300), []);
    // Too soon, because a cache repeats the same wrong copy.
    assert_eq!(poll_at('o', 320), []);
    // Not seen in between: starts again.
    assert_eq!(poll_at('.', 340), []);
    assert_eq!(poll_at('o', 360), []);
    // A stale copy discards the first observation.
    assert_eq!(poll_at('s', 380), []);
    assert_eq!(poll_at('o', 400), []);
    // After the clock was set back: starts again, instead of waiting until the old time.
    assert_eq!(poll_at('o', 100), []);
    assert_eq!(poll_at('o', 130), [(ChangeKind::Began, at(100))]);
}

#[test]
fn rule_13_an_unreadable_feed_is_reported_after_an_hour() {
    check(".oxxxor", "began@1 ended@6");
    check(".x{11}..", "");
    check(".x{13}..", "unreadable@13 readable@14");
    check(".x{40}", "unreadable@13");
    check(".y{400}..", "");
    // A fault of ours does not count, and restarts the hour.
    check("y{20}x{13}", "unreadable@32");
    check(".x{6}y{20}x{6}", "");
    check("x{13}.", "unreadable@12 readable@13");
    let all = play("..xx");
    assert!(
        matches!(all.beliefs.state.health, FeedHealth::Unreadable { since, told: false, .. } if since == at(600))
    );
}

#[test]
fn rule_14_the_same_document_again_changes_nothing() {
    for letter in ['.', 'i', 'o', 'r', 'u', 'c', 'q', '_'] {
        let mut all = play(&format!(".{letter}{letter}"));
        let watch = Watchlist::new(&["iCloud Backup"]);
        let mut pending = Pending::default();
        let now = at(3 * POLL_S);
        let stamp = all.beliefs.state.stamp.map(Stamp::at).unwrap_or_default();
        let same = Document { stamp, ..document(letter, now) };
        let mut update = compare(&all.beliefs, &mut pending, &same, &watch, now);
        if letter == '_' {
            // An absence is counted up to three.
            update.apply(&mut all.beliefs);
            update = compare(&all.beliefs, &mut pending, &same, &watch, at(4 * POLL_S));
        }
        assert!(update.is_empty(&all.beliefs), "{letter}: {update:?}");
    }
    assert_eq!(play(".io--r.s.uxx.").changes, play(".io--r.s.uxx.").changes);
}

#[test]
fn setting_the_clock_neither_restarts_nor_ends_a_wait() {
    let mut beliefs = play(".o-{3}").beliefs;
    let years = SignedDuration::from_hours(24 * 365 * 3);
    let mut pending = Pending::default();
    pending.first_seen.insert((ServiceKey::new("Photos"), String::new(), 0, ChangeKind::Began, None), at(0));
    clock_set(&beliefs, &mut pending, years).apply(&mut beliefs);
    assert_eq!(pending.oldest(), Some(at(0) + years));
    let deadline = next_deadline(&beliefs, &Pending::default(), None, at(0)).expect("a wait is running");
    assert_eq!(deadline, at(2 * POLL_S) + years + WITHDRAWN_AFTER);
}

#[test]
fn a_malformed_service_ends_no_outage() {
    let watch = Watchlist::new(&["iCloud Backup"]);
    let beliefs = play(".oo").beliefs;
    let mut malformed = document('.', at(900));
    malformed.services.get_mut(&ServiceKey::new("iCloud Backup")).expect("listed").malformed = true;
    let update = compare(&beliefs, &mut Pending::default(), &malformed, &watch, at(900));
    assert_eq!(update.outages, []);
}
