//! Tests of the parser: one hand-written fixture in Apple's format for each known fact about the feed.

use super::*;

/// Returns an event as Apple writes it, with some fields replaced: `("endDate", "null")`.
fn event_with(changes: &[(&str, &str)]) -> String {
    let mut fields = vec![
        ("usersAffected", "\"Some users are affected\""),
        ("epochStartDate", "1619449200000"),
        ("epochEndDate", "null"),
        ("messageId", "\"2000000561\""),
        ("statusType", "\"Outage\""),
        ("datePosted", "\"04/26/2021 09:00 PDT\""),
        ("startDate", "\"04/26/2021 08:00 PDT\""),
        ("endDate", "null"),
        ("affectedServices", "null"),
        ("eventStatus", "\"ongoing\""),
        ("message", "\"Users may be unable to use this service.\""),
    ];
    for (key, value) in changes {
        fields.retain(|(field, _)| field != key);
        if *value != "absent" {
            fields.push((key, value));
        }
    }
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn service(name: &str, events: &str) -> String {
    format!(r#"{{"serviceName":"{name}","redirectUrl":null,"events":{events}}}"#)
}

fn document(services: &str) -> String {
    format!(r#"{{"drpost":false,"drMessage":null,"services":[{services}]}}"#)
}

fn one_event(changes: &[(&str, &str)]) -> Event {
    let text = document(&service("iCloud Backup", &format!("[{}]", event_with(changes))));
    let read = parse(text.as_bytes()).expect("a document");
    read.services[&ServiceKey::new("iCloud Backup")].events[0].clone()
}

#[track_caller]
fn refused(body: &str, reason: Unreadable) {
    assert_eq!(parse(body.as_bytes()), Err(reason), "{body}");
}

#[test]
fn a_plain_event() {
    let event = one_event(&[]);
    assert_eq!(event.message_id, "2000000561");
    assert_eq!((event.kind, event.status), (EventKind::Outage, EventStatus::Ongoing));
    assert_eq!(event.start.expect("a start").to_string(), "2021-04-26T15:00:00Z");
    assert_eq!(event.end, None);
    assert_eq!(event.users_affected.as_deref(), Some("Some users are affected"));
}

#[test]
fn bare_json_and_jsonp_with_any_callback_are_one_document() {
    let bare = document(&service("iCloud Web Apps (iCloud.com)", &format!("[{}]", event_with(&[]))));
    let expected = parse(bare.as_bytes()).expect("a document");
    for wrapped in [
        format!("jsonCallback({bare});"),
        format!("jsonCallback({bare})"),
        format!("  /**/ any.name_2( {bare} ) ;\n\n"),
        format!("\u{feff}{bare}"),
        bare.replace(",\"", ", \n\t\""),
    ] {
        assert_eq!(parse(wrapped.as_bytes()).as_ref(), Ok(&expected), "{wrapped}");
    }
}

#[test]
fn other_bodies_are_rejected_with_a_reason() {
    refused("", Unreadable::Empty);
    refused(" \n", Unreadable::Empty);
    refused("<!DOCTYPE html><html><script>var a = {};</script></html>", Unreadable::Html);
    refused("\n  <html>", Unreadable::Html);
    refused("Service Unavailable", Unreadable::NotJson);
    refused("}{", Unreadable::CutOff);
    refused("{]}", Unreadable::NotJson);
    refused(r#"{"dashboard":{},"detailedTimeline":[]}"#, Unreadable::OldSchema);
    refused(r#"{"drpost":false,"drMessage":null}"#, Unreadable::NoServices);
    refused(r#"{"services":{}}"#, Unreadable::NoServices);
    refused(r#"{"services":null}"#, Unreadable::NoServices);
    refused(r#"{"serviceName":"Device Enrollment Program","events":[]}"#, Unreadable::NoServices);
    refused(&document(""), Unreadable::EmptyServices);
    refused(&document("1, null, {}"), Unreadable::NoServices);
    refused(&document(&service("iCloud Backup", "null")), Unreadable::NoEvents);
}

#[test]
fn a_truncated_body_is_never_fine() {
    let whole = document(&format!("{},{}", service("iCloud Backup", "[]"), service("Photos", "[]")));
    for length in 0..whole.len() {
        assert!(parse(&whole.as_bytes()[..length]).is_err(), "cut at {length}");
    }
    refused(&whole[..whole.len() - 2], Unreadable::CutOff);
}

/// Other programs use closed enums for these words, and fail on the whole feed at each new one.
#[test]
fn unknown_words_are_kept_and_affect_no_other_event() {
    let odd = event_with(&[("statusType", "\"Degraded\""), ("eventStatus", "\"investigating\"")]);
    let even = event_with(&[("messageId", "\"2\"")]);
    let text = document(&service("Photos", &format!("[{odd},{even}]")));
    let events = &parse(text.as_bytes()).expect("a document").services[&ServiceKey::new("Photos")].events;
    assert_eq!(events[1].kind, EventKind::Other("Degraded".to_owned()));
    assert_eq!(events[1].status, EventStatus::Unknown("investigating".to_owned()));
    assert_eq!(events[0].status, EventStatus::Ongoing);
    assert_eq!(one_event(&[("statusType", "\"\"")]).kind, EventKind::Other(String::new()));
    assert_eq!(one_event(&[("statusType", "\" outage \"")]).kind, EventKind::Outage);
    for (word, status) in [
        ("resolved", EventStatus::Over),
        ("completed", EventStatus::Over),
        ("upcoming", EventStatus::Upcoming),
        ("Ongoing ", EventStatus::Ongoing),
    ] {
        assert_eq!(one_event(&[("eventStatus", &format!("\"{word}\""))]).status, status);
    }
}

#[test]
fn a_null_or_a_wrong_type_in_any_field_loses_no_event() {
    let keys = [
        "usersAffected",
        "epochStartDate",
        "epochEndDate",
        "messageId",
        "statusType",
        "datePosted",
        "startDate",
        "endDate",
        "affectedServices",
        "eventStatus",
        "message",
    ];
    for key in keys {
        for value in
            ["null", "absent", "17", "[]", "{}", "true", "\"\"", "[null, null]", "-1e400", "\"\\ud83d\""]
        {
            let text = document(&format!(
                "{},{}",
                service("iCloud Backup", &format!("[{}]", event_with(&[(key, value)]))),
                service("Photos", &format!("[{}]", event_with(&[])))
            ));
            let read = parse(text.as_bytes()).unwrap_or_else(|reason| panic!("{key}: {value}: {reason}"));
            assert!(read.services.values().all(|s| s.events.len() == 1 && !s.malformed), "{key}: {value}");
        }
    }
}

#[test]
fn numbers_take_precedence_over_text() {
    let end = |changes: &[_]| one_event(changes).end.map(|end| end.to_string());
    let texts = ("endDate", "\"04/26/2021 23:59 PDT\"");
    assert_eq!(end(&[("epochEndDate", "1619456400000"), texts]).as_deref(), Some("2021-04-26T17:00:00Z"));
    assert_eq!(end(&[("epochEndDate", "null"), texts]).as_deref(), Some("2021-04-27T06:59:00Z"));
    assert_eq!(end(&[("epochEndDate", "\"1619456400000\"")]).as_deref(), Some("2021-04-26T17:00:00Z"));
    assert_eq!(end(&[("epochEndDate", "1619456400999")]).as_deref(), Some("2021-04-26T17:00:00Z"));
    assert_eq!(end(&[("epochEndDate", "99999999999999999999999999")]), None);
}

/// Other programs have read an end in seconds as a date in January 1970.
#[test]
fn epochs_may_be_seconds_strings_or_fractions() {
    for number in ["1619456400", "\" 1619456400 \"", "1619456400.7", "1.6194564e12", "\"1619456400000.0\""] {
        let event = one_event(&[("epochEndDate", number), ("epochStartDate", number)]);
        let times = [event.start, event.end].map(|time| time.map(|time| time.to_string()));
        assert_eq!(
            times,
            [const { "2021-04-26T17:00:00Z" }; 2].map(|time| Some(time.to_owned())),
            "{number}"
        );
    }
    let texts = ("endDate", "\"04/26/2021 10:00 PDT\"");
    for invalid in ["\"\"", "\"soon\"", "[]"] {
        let end = one_event(&[("epochEndDate", invalid), texts]).end.map(|end| end.to_string());
        assert_eq!(end.as_deref(), Some("2021-04-26T17:00:00Z"), "{invalid}");
    }
    // If the number is an error, the text may be one too.
    for invalid in ["0", "-1", "-62135596800000", "253402300799000", "4e299"] {
        assert_eq!(one_event(&[("epochEndDate", invalid), texts]).end, None, "{invalid}");
    }
}

#[test]
fn dates_are_read_in_the_order_that_the_document_proves() {
    let texts = |start: &str, end: &str| {
        let (start, end) = (format!("\"{start}\""), format!("\"{end}\""));
        let posted = "\"13/06/2021 09:00 UTC\"";
        let event = one_event(&[
            ("epochStartDate", "null"),
            ("startDate", &start),
            ("endDate", &end),
            ("datePosted", posted),
        ]);
        [event.start, event.end].map(|time| time.map_or(String::new(), |time| time.to_string()))
    };
    let expected = ["2021-06-05T08:00:00Z", "2021-06-05T09:30:00Z"];
    assert_eq!(texts("05/06/2021 08:00 UTC", "05/06/2021 09:30 UTC"), expected);
}

#[test]
fn an_end_before_its_start_is_ignored() {
    for end in ["1619449199000", "1", "\"01/01/0001\"", "1104537600000"] {
        assert_eq!(one_event(&[("epochEndDate", end), ("eventStatus", "null")]).end, None, "{end}");
    }
    assert!(one_event(&[("epochEndDate", "1619449200000")]).end.is_some());
    // Without a start, any end is accepted.
    assert!(
        one_event(&[("epochEndDate", "1104537600000"), ("epochStartDate", "null"), ("startDate", "null")])
            .end
            .is_some()
    );
}

#[test]
fn the_stamp_is_the_newest_date_posted() {
    let stamp = |first: &str, second: &str| {
        let events =
            [first, second].map(|posted| event_with(&[("datePosted", posted), ("messageId", posted)]));
        let read = parse(document(&service("Photos", &format!("[{}]", events.join(",")))).as_bytes());
        read.expect("a document").stamp.readings.map(|[month_first, ..]| month_first.to_string())
    };
    let newest = Some("2021-04-26T16:00:00Z".to_owned());
    assert_eq!(stamp("\"04/26/2021 09:00 PDT\"", "\"04/25/2021 09:00 PDT\""), newest);
    assert_eq!(stamp("null", "\"04/26/2021 09:00 PDT\""), newest);
    assert_eq!(stamp("\"2021/04/27 01:00 JST\"", "null"), newest);
    assert_eq!(stamp("null", "null"), None);
}

#[test]
fn names_are_shown_as_apple_writes_them_without_extra_space() {
    let text = document(&format!(
        "{},{}",
        service("App Store Connect - App Processing ", "[]"),
        service("Apple\u{a0}Pay", "[]")
    ));
    let read = parse(text.as_bytes()).expect("a document");
    let names: Vec<_> = read.services.values().map(|listing| listing.name.as_str()).collect();
    assert_eq!(names, ["App Store Connect - App Processing", "Apple Pay"]);
}

#[test]
fn one_service_listed_twice_is_one_service() {
    let events = |id: &str| format!("[{}]", event_with(&[("messageId", &format!("\"{id}\""))]));
    let (a, b) = (service("Photos", &events("1")), service("photos ", &events("2")));
    let forward = parse(document(&format!("{a},{b}")).as_bytes()).expect("a document");
    let backward = parse(document(&format!("{b},{a}")).as_bytes()).expect("a document");
    assert_eq!(forward, backward);
    assert_eq!(forward.services[&ServiceKey::new("Photos")].events.len(), 2);
}

#[test]
fn of_two_entries_with_one_id_the_worse_is_kept() {
    let over = event_with(&[("eventStatus", "\"resolved\""), ("epochEndDate", "1619456400000")]);
    let down = event_with(&[]);
    for events in [format!("[{over},{down}]"), format!("[{down},{over}]")] {
        let read = parse(document(&service("Photos", &events)).as_bytes()).expect("a document");
        let events = &read.services[&ServiceKey::new("Photos")].events;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].status, EventStatus::Ongoing);
    }
}

#[test]
fn a_service_with_unreadable_events_is_malformed() {
    for events in ["null", "{}", "\"none\"", "[null]", "[1]", "[[]]"] {
        let text = document(&format!("{},{}", service("iCloud Backup", events), service("Photos", "[]")));
        let read = parse(text.as_bytes()).expect("a document");
        assert!(read.services[&ServiceKey::new("iCloud Backup")].malformed, "{events}");
        assert!(!read.services[&ServiceKey::new("Photos")].malformed);
    }
}

#[test]
fn control_characters_and_excess_text_are_removed() {
    let event = one_event(&[("message", r#""Call \u202e<b>now</b>\n\u001b[31m  please\u0000 ""#)]);
    assert_eq!(event.message, "Call <b>now</b> [31m please");
    let long = format!("\"{}\"", "x".repeat(1_000_000));
    assert_eq!(one_event(&[("message", &long)]).message.chars().count(), MAX_MESSAGE_CHARS);
}

#[test]
fn deep_nesting_neither_overflows_nor_hides_an_outage() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let nested = deep(150_000);
    for text in [
        nested.clone(),
        document(&service("A", &nested)),
        document(&service("A", &format!("[{}]", event_with(&[("message", &nested)])))),
        document(&service("A", &format!("[{}]", event_with(&[("unknown", &nested)])))),
        "{\"services\":".repeat(80_000),
    ] {
        // Any result but "fine" is acceptable.
        let read = parse(text.as_bytes());
        assert!(
            !matches!(&read, Ok(read) if read.services.values().any(|a| a.events.is_empty())),
            "{read:?}"
        );
    }
    // In an unused field, nesting has no effect.
    let event = event_with(&[("unknown", &nested), ("message", &nested)]);
    let text = format!("{{\"x\":{nested},\"services\":[{}]}}", service("A", &format!("[{event}]")));
    assert_eq!(parse(text.as_bytes()).expect("a document").services[&ServiceKey::new("A")].events.len(), 1);
}

#[test]
fn a_document_over_the_limits_is_not_fine() {
    let whole = document(&service("A", "[]"));
    let padded = |bytes: usize| whole.clone() + &" ".repeat(bytes - whole.len());
    assert!(parse(padded(BODY_MAX_BYTES).as_bytes()).is_ok());
    refused(&padded(BODY_MAX_BYTES + 1), Unreadable::TooLarge);

    let services = |count: usize| {
        let services: Vec<String> = (0..count).map(|number| service(&format!("S{number}"), "[]")).collect();
        document(&services.join(","))
    };
    assert_eq!(parse(services(MAX_SERVICES).as_bytes()).expect("a document").services.len(), MAX_SERVICES);
    refused(&services(MAX_SERVICES + 1), Unreadable::TooLarge);

    let events = |count: usize| {
        let events: Vec<String> = (0..count).map(|number| format!(r#"{{"messageId":{number}}}"#)).collect();
        let text = document(&format!(
            "{},{}",
            service("A", &format!("[{}]", events.join(","))),
            service("B", "[{}]")
        ));
        let read = parse(text.as_bytes()).expect("a document");
        let listing = |name: &str| read.services[&ServiceKey::new(name)].clone();
        (listing("A").events.len(), listing("A").malformed, listing("B").events.len(), listing("B").malformed)
    };
    assert_eq!(events(MAX_EVENTS - 1), (MAX_EVENTS - 1, false, 1, false));
    // An event after the last one that is read may be an outage.
    assert_eq!(events(MAX_EVENTS), (MAX_EVENTS, false, 0, true));
    assert_eq!(events(MAX_EVENTS + 1), (MAX_EVENTS, true, 0, true));
}

#[test]
fn the_banner_is_kept() {
    let text = r#"{"drpost":true,"drMessage":" Please read. ","services":[{"serviceName":"A","events":[]}]}"#;
    assert_eq!(parse(text.as_bytes()).expect("a document").banner.as_deref(), Some("Please read."));
}

#[test]
fn an_event_without_an_id_is_identified_by_its_start() {
    assert_eq!(one_event(&[("messageId", "null")]).message_id, "at-2021-04-26T15:00:00Z");
    assert_eq!(one_event(&[("messageId", "3274")]).message_id, "3274");
}

/// Lone surrogates, invalid escapes and control characters: JSON parsers reject them, and readers do not
/// see them.
#[test]
fn an_invalid_character_anywhere_in_a_string_is_replaced() {
    let whole = document(&service("iCloud Backup", &format!("[{}]", event_with(&[]))));
    let expected = parse(whole.as_bytes()).expect("a document");
    let words = "Users may be unable to use this service.";
    let from = whole.find(words).expect("the message");
    for fault in [
        "\\ud83d",
        "\\udc00",
        "\\ud83d\\u0020",
        "\\u12",
        "\\x",
        "\\q",
        "\\\n",
        "\n",
        "\t",
        "\0",
        "\u{1b}",
        "\\'",
    ] {
        for at in from..=from + words.len() {
            let text = format!("{}{fault}{}", &whole[..at], &whole[at..]);
            let mut read =
                parse(text.as_bytes()).unwrap_or_else(|reason| panic!("{fault:?} at {at}: {reason}"));
            let listing = read.services.get_mut(&ServiceKey::new("iCloud Backup")).expect("the service");
            let message = std::mem::replace(&mut listing.events[0].message, words.to_owned());
            assert!(message.chars().count() <= words.len() + 2, "{fault:?} at {at}: {message}");
            assert_eq!(read, expected, "{fault:?} at {at}");
        }
    }
}

#[test]
fn invalid_characters_in_names_ids_and_keys_lose_no_event() {
    let text = document(&service("iCloud \\ud83dBackup", &format!("[{}]", event_with(&[("\\ud83d", "1")]))));
    let read = parse(text.as_bytes()).expect("a document");
    assert_eq!(read.services[&ServiceKey::new("iCloud \u{fffd}Backup")].events.len(), 1);
    assert_eq!(one_event(&[("messageId", "\"\\ud83d88\"")]).message_id, "\u{fffd}88");
}

#[test]
fn javascript_is_parsed_like_json() {
    let bare = document(&service("iCloud Backup", &format!("[{}]", event_with(&[]))));
    let expected = parse(bare.as_bytes());
    for text in [
        format!("/* {{old}} */ jsonCallback({bare}); // }}"),
        bare.replace("]}", ",]}").replace("}]", "},]"),
        bare.replace('"', "'"),
        bare.replace("\"events\"", "events").replace("\"messageId\"", "messageId"),
        bare.replace(":null", ":undefined"),
        bare.replace("\"drMessage\":null", "\"drMessage\":NaN,,"),
        format!("{bare}{bare}"),
    ] {
        assert_eq!(parse(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn bodies_may_be_utf_16() {
    let text = document(&service("iCloudバックアップ", &format!("[{}]", event_with(&[]))));
    let expected = parse(text.as_bytes());
    assert!(expected.is_ok());
    for mark in ["", "\u{feff}"] {
        let units: Vec<u16> = format!("{mark}{text}").encode_utf16().collect();
        for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            let body: Vec<u8> = units.iter().copied().flat_map(bytes).collect();
            assert_eq!(parse(&body), expected);
        }
    }
}

/// The English capture of 2021 has `&amp;` in three names.
#[test]
fn entities_are_decoded_once_and_tags_stay() {
    let event = event_with(&[
        ("message", r#""Can&#8217;t sign in &amp; back up. &amp;lt; <b>now</b> &#x202e;&nbsp;""#),
        ("usersAffected", r#""Users &lt; 5 &percnt;""#),
        ("messageId", r#""a&amp;b""#),
    ]);
    let text = document(&service("iCloud Account &amp; Sign In", &format!("[{event}]")));
    let read = parse(text.as_bytes()).expect("a document");
    let listing = &read.services[&ServiceKey::new("iCloud account & sign in")];
    assert_eq!(listing.name, "iCloud Account & Sign In");
    let event = &listing.events[0];
    assert_eq!(event.message, "Can\u{2019}t sign in & back up. &lt; <b>now</b>");
    assert_eq!(event.users_affected.as_deref(), Some("Users < 5 &percnt;"));
    assert_eq!(event.message_id, "a&amp;b");
}

#[test]
fn invalid_utf_8_is_replaced() {
    let mut bytes = document(&service("Photos", &format!("[{}]", event_with(&[])))).into_bytes();
    let place = bytes.windows(5).position(|window| window == b"Users").expect("the text");
    bytes[place] = 0xff;
    assert_eq!(parse(&bytes).expect("a document").services.len(), 1);
}
