//! Renders pages of hand-made states.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::outage::OutageRecord;
use super::{embed, error, helpdesk, history, maintenance, outage, overview, services, tv};
use crate::model::{
    Beliefs, Change, ChangeKind, Edition, EventKind, Fault, FeedHealth, FeedId, Listed, Outage, OverBy,
    Phase, Service, ServiceKey,
};
use crate::report::outage::state;
use crate::status_socket::DaemonStatus;
use crate::store::{
    Announced, HistoryPage, KindDelivery, PostedOutage, Span, StoredChange, StoredOutage, Totals,
};
use crate::tracking::watchlist::Watchlist;
use crate::web::current::Current;
use crate::web::problem::Problem;

const NOW: &str = "2026-05-05T10:20:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn feed() -> FeedId {
    FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() }
}

/// An outage from Apple's start to Apple's end, which statusd saw 91 minutes after the start.
fn event(service: &str, kind: EventKind, start: &str, end: Option<&str>) -> PostedOutage {
    let first_seen = at(start) + SignedDuration::from_mins(91);
    let outage = Outage {
        service: service.to_owned(),
        message_id: "1002938".to_owned(),
        occurrence: 1,
        kind,
        phase: if end.is_some() { Phase::Over(OverBy::Apple) } else { Phase::Ongoing(None) },
        start: Some(at(start)),
        end: end.map(at),
        first_seen,
        users_affected: Some("Some users are affected".to_owned()),
        message: "Users may be unable to back up.".to_owned(),
        counts: BTreeMap::new(),
    };
    let over_seen_at = end.map(|end| at(end) + SignedDuration::from_mins(5));
    let stored = StoredOutage { feed: feed(), outage, was_polling: true, announced: Announced::Never };
    PostedOutage { stored, over_seen_at }
}

fn down(service: &str) -> PostedOutage {
    event(service, EventKind::Outage, "2026-05-05T06:15:00Z", None)
}

/// The state at 12:20 in Berlin, two minutes after a poll. All services are watched.
fn current(names: &[&str], events: Vec<PostedOutage>) -> Current {
    let mut beliefs = Beliefs::new(feed());
    beliefs.state.health = FeedHealth::Readable { since: at("2026-02-20T00:00:00Z") };
    for name in names {
        let first_seen = at("2026-02-20T00:00:00Z");
        let service = Service { name: (*name).to_owned(), first_seen, listed: Listed::Yes };
        beliefs.services.insert(ServiceKey::new(name), service);
    }
    for posted in &events {
        let outage = &posted.stored.outage;
        let key = (ServiceKey::new(&outage.service), outage.message_id.clone());
        if !outage.is_over() {
            beliefs.outages.insert(key, outage.clone());
        }
    }
    let polled_at = at("2026-05-05T10:18:00Z");
    let status = DaemonStatus {
        polled_at: Some(polled_at),
        last_good_poll_at: Some(polled_at),
        next_poll_at: Some(at("2026-05-05T10:23:00Z")),
        ..DaemonStatus::starting(at("2026-05-01T00:00:00Z"))
    };
    Current {
        now: at(NOW),
        zone: TimeZone::get("Europe/Berlin").expect("a zone"),
        status,
        watch: Watchlist::new(names),
        beliefs,
        spans: vec![Span { from: at("2026-02-20T00:00:00Z"), to: polled_at, unreadable: None }],
        outages: events,
        totals: Totals::default(),
    }
}

fn sentence(current: &Current) -> String {
    current.plain(&current.verdict(&current.services()).sentence)
}

#[track_caller]
fn check_sentence(current: &Current, expected: &str) {
    assert_eq!(sentence(current), expected);
}

fn rendered(page: impl Template) -> String {
    page.render().expect("a page")
}

/// Returns the text of a page without its tags.
fn text(page: &str) -> String {
    let main = page.split("<main").nth(1).unwrap_or(page);
    let mut text = String::new();
    let mut is_tag = true;
    for (at, c) in main.char_indices() {
        match c {
            '<' => {
                is_tag = true;
                let ends = ["</td", "</th", "</dt", "</dd", "<span", "</title", "</li", "</p"];
                if ends.iter().any(|end| main[at..].starts_with(end)) {
                    text.push(' ');
                }
            }
            '>' => is_tag = false,
            c if !is_tag => text.push(c),
            _ => {}
        }
    }
    text.replace("&#39;", "'").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_verdict_is_one_sentence() {
    check_sentence(&current(&["iCloud Backup"], vec![]), "Apple lists no problem with iCloud Backup.");
    check_sentence(&current(&["A", "B"], vec![]), "Apple lists no problem with A and B.");
    check_sentence(
        &current(&["A", "B", "C", "D"], vec![]),
        "Apple lists no problem with the 4 watched services.",
    );
    let backup = down("iCloud Backup");
    check_sentence(
        &current(&["iCloud Backup"], vec![backup.clone()]),
        "Since 08:15 iCloud Backup has an outage.",
    );
    let slow = event("Mail", EventKind::Performance, "2026-05-04T06:15:00Z", None);
    check_sentence(
        &current(&["iCloud Backup", "Mail", "Photos"], vec![slow.clone(), backup, down("Photos")]),
        "Since 08:15 iCloud Backup and Photos have an outage; since Mon 4 May 08:15 Mail has slow performance.",
    );
    let work = event("Mail", EventKind::Maintenance, "2026-05-05T06:15:00Z", None);
    check_sentence(&current(&["Mail"], vec![work]), "Since 08:15 Mail is in maintenance.");
    let many: Vec<PostedOutage> = ["A", "B", "C", "D", "E"].map(down).to_vec();
    check_sentence(
        &current(&["A", "B", "C", "D", "E"], many),
        "Since 08:15 A, B, C and 2 more have an outage.",
    );
    let ahead = event("A", EventKind::Outage, "2026-05-05T11:00:00Z", None);
    check_sentence(&current(&["A"], vec![ahead]), "A has an outage.");
}

#[test]
fn the_advice_is_for_backups_if_they_are_affected() {
    let advice = |current: &Current| current.verdict(&current.services()).advice;
    let backup = current(&["Mail", "iCloud Backup"], vec![down("Mail"), down("iCloud Backup")]);
    assert!(advice(&backup).starts_with("Wait: your iPhone backs up by itself"), "{}", advice(&backup));
    assert_eq!(advice(&current(&["Mail"], vec![down("Mail")])), "There is nothing to do but wait.");
    assert_eq!(advice(&current(&["Mail"], vec![])), "");
}

#[test]
fn an_old_poll_cannot_tell() {
    let mut old = current(&["iCloud Backup"], vec![down("iCloud Backup")]);
    old.status.last_good_poll_at = Some(at("2026-05-05T10:05:00Z"));
    assert!(old.blind().is_none(), "15 minutes are not too old");
    old.status.last_good_poll_at = Some(at("2026-05-05T10:04:59Z"));
    check_sentence(&old, "Cannot tell: statusd last read Apple's list at 12:04.");
    for page in [
        rendered(overview::page(&old)),
        rendered(tv::page(&old)),
        rendered(services::page(&old)),
        rendered(helpdesk::page(&old)),
        rendered(maintenance::page(&old)),
        rendered(embed::page("icloud-backup", &old).expect("a service")),
    ] {
        let text = text(&page);
        assert!(!text.contains("Apple lists no problem") && !text.contains("outage since"), "{text}");
        let words = ["Cannot tell", "cannot tell", "may be outdated"];
        assert!(words.iter().any(|words| text.contains(words)), "{text}");
    }
}

#[test]
fn an_unreadable_or_unlisted_service_cannot_tell() {
    let mut unreadable = current(&["iCloud Backup"], vec![]);
    let since = at("2026-05-05T10:18:00Z");
    for (fault, words) in
        [(Fault::Apple, "Apple's list is unreadable"), (Fault::Ours, "statusd cannot reach Apple's list")]
    {
        let reason = "https://user:secret@proxy".to_owned();
        unreadable.beliefs.state.health = FeedHealth::Unreadable { since, fault, reason, told: false };
        check_sentence(&unreadable, &format!("Cannot tell: {words}."));
        assert!(!rendered(overview::page(&unreadable)).contains("secret"));
    }
    let mut unlisted = current(&["iCloud Backup"], vec![]);
    let key = ServiceKey::new("iCloud Backup");
    let service = unlisted.beliefs.services.get_mut(&key).expect("a service");
    service.listed = Listed::No { since };
    check_sentence(&unlisted, "Cannot tell: Apple does not list iCloud Backup.");
    let service = unlisted.beliefs.services.get_mut(&key).expect("a service");
    service.listed = Listed::Never { since };
    check_sentence(&unlisted, "Cannot tell: Apple does not list iCloud Backup.");
    let mut starting = current(&["iCloud Backup"], vec![]);
    (starting.status.last_good_poll_at, starting.spans) = (None, vec![]);
    check_sentence(&starting, "Cannot tell: statusd has not read Apple's list yet.");
    check_sentence(&current(&[], vec![]), "Cannot tell: Apple lists none of the watched services.");
}

#[test]
fn no_problem_comes_with_the_honest_limit() {
    let limit = "in about one hour out of 400, iCloud Backup is down but Apple lists nothing";
    let fine = current(&["iCloud Backup"], vec![]);
    for page in [rendered(overview::page(&fine)), rendered(tv::page(&fine)), rendered(helpdesk::page(&fine))]
    {
        assert!(text(&page).contains(limit), "{page}");
    }
    let troubled = current(&["iCloud Backup"], vec![down("iCloud Backup")]);
    assert!(!text(&rendered(overview::page(&troubled))).contains(limit));
}

#[test]
fn the_overview_has_bar_table_and_both_uptimes() {
    let past =
        event("iCloud Backup", EventKind::Outage, "2026-05-01T06:00:00Z", Some("2026-05-01T10:00:00Z"));
    let current = current(&["iCloud Backup"], vec![past]);
    let page = rendered(overview::page(&current));
    let text = text(&page);
    for expected in [
        "Uptime, Apple's times 99.77 %",
        "Uptime, as posted 99.85 %",
        "Last problem Fri 1 May 08:00 4 h",
        "1 May outage 1 problem, 4 h",
        "5 Feb to 19 Feb not polling 15 days not polled",
        "2 May to 5 May none listed",
        "Last successful poll 12:18 · next poll 12:23",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let label = "Last 90 days, each by its worst state. none listed: 74, outage: 1, not polling: 15.";
    assert!(page.contains(&format!("role=\"img\" aria-label=\"{label}\"")), "{page}");
    assert!(page.len() < 50_000, "{}", page.len());
}

#[test]
fn the_hours_without_polls_are_stated_and_grey() {
    let mut current = current(&["iCloud Backup"], vec![]);
    current.spans = vec![
        Span { from: at("2026-02-20T00:00:00Z"), to: at("2026-05-01T04:00:00Z"), unreadable: None },
        Span { from: at("2026-05-01T16:00:00Z"), to: at("2026-05-05T10:18:00Z"), unreadable: None },
    ];
    let page = rendered(overview::page(&current));
    assert!(text(&page).contains("12 h not polled"), "{page}");
    // Half of 1 May is grey, above the polled half.
    let (grey, green) = (
        r#"<rect x="680" y="6" width="8" height="9" fill="url(#bar-gap)">"#,
        r#"<rect x="680" y="15" width="8" height="9" fill="url(#bar-fine)">"#,
    );
    assert!(page.contains(grey) && page.contains(green), "{page}");
}

/// Began and ended with announcements, of which one is pending.
fn record(service: &str, message: &str) -> OutageRecord {
    let end = "2026-05-05T10:04:00Z";
    let stored = event(service, EventKind::Outage, "2026-05-05T06:15:00Z", Some(end)).stored;
    let outage = &stored.outage;
    let change = |id, kind, seen: &str, confirmed: &str| StoredChange {
        id,
        change: Change {
            service: service.to_owned(),
            message_id: Some(outage.message_id.clone()),
            occurrence: Some(1),
            outage_kind: Some(EventKind::Outage),
            was_kind: Some(EventKind::Issue),
            began_at: outage.start,
            ended_at: Some(at(end)).filter(|_| kind == ChangeKind::Ended),
            message: message.to_owned(),
            ..Change::bare(kind, feed(), at(seen), at(confirmed))
        },
    };
    let sent = |change_id, kind: &str, sent_at: Option<&str>| KindDelivery {
        change_id,
        kind: kind.to_owned(),
        sent_at: sent_at.map(at),
        pending: u32::from(sent_at.is_none()),
        given_up: 0,
    };
    let changes = vec![
        change(7, ChangeKind::Began, "2026-05-05T07:46:00Z", "2026-05-05T07:47:00Z"),
        change(8, ChangeKind::Worsened, "2026-05-05T08:30:00Z", "2026-05-05T08:30:00Z"),
        change(9, ChangeKind::Ended, "2026-05-05T10:10:00Z", "2026-05-05T10:11:00Z"),
        change(10, ChangeKind::Reminder, "2026-05-05T09:00:00Z", "2026-05-05T09:00:00Z"),
    ];
    let deliveries = vec![
        sent(7, "email", Some("2026-05-05T07:49:00Z")),
        sent(9, "webhook", None),
        sent(9, "desktop", Some("2026-05-05T10:11:30Z")),
    ];
    let siblings = vec![(service.to_owned(), "consumer/en_US/photos/1002938/1".to_owned())];
    OutageRecord { stored, changes, deliveries, siblings }
}

#[test]
fn the_timeline_has_every_step_with_its_lateness() {
    let current = current(&["iCloud Backup"], vec![]);
    let record = record("iCloud Backup", "Users may be unable to back up.");
    assert_eq!(state(&record.stored.outage), "over");
    let text = text(&rendered(outage::page(&record, &current)));
    let timeline = text.split("Timeline ").nth(1).expect("a timeline");
    let expected = "08:15 Began, by Apple's clock \
        09:46 Posted by Apple, and seen 1 h 31 min after the start \
        09:47 Confirmed by a second poll 1 min after it was seen \
        09:49 Announced by e-mail 1 h 34 min after the start, 3 min after it was seen \
        10:30 Worse: from issue to outage \
        12:04 Ended, by Apple's clock 3 h 49 min after the start \
        12:10 End posted by Apple, and seen 6 min after the end \
        12:11 Confirmed by a second poll 1 min after it was seen \
        12:11 Not yet announced by webhook \
        12:11 Announced by desktop notification 1 min after it was seen \
        Also affected iCloud Backup";
    assert!(timeline.starts_with(expected), "{timeline}");
    assert!(text.contains("08:15 to 12:04 · 3 h 49 min · posted 1 h 31 min late"), "{text}");
}

#[test]
fn the_first_step_of_a_day_has_the_date() {
    let mut current = current(&["iCloud Backup"], vec![]);
    current.now = at("2026-05-07T10:00:00Z");
    let text = text(&rendered(outage::page(&record("iCloud Backup", ""), &current)));
    let timeline = text.split("Timeline ").nth(1).expect("a timeline");
    assert!(timeline.starts_with("Tue 5 May 08:15 Began, by Apple's clock 09:46 Posted"), "{timeline}");
    assert!(text.contains("Tue 5 May 08:15 to 12:04 · 3 h 49 min"), "{text}");
}

#[test]
fn a_post_while_statusd_was_off_is_only_an_upper_bound() {
    let current = current(&["iCloud Backup"], vec![]);
    let mut record = record("iCloud Backup", "");
    record.stored.was_polling = false;
    let text = text(&rendered(outage::page(&record, &current)));
    assert!(text.contains("3 h 49 min · posted by 09:46"), "{text}");
    assert!(text.contains("statusd was not polling before, so Apple may have posted it earlier."), "{text}");
}

#[test]
fn the_helpdesk_links_only_to_apple() {
    for events in [vec![], vec![down("iCloud Backup")]] {
        let current = current(&["iCloud Backup"], events);
        let page = rendered(helpdesk::page(&current));
        let hosts: Vec<&str> =
            page.split("https://").skip(1).filter_map(|rest| rest.split('/').next()).collect();
        assert!(hosts.len() >= 3 && hosts.iter().all(|host| *host == "www.apple.com"), "{hosts:?}");
        assert!(!page.contains("http://") && !page.contains("tel:"), "{page}");
    }
}

#[test]
fn the_text_to_copy_has_dates_and_zone() {
    let current = current(&["iCloud Backup"], vec![down("iCloud Backup")]);
    let page = rendered(helpdesk::page(&current));
    let tell = page.split("<textarea").nth(1).and_then(|rest| rest.split('>').nth(1)).expect("a text");
    assert!(
        tell.starts_with(
            "Apple reports a problem. Since 5 May 2026, 08:15 CEST iCloud Backup has an outage."
        )
    );
    assert!(tell.contains("As of 5 May 2026, 12:18 CEST. Apple"), "{tell}");
    assert!(text(&page).contains("more than a day older than 5 May 2026, 08:15 CEST"), "{page}");
}

#[test]
fn apples_words_have_their_language() {
    let mut current = current(&["iCloudバックアップ"], vec![down("iCloudバックアップ")]);
    assert!(!rendered(overview::page(&current)).contains("lang=\"en\" "));
    current.beliefs.feed.locale = "ja_JP".to_owned();
    let page = rendered(overview::page(&current));
    assert!(page.contains("<bdi lang=\"ja-JP\">iCloudバックアップ</bdi> has an outage"), "{page}");
    assert!(page.contains("<blockquote lang=\"ja-JP\" dir=\"auto\">"), "{page}");
    assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"));
}

/// Returns all pages that show Apple's words, with these words.
fn pages_with(name: &str, message: &str) -> Vec<String> {
    let with = |mut posted: PostedOutage| {
        let outage = &mut posted.stored.outage;
        (outage.message, outage.users_affected) = (message.to_owned(), Some(message.to_owned()));
        outage.message_id = format!("{}{}", outage.message_id, name.len());
        posted
    };
    let (start, end) = ("2026-05-01T06:00:00Z", "2026-05-01T10:00:00Z");
    let strange = EventKind::Other(message.to_owned());
    let work = with(event(name, EventKind::Maintenance, start, Some(end)));
    let events = vec![
        with(event(name, EventKind::Outage, start, Some(end))),
        work,
        with(event(name, strange, start, None)),
    ];
    let mut current = current(&[name], events.clone());
    let never =
        Service { name: name.to_owned(), first_seen: at(start), listed: Listed::Never { since: at(start) } };
    current.beliefs.services.insert(ServiceKey::new(&format!("{name} too")), never);
    let key = ServiceKey::new(name);
    let slug = key.slug('-', '_');
    let rows = HistoryPage { outages: events, has_newer: true, has_older: true };
    let query = history::HistoryQuery::default();
    vec![
        rendered(overview::page(&current)),
        rendered(tv::page(&current)),
        rendered(services::page(&current)),
        rendered(helpdesk::page(&current)),
        rendered(maintenance::page(&current)),
        rendered(embed::page(&slug, &current).expect("the service")),
        rendered(history::page(&query, &rows, &current)),
        rendered(outage::page(&record(name, message), &current)),
        rendered(error::page(&Problem::bad_request(message))),
    ]
}

/// Returns the tags of a page with the names of their attributes.
fn skeleton(page: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some(begin) = rest.find('<') {
        rest = &rest[begin + 1..];
        let (mut tag, mut is_quoted, mut end) = (String::new(), false, rest.len());
        for (at, c) in rest.char_indices() {
            match c {
                '"' => is_quoted = !is_quoted,
                '>' if !is_quoted => {
                    end = at;
                    break;
                }
                c if !is_quoted => tag.push(c),
                _ => {}
            }
        }
        rest = &rest[end..];
        tags.push(tag);
    }
    tags
}

#[test]
fn hostile_text_cannot_leave_its_element() {
    let benign = pages_with("Photos", "Users are affected.");
    let hostile = [
        "<script>alert(1)</script>",
        "\"'><img src=x onerror=alert(1)>",
        "</bdi></textarea></title></option><style>*{}</style>",
        "\u{202e}moc.elppa\u{202c} javascript:alert(1)",
        "{{ frame.version() }} {% raw %} &lt;b&gt; &#60;",
        "-->]]><svg/onload=alert(1)>",
        "a\u{0}b\u{1b}[31m\r\nSet-Cookie: x\u{2028}c",
    ];
    for text in hostile {
        for (page, benign) in pages_with(text, text).iter().zip(&benign) {
            assert_eq!(skeleton(page), skeleton(benign), "{text:?}");
            let controls =
                |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2028}');
            assert!(!page.contains(controls), "{text:?}: {page}");
        }
    }
}

#[test]
fn a_huge_text_does_not_make_a_huge_page() {
    let huge = "x\u{1d11e} ".repeat(25_000);
    // The parser limits names, which addresses contain.
    let name: String = huge.chars().take(200).collect();
    for page in pages_with(&name, &huge) {
        assert!(page.len() < 100_000, "{}", page.len());
    }
}

#[test]
fn pages_have_no_script_and_no_style_of_their_own() {
    let mut pages = pages_with("Photos", "Users are affected.");
    pages.push(rendered(error::page(&Problem::not_found("no such page"))));
    for (number, page) in pages.iter().enumerate() {
        let tags = skeleton(page);
        let names: BTreeSet<&str> = tags.iter().filter_map(|tag| tag.split([' ', '\n']).next()).collect();
        for forbidden in ["script", "style", "iframe", "object", "embed", "base", "img"] {
            assert!(!names.contains(forbidden), "{forbidden} in {page}");
        }
        assert!(tags.iter().all(|tag| !tag.contains(" style=") && !tag.contains(" on")), "{tags:?}");
        // Only the wall view reloads itself.
        assert_eq!(page.contains("http-equiv=\"refresh\""), number == 1, "{page}");
        let times = tags.iter().filter(|tag| tag.starts_with("time"));
        assert!(times.clone().all(|tag| *tag == "time datetime= title="), "{:?}", times.collect::<Vec<_>>());
        assert_eq!(page.matches("<h1").count(), 1, "{page}");
    }
}

#[test]
fn a_hundred_watched_services_are_still_a_page() {
    let names: Vec<String> = (0..100).map(|number| format!("Service {number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let page = rendered(overview::page(&current(&names, vec![])));
    assert!(page.len() < 300_000, "{}", page.len());
    assert!(
        text(&rendered(tv::page(&current(&names, vec![])))).contains("76 more services without a problem")
    );
}
