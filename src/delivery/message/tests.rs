//! Checks the composed messages word for word.

use super::*;
use crate::model::{ChangeKind, Edition, EventKind, FeedId, LastBackup, OverBy};

const BACKUP: &str = "iCloud Backup";

fn at(text: &str) -> Timestamp {
    format!("2026-05-05T{text}:00Z").parse().expect("a time")
}

fn change(kind: ChangeKind, service: &str) -> Change {
    Change {
        at: at("09:41"),
        seen_at: at("09:40"),
        kind,
        feed: FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() },
        service: service.to_owned(),
        message_id: Some("1001".to_owned()),
        occurrence: Some(1),
        serial: 1,
        outage_kind: Some(EventKind::Outage),
        was_kind: None,
        began_at: Some(at("08:15")),
        ended_at: None,
        users_affected: Some("Some users are affected".to_owned()),
        message: "Users cannot back up.".to_owned(),
        near: Vec::new(),
        phone: None,
    }
}

fn ended(service: &str) -> Change {
    Change { ended_at: Some(at("10:04")), ..change(ChangeKind::Ended, service) }
}

fn full(changes: &[Change]) -> Message {
    composed(changes, &Context::default())
}

fn composed(changes: &[Change], context: &Context) -> Message {
    let ctx = RenderContext { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    compose(changes, context, &ctx)
}

#[track_caller]
fn check(changes: &[Change], title: &str, body: &str) {
    let message = full(changes);
    assert_eq!(message.title, title);
    assert_eq!(message.body, body);
}

#[test]
fn a_start_and_an_end() {
    check(
        &[change(ChangeKind::Began, "iCloud Backup")],
        "Outage: iCloud Backup",
        "Apple reports an outage since 08:15. Some users are affected. Apple writes: “Users cannot back up.” Seen at \
         09:40, confirmed at 09:41.\nWait: your iPhone backs up by itself once Apple has fixed it. Do not reset or \
         erase it.",
    );
    check(
        &[ended("iCloud Backup")],
        "Fixed: iCloud Backup",
        "Apple says it is fixed. From 08:15 to 10:04 (1 h 49 min). Seen at 09:40, confirmed at 09:41.\nTo back up \
         now: Settings, your name, iCloud, iCloud Backup, Back Up Now.",
    );
}

#[test]
fn a_pending_start_and_end_become_one_piece_of_news() {
    check(
        &[
            change(ChangeKind::Began, "iCloud Backup"),
            change(ChangeKind::Worsened, "iCloud Backup"),
            ended("iCloud Backup"),
        ],
        "Was down: iCloud Backup",
        "From 08:15 to 10:04 (1 h 49 min). First listed at 09:40. Some users are affected. Apple writes: “Users \
         cannot back up.”\nCheck the date of your last backup: Settings, your name, iCloud, iCloud Backup.",
    );
}

/// Phones and desktops show about twenty characters.
#[test]
fn the_deciding_word_comes_first() {
    let title = |kind, outage_kind: Option<EventKind>| {
        let change = Change { outage_kind, ..change(kind, "iCloud Backup") };
        full(std::slice::from_ref(&change)).title
    };
    let other = EventKind::Other("Degraded".to_owned());
    for (kind, outage_kind, expected) in [
        (ChangeKind::Began, EventKind::Outage, "Outage: iCloud Backup"),
        (ChangeKind::Began, EventKind::Issue, "Issue: iCloud Backup"),
        (ChangeKind::Began, EventKind::Performance, "Slow: iCloud Backup"),
        (ChangeKind::Began, other.clone(), "Problem: iCloud Backup"),
        (ChangeKind::Ended, EventKind::Outage, "Fixed: iCloud Backup"),
        (ChangeKind::Worsened, EventKind::Outage, "Worse: iCloud Backup"),
        (ChangeKind::Eased, EventKind::Issue, "Better: iCloud Backup"),
    ] {
        assert_eq!(title(kind, Some(outage_kind)), expected);
        assert!(expected.chars().count() <= 22, "{expected}");
    }
    for (kind, outage_kind, expected) in [
        (ChangeKind::Reopened, EventKind::Outage, "Outage again"),
        (ChangeKind::Reminder, EventKind::Outage, "Still down"),
        (ChangeKind::Reminder, other, "Still a problem"),
        (ChangeKind::Missed, EventKind::Performance, "Was slow"),
        (ChangeKind::Withdrawn, EventKind::Outage, "Possibly over"),
        (ChangeKind::Planned, EventKind::Maintenance, "Maintenance planned"),
        (ChangeKind::Started, EventKind::Maintenance, "Maintenance started"),
        (ChangeKind::Over, EventKind::Maintenance, "Maintenance over"),
        (ChangeKind::Unlisted, EventKind::Outage, "Not listed"),
        (ChangeKind::ListedAgain, EventKind::Outage, "Now listed"),
    ] {
        assert_eq!(title(kind, Some(outage_kind)), format!("{expected}: iCloud Backup"));
    }
    // A title ends with the service.
    for kind in ChangeKind::ALL {
        let title = title(kind, None);
        let place = title.find("iCloud Backup").map(|place| place + "iCloud Backup".len());
        assert!(place.is_none_or(|end| end == title.len()), "{title}");
    }
}

#[test]
fn ten_services_in_one_incident_are_one_message() {
    let names = ["iCloud Backup", "Photos", "iCloud Drive", "iCloud Mail"];
    let changes: Vec<Change> = names.iter().map(|name| change(ChangeKind::Began, name)).collect();
    let message = full(&changes);
    assert_eq!(message.title, "Outage: iCloud Backup, Photos and 2 more");
    assert!(
        message.body.contains("\nServices: iCloud Backup, Photos, iCloud Drive, iCloud Mail.\n"),
        "{}",
        message.body
    );
    assert_eq!(message.severity, Severity::Alert);
}

/// In an earlier version the text of the first service was used for all.
#[test]
fn services_with_different_texts_are_separate_news() {
    let about = |service: &str, message: &str, users: &str| Change {
        message: message.to_owned(),
        users_affected: Some(users.to_owned()),
        message_id: Some(service.to_owned()),
        ..change(ChangeKind::Began, service)
    };
    let backup = about(BACKUP, "Users cannot back up.", "Some users are affected");
    let photos = about("Photos", "Photos are not uploaded.", "Some users are affected");
    let mail = about("Mail", "Users cannot back up.", "All users are affected");
    let message = full(&[backup, photos, mail]);
    assert_eq!(message.title, "Outage: iCloud Backup, Photos and 1 more");
    for words in ["Users cannot back up.", "Photos are not uploaded.", "All users are affected"] {
        assert!(message.body.contains(words), "{}", message.body);
    }
    // The text of an outage that is over is not shown, so it does not separate services.
    let over = |service: &str, message: &str| Change { message: message.to_owned(), ..ended(service) };
    assert_eq!(full(&[over(BACKUP, "One."), over("Photos", "Two.")]).body.matches("Fixed").count(), 0);
}

#[test]
fn an_incident_with_a_backup_gets_its_advice() {
    let body = full(&[ended("iCloud Account & Sign In"), ended("iCloud Backup")]).body;
    assert!(body.ends_with("Back Up Now."), "{body}");
}

fn other(change: Change, message_id: &str, began: &str) -> Change {
    Change { message_id: Some(message_id.to_owned()), began_at: Some(at(began)), ..change }
}

#[test]
fn each_piece_of_news_has_its_own_headline_and_advice() {
    let photos = other(change(ChangeKind::Began, "Photos"), "1002", "08:20");
    let photos = Change { outage_kind: Some(EventKind::Issue), ..photos };
    check(
        &[photos, change(ChangeKind::Began, "iCloud Backup")],
        "Outage: iCloud Backup and 1 more",
        "• Outage: iCloud Backup. Apple reports an outage since 08:15. Some users are affected. Apple writes: “Users \
         cannot back up.” Seen at 09:40, confirmed at 09:41.\n\
         Wait: your iPhone backs up by itself once Apple has fixed it. Do not reset or erase it.\n\
         • Issue: Photos. Apple reports an issue since 08:20. Some users are affected. Apple writes: “Users cannot \
         back up.” Seen at 09:40, confirmed at 09:41.\n\
         There is nothing to do but wait.",
    );
}

#[test]
fn news_of_one_kind_shares_title_and_advice() {
    let photos = other(change(ChangeKind::Began, "Photos"), "1002", "08:20");
    let mail = other(change(ChangeKind::Began, "iCloud Mail"), "1003", "08:30");
    let message = full(&[photos, mail]);
    assert_eq!(message.title, "Outage: Photos and iCloud Mail");
    let lines: Vec<&str> = message.body.lines().collect();
    let [first, second, advice] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(first.starts_with("• Outage: Photos. Apple reports an outage since 08:20."), "{first}");
    assert!(second.starts_with("• Outage: iCloud Mail. Apple reports an outage since 08:30."), "{second}");
    assert_eq!(*advice, "There is nothing to do but wait.");
}

#[test]
fn a_long_message_begins_with_the_advice() {
    let began = |number: u32| {
        let service = format!("Service {number}");
        other(change(ChangeKind::Began, &service), &number.to_string(), &format!("08:{number}"))
    };
    let mut changes: Vec<Change> = (20..40).map(began).collect();
    let message = full(&changes);
    assert_eq!(message.title, "Outage: Service 20, Service 21 and 18 more");
    assert!(
        message.body.starts_with("There is nothing to do but wait.\n• Outage: Service 20. Since 08:20.\n"),
        "{}",
        message.body
    );
    // A backup comes first, with its own advice.
    changes.push(change(ChangeKind::Began, "iCloud Backup"));
    let message = composed(&changes, &Context { more: 4_300, ..Context::default() });
    assert_eq!(message.title, "Outage: iCloud Backup and 4,320 more");
    let lines: Vec<&str> = message.body.lines().collect();
    assert!(lines[0].starts_with("• Outage: iCloud Backup. Since 08:15. Wait: your iPhone"), "{}", lines[0]);
    assert_eq!(lines[1], "• Outage: Service 20. Since 08:20.");
    assert_eq!(lines.last(), Some(&"• And 4,300 more; see `statusd history`."));
}

#[test]
fn each_line_of_a_long_message_has_times() {
    let missed = |number: u32| {
        let service = format!("Service {number}");
        let change = Change { ended_at: Some(at("09:00")), ..change(ChangeKind::Missed, &service) };
        other(change, &number.to_string(), &format!("08:{number}"))
    };
    let body = full(&(20..40).map(missed).collect::<Vec<_>>()).body;
    assert!(body.starts_with("• Was down: Service 20. From 08:20 to 09:00 (40 min).\n"), "{body}");
}

#[test]
fn a_bubble_counts_news_that_it_does_not_name() {
    let began = change(ChangeKind::Began, "iCloud Backup");
    let context = Context { form: Form::Compact, more: 1_999, ..Context::default() };
    assert_eq!(composed(&[began], &context).title, "Outage: iCloud Backup and 1,999 more");
}

fn compact(changes: &[Change], others: &[Outage]) -> Message {
    composed(changes, &Context { form: Form::Compact, others: others.to_vec(), ..Context::default() })
}

fn outage(service: &str, phase: Phase, end: Option<&str>) -> Outage {
    Outage {
        service: service.to_owned(),
        message_id: "1001".to_owned(),
        occurrence: 1,
        kind: EventKind::Outage,
        phase,
        start: Some(at("08:15")),
        end: end.map(at),
        first_seen: at("09:40"),
        users_affected: None,
        message: String::new(),
        counts: std::collections::BTreeMap::new(),
    }
}

#[test]
fn a_bubble_shows_the_advice_before_apples_text_and_shortens_the_text() {
    let text = "Users may be unable to back up. ".repeat(20);
    let began = Change { message: text, ..change(ChangeKind::Began, "iCloud Backup") };
    let message = compact(&[began], &[]);
    assert_eq!(message.title, "Outage: iCloud Backup");
    let lines: Vec<&str> = message.body.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "Apple reports an outage since 08:15. Some users are affected.",
            "Wait: your iPhone backs up by itself once Apple has fixed it. Do not reset or erase it."
        ]
    );
    let quoted = lines[2].strip_prefix("Apple writes: “").and_then(|rest| rest.strip_suffix("…”"));
    let quoted = quoted.expect("Apple's words, cut");
    assert!((120..160).contains(&quoted.chars().count()) && quoted.ends_with("back up."), "{quoted}");
    assert_eq!(lines.len(), 3);
    assert!(!message.body.contains("Seen") && !message.body.contains("onfirmed"), "{}", message.body);
}

/// The README shows bubbles in boxes of line characters.
#[test]
fn the_readme_shows_real_bubbles() {
    let began =
        Change { message: "Users may be unable to back up.".to_owned(), ..change(ChangeKind::Began, BACKUP) };
    let missed = Change {
        seen_at: at("05:30"),
        began_at: Some(at("02:10")),
        ended_at: Some(at("04:00")),
        message: String::new(),
        ..change(ChangeKind::Missed, BACKUP)
    };
    let shown = include_str!("../../../README.md");
    let shown: String = shown.lines().filter_map(|line| line.strip_prefix('│')).collect();
    let shown: Vec<&str> = shown.split(['│', ' ']).filter(|word| !word.is_empty()).collect();
    let bubbles = [began, ended(BACKUP), missed].map(|change| compact(&[change], &[]));
    let expected: String =
        bubbles.iter().map(|message| format!("{} {} ", message.title, message.body)).collect();
    assert_eq!(shown.join(" "), expected.split_whitespace().collect::<Vec<_>>().join(" "));
}

#[test]
fn a_bubble_stays_an_alarm_while_an_outage_in_it_is_ongoing() {
    let ongoing = outage("Photos", Phase::Ongoing(None), None);
    let over = outage("iCloud Mail", Phase::Over(OverBy::Apple), Some("09:50"));
    let gone = outage("Siri", Phase::Over(OverBy::Withdrawal), Some("09:55"));
    let end = [ended("iCloud Backup")];
    let message = compact(&end, &[ongoing, over.clone(), gone]);
    assert_eq!((message.title.as_str(), message.severity), ("Fixed: iCloud Backup", Severity::Alert));
    assert_eq!(
        message.body,
        "Apple says it is fixed. From 08:15 to 10:04 (1 h 49 min).\n\
         To back up now: Settings, your name, iCloud, iCloud Backup, Back Up Now.\n\
         Still down: Photos since 08:15.\n\
         Already fixed: iCloud Mail at 09:50.\n\
         No longer listed: Siri."
    );
    assert_eq!(compact(&end, &[over]).severity, Severity::Resolved);
    // An outage is ongoing after it eased and at a reminder.
    for kind in [ChangeKind::Eased, ChangeKind::Reminder, ChangeKind::Worsened] {
        assert_eq!(compact(&[change(kind, "iCloud Backup")], &[]).severity, Severity::Alert, "{kind:?}");
    }
    // The outage of the message itself is not listed again.
    let same = outage("iCloud Backup", Phase::Over(OverBy::Apple), Some("10:04"));
    assert!(!compact(&end, &[same]).body.contains("Already"));
}

#[test]
fn a_bubble_with_different_news_has_a_line_for_each() {
    let worse = other(change(ChangeKind::Worsened, "Photos"), "1001", "08:20");
    let message = compact(&[ended("iCloud Backup"), worse], &[]);
    assert_eq!((message.title.as_str(), message.severity), ("Worse: Photos", Severity::Alert));
    assert_eq!(
        message.body,
        "Apple now reports an outage. It began at 08:20. Some users are affected.\n\
         There is nothing to do but wait.\n\
         Apple writes: “Users cannot back up.”\n\
         • Fixed: iCloud Backup. From 08:15 to 10:04 (1 h 49 min). To back up now: Settings, your name, iCloud, \
         iCloud Backup, Back Up Now."
    );
}

/// Checks the sentence about a phone that was read at `read_at` and whose last backup was at `backup`.
#[track_caller]
fn check_backup(kind: ChangeKind, ended: Option<&str>, backup: &str, read_at: &str, expected: &str) {
    let ctx = RenderContext { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    let phone = Some(LastBackup { at: backup.parse().expect("a time"), read_at: at(read_at), phones: 1 });
    let change = Change { ended_at: ended.map(at), phone, ..change(kind, "iCloud Backup") };
    let (body, line) = (full(std::slice::from_ref(&change)).body, line(&change, &ctx));
    let sentence = format!(" Your iPhone's last backup{expected}.");
    assert!(body.lines().next().expect("details").ends_with(&sentence), "{body}");
    assert!(line.ends_with(&sentence), "{line}");
}

#[test]
fn a_message_about_an_outage_names_the_last_backup() {
    use ChangeKind::{Began, Ended, Missed, Reopened, Withdrawn};
    let night = "2026-05-04T23:15:00Z";
    check_backup(Began, None, night, "09:30", ": 9 h before it began (Mon 4 May 23:15)");
    check_backup(Reopened, None, "2026-05-05T09:00:00Z", "09:30", ": 45 min after it began (09:00)");
    check_backup(Ended, Some("10:04"), night, "09:30", ": 9 h before it began (Mon 4 May 23:15)");
    check_backup(Ended, Some("10:04"), "2026-05-05T09:00:00Z", "09:30", ": while it lasted (09:00)");
    check_backup(Missed, Some("09:00"), "2026-05-05T10:00:00Z", "10:00", ": 1 h after it ended (10:00)");
    check_backup(
        Missed,
        Some("09:00"),
        "2026-05-05T09:00:00Z",
        "10:00",
        ": under a minute after it ended (09:00)",
    );
    check_backup(Withdrawn, None, night, "09:30", ": 9 h before it began (Mon 4 May 23:15)");
    check_backup(Began, None, night, "08:10", ": 9 h before it began (Mon 4 May 23:15)");
    check_backup(Began, None, night, "08:09", ", as of 08:09: 9 h before it began (Mon 4 May 23:15)");
}

#[test]
fn of_several_phones_the_oldest_backup_is_named_once() {
    let phone = Some(LastBackup { at: at("03:00"), read_at: at("10:00"), phones: 3 });
    let backup = Change { phone, ..change(ChangeKind::Began, "iCloud Backup") };
    let worse = Change { phone: None, ..change(ChangeKind::Worsened, "iCloud Backup") };
    let body = full(&[change(ChangeKind::Began, "Photos"), backup, worse]).body;
    let sentence = "The oldest of your 3 iPhones' last backups: 5 h 15 min before it began (03:00).";
    assert_eq!(body.matches(sentence).count(), 1, "{body}");
    assert!(!body.contains("Your iPhone"), "{body}");
}

#[test]
fn a_change_without_a_phone_does_not_mention_one() {
    let ctx = RenderContext { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    for kind in ChangeKind::ALL.into_iter().filter(|kind| !kind.is_about_a_phone()) {
        let text = line(&change(kind, "iCloud Backup"), &ctx);
        assert!(!text.contains("iPhone"), "{kind:?}: {text}");
    }
}

#[test]
fn a_late_backup() {
    let last = Some("2026-05-01T23:15:00Z".parse().expect("a time"));
    let late = Change {
        at: at("10:05"),
        began_at: last,
        ..Change::bare(ChangeKind::BackupLate, ended("").feed, at("10:05"), at("10:05"))
    };
    let advice = "Tonight, leave it locked, plugged in and on Wi-Fi. To back up now: Settings, your name, iCloud, iCloud \
                  Backup, Back Up Now. To find the cause, run `statusd doctor`.";
    let title = "No backup for 3 days: your iPhone";
    let fresh = format!("Last backup: Fri 1 May 23:15. Apple reports no outage.\n{advice}");
    check(std::slice::from_ref(&late), title, &fresh);
    // Both were held back.
    let early = Change { at: at("09:59"), seen_at: at("09:59"), serial: 2, ..late.clone() };
    let old = format!("Last backup: Fri 1 May 23:15. Apple reported no outage at 09:59.\n{advice}");
    check(&[late, early], title, &old);
    let off = Change::bare(ChangeKind::BackupOff, ended("").feed, at("10:05"), at("10:05"));
    let advice = "To switch it on: Settings, your name, iCloud, iCloud Backup. If you back up to a computer instead, \
                  there is nothing to do.";
    let title = "Backups off: your iPhone";
    check(
        std::slice::from_ref(&off),
        title,
        &format!("iCloud Backup is switched off on your iPhone (seen at 10:05).\n{advice}"),
    );
    let dated = Change { began_at: last, ..off };
    let off = "iCloud Backup is switched off on your iPhone. Last backup: Fri 1 May 23:15.";
    check(&[dated], title, &format!("{off}\n{advice}"));
}

fn maintenance(kind: ChangeKind, from: &str, to: Option<&str>) -> Change {
    Change {
        outage_kind: Some(EventKind::Maintenance),
        began_at: Some(at(from)),
        ended_at: to.map(at),
        message: String::new(),
        users_affected: None,
        ..change(kind, "iCloud Backup")
    }
}

#[track_caller]
fn check_words(change: &Change, expected: &str) {
    let ctx = RenderContext { now: at("10:10"), zone: &TimeZone::UTC, is_drill: false };
    assert_eq!(line(change, &ctx), expected);
}

#[test]
fn a_moved_or_cancelled_plan_has_its_times() {
    check_words(
        &maintenance(ChangeKind::Moved, "20:00", Some("23:30")),
        "Maintenance moved: iCloud Backup. Now from 20:00 to 23:30 (3 h 30 min).",
    );
    check_words(
        &maintenance(ChangeKind::Cancelled, "20:00", Some("23:30")),
        "Maintenance cancelled: iCloud Backup. It was planned from 20:00 to 23:30 (3 h 30 min). Apple \
         dropped it at 09:40.",
    );
    // Both were held back, so the former times were never announced.
    let waited = [
        maintenance(ChangeKind::Planned, "18:00", Some("19:00")),
        maintenance(ChangeKind::Moved, "20:00", Some("23:30")),
    ];
    let message = full(&waited);
    assert_eq!(message.title, "Maintenance planned: iCloud Backup");
    assert_eq!(message.body, "From 20:00 to 23:30 (3 h 30 min).");
}

#[test]
fn maintenance_is_called_maintenance() {
    check_words(
        &maintenance(ChangeKind::Withdrawn, "08:15", None),
        "Possibly over: iCloud Backup. Apple no longer lists the maintenance and does not say whether it is over. It \
         began at 08:15. Not listed since 09:40.",
    );
    let corrected = maintenance(ChangeKind::Corrected, "08:15", Some("09:00"));
    check_words(&corrected, "Maintenance over after all: iCloud Backup. From 08:15 to 09:00 (45 min).");
}

#[test]
fn times_do_not_claim_more_than_apple_gives() {
    let bare = |kind, began: &str, ended: Option<&str>| Change {
        began_at: Some(at(began)),
        ended_at: ended.map(at),
        users_affected: None,
        message: String::new(),
        ..change(kind, "Photos")
    };
    // Over without an end, and with an end before the start.
    check_words(
        &bare(ChangeKind::Missed, "08:15", None),
        "Was down: Photos. From 08:15; Apple gives no end time. First seen at 09:40, after it had ended.",
    );
    check_words(
        &bare(ChangeKind::Ended, "08:15", None),
        "Fixed: Photos. Apple says it is fixed. From 08:15; Apple gives no end time. Seen at 09:40, confirmed at 09:41.",
    );
    check_words(
        &bare(ChangeKind::Ended, "08:15", Some("07:00")),
        "Fixed: Photos. Apple says it is fixed. From 08:15; Apple gives an end before the start. Seen at 09:40, \
         confirmed at 09:41.",
    );
    // A start in the future.
    check_words(
        &bare(ChangeKind::Began, "15:00", None),
        "Outage: Photos. Apple reports an outage. Apple gives 15:00 as the start time. Seen at 09:40, confirmed at 09:41.",
    );
    check_words(
        &bare(ChangeKind::Reminder, "15:00", None),
        "Still down: Photos. Apple gives 15:00 as the start time.",
    );
}

#[test]
fn a_plan_among_other_news_does_not_read_as_ongoing() {
    let mut changes: Vec<Change> = ["a", "b", "c", "d", "e"].map(ended).to_vec();
    for (index, change) in changes.iter_mut().enumerate() {
        change.message_id = Some(index.to_string());
        change.began_at = Some(at(&format!("0{index}:00")));
    }
    changes.push(maintenance(ChangeKind::Planned, "20:00", Some("23:30")));
    let body = full(&changes).body;
    assert!(body.contains("Maintenance planned: iCloud Backup. From 20:00 to 23:30 (3 h 30 min)."), "{body}");
}
