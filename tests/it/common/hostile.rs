//! Hostile documents: each has the largest size that statusd reads, filled with one kind of part.
//!
//! Writes text without statusd's types.

/// The size limit of a body after decompression.
pub const BODY_BYTES: usize = 1 << 20;

/// Returns documents of at most [`BODY_BYTES`], each with as many parts of one kind as fit.
pub fn hostile_documents() -> Vec<(&'static str, String)> {
    let filled = |from: &str, part: &dyn Fn(usize) -> String, to: &str| {
        let mut body = from.to_owned();
        for number in 0.. {
            let part = part(number);
            if body.len() + part.len() + to.len() > BODY_BYTES {
                break;
            }
            body += &part;
        }
        body.truncate(body.trim_end_matches(',').len());
        body + to
    };
    let services = r#"{"services":[{"serviceName":"A","events":["#;
    let many = |part: &dyn Fn(usize) -> String| filled(services, part, "]}]}");
    let levels = BODY_BYTES / 2 - 100;
    vec![
        ("lists of lists", format!(r#"{services}],"x":{}{}}}]}}"#, "[".repeat(levels), "]".repeat(levels))),
        ("objects in objects", r#"{"a":"#.repeat(BODY_BYTES / 5 - 1) + "}"),
        ("empty lists", many(&|_| "[],".to_owned())),
        ("empty events", many(&|_| "{},".to_owned())),
        ("events", many(&|number| format!(r#"{{"messageId":{number}}},"#))),
        (
            "events that are down",
            many(&|number| format!(r#"{{"messageId":{number},"eventStatus":"ongoing"}},"#)),
        ),
        (
            "services",
            filled(
                r#"{"services":["#,
                &|number| format!(r#"{{"serviceName":"{number}","events":[]}},"#),
                "]}",
            ),
        ),
        (
            "keys",
            filled(
                r#"{"services":[{"serviceName":"A""#,
                &|number| format!(r#","{number}":0"#),
                r#","events":[]}]}"#,
            ),
        ),
        ("twins", filled("{", &|_| r#""services":[{}],"#.to_owned(), "}")),
        (
            "one text",
            filled(r#"{"services":[{"serviceName":""#, &|_| "&amp;".to_owned(), r#"","events":[]}]}"#),
        ),
        (
            "broken bytes",
            filled(r#"{"services":[{"serviceName":""#, &|_| "\u{1}".to_owned(), r#"","events":[]}]}"#),
        ),
        ("faults", filled("{services:[", &|_| "'',".to_owned(), "]}")),
        (
            "escapes",
            filled(r#"{'services':[{'serviceName':'"#, &|_| r"\ud83d".to_owned(), "','events':[]}]}"),
        ),
    ]
}
