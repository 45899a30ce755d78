//! The chat channels (Slack, Discord, Teams, Telegram) against a mock server with their responses.

use crate::common::http_server::{HttpServer, Nobody, Reply, Request};
use crate::common::log;
use serde_json::{Value, json};
use statusd::channel::{Channel, Notice, SendOutcome, Tables};
use statusd::model::Severity;

const SECRETS: [&str; 3] = ["T0PATHSECRET", "QUERYSECRET", "T0KENSECRET"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Slack,
    Discord,
    Teams,
    Telegram,
}

use Kind::{Discord, Slack, Teams, Telegram};

const ALL: [Kind; 4] = [Slack, Discord, Teams, Telegram];

impl Kind {
    /// Creates the channel for a server at `base` from a configuration table.
    fn channel(self, base: &str) -> Channel {
        let table = match self {
            Slack => format!("[slack.a]\nurl = '{base}/services/T0PATHSECRET'"),
            Discord => {
                format!("[discord.a]\nurl = '{base}/webhooks/1/T0PATHSECRET?QUERYSECRET=1'\nthread_id = 7")
            }
            Teams => format!("[teams.a]\nurl = '{base}/workflows/T0PATHSECRET?sig=QUERYSECRET'"),
            Telegram => {
                format!("[telegram.a]\ntoken = '123456:T0KENSECRET'\nchat_id = -1001\nurl = '{base}'")
            }
        };
        let tables: Tables = toml::from_str(&table).expect("settings");
        let mut all = tables.all().into_iter();
        let (name, table) = all.find(|(name, _)| name.ends_with(".a")).expect("the one table");
        Channel::new(name, table.audience(), table.open(&|_| panic!("no file to read")).expect("ready"))
    }

    fn target(self) -> &'static str {
        match self {
            Slack => "/services/T0PATHSECRET",
            Discord => "/webhooks/1/T0PATHSECRET?QUERYSECRET=1&wait=true&thread_id=7",
            Teams => "/workflows/T0PATHSECRET?sig=QUERYSECRET",
            Telegram => "/bot123456:T0KENSECRET/sendMessage",
        }
    }

    /// Returns the service's usual body for this status.
    fn body(self, status: u16) -> String {
        match (self, status) {
            (Slack, 200..=299) => "ok".to_owned(),
            (Slack, _) => "some_error".to_owned(),
            (Discord, 200..=299) => json!({"type": 0, "id": "1420000000000000001"}).to_string(),
            (Discord, _) => json!({"message": "Some error", "code": 0}).to_string(),
            (Teams, 200..=299) => String::new(),
            (Teams, _) => json!({"error": {"code": "SomeError", "message": "It failed."}}).to_string(),
            (Telegram, 200..=299) => json!({"ok": true, "result": {"message_id": 42}}).to_string(),
            (Telegram, _) => {
                json!({"ok": false, "error_code": status, "description": "Some error"}).to_string()
            }
        }
    }

    fn good(self) -> Reply {
        let status = if self == Teams { 202 } else { 200 };
        Reply::status(status).with_body(self.body(status))
    }
}

fn notice() -> Notice {
    Notice {
        key: "consumer/en_US/icloud%20backup/1002938/1/began".to_owned(),
        title: "iCloud Backup is down".to_owned(),
        body: "Since 02:10.\nWait.".to_owned(),
        severity: Severity::Alert,
        payload: String::new(),
        replaces: None,
        follows: None,
    }
}

/// Sends one notice. Returns the outcome of this reply and the request.
async fn exchange(kind: Kind, reply: Reply) -> (SendOutcome, Request) {
    let mut peer = HttpServer::start([reply]).await;
    let answer = kind.channel(&peer.url("")).send(&notice()).await;
    let request = peer.next().await;
    assert!(peer.is_quiet(), "one send is one request");
    check_words(kind, &answer);
    (answer, request)
}

#[track_caller]
fn check_words(kind: Kind, answer: &SendOutcome) {
    let words = answer.words();
    assert!(words.starts_with("127.0.0.1 ") && !words.contains(char::is_control), "{kind:?}: {words}");
    assert!(words.chars().count() < 500, "{kind:?}: {words}");
    for secret in SECRETS {
        assert!(!words.contains(secret), "{kind:?}: {words}");
    }
    // A refusal waits for a person, so it says what that person does.
    assert!(!matches!(answer, SendOutcome::Permanent { .. }) || words.contains("; "), "{kind:?}: {words}");
}

fn meaning(answer: &SendOutcome) -> &'static str {
    match answer {
        SendOutcome::Delivered { .. } => "delivered",
        SendOutcome::Transient { reached: true, .. } => "retry",
        SendOutcome::Transient { reached: false, .. } => "not reached",
        SendOutcome::Unclear { .. } => "unclear",
        SendOutcome::Permanent { .. } => "refused",
    }
}

/// What a channel makes of these replies, one after the other.
async fn answers(kind: Kind, replies: impl IntoIterator<Item = Reply>) -> Vec<SendOutcome> {
    let replies: Vec<Reply> = replies.into_iter().collect();
    let count = replies.len();
    let peer = HttpServer::start(replies).await;
    let mut channel = kind.channel(&peer.url(""));
    let mut answers = Vec::new();
    for _ in 0..count {
        let answer = channel.send(&notice()).await;
        check_words(kind, &answer);
        answers.push(answer);
    }
    answers
}

/// Status and body of a reply, the expected outcome, and part of its text.
type Row = (u16, String, &'static str, &'static str);

fn row(status: u16, body: impl ToString, meaning: &'static str, words: &'static str) -> Row {
    (status, body.to_string(), meaning, words)
}

async fn check(kind: Kind, rows: impl IntoIterator<Item = Row>) {
    let rows: Vec<Row> = rows.into_iter().collect();
    let replies = rows.iter().map(|(status, body, ..)| Reply::status(*status).with_body(body.as_str()));
    for (answer, (status, body, expected, words)) in answers(kind, replies).await.iter().zip(&rows) {
        assert_eq!(meaning(answer), *expected, "{kind:?} {status} {body}: {answer:?}");
        assert!(answer.words().contains(words), "{kind:?} {status} {body}: {answer:?}");
    }
}

#[tokio::test]
async fn a_message_is_one_post_of_json() {
    for kind in ALL {
        let (answer, request) = exchange(kind, kind.good()).await;
        assert_eq!(meaning(&answer), "delivered", "{kind:?}: {answer:?}");
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", kind.target()));
        assert_eq!(request.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let [title, line] = match kind {
            Slack => [&body["text"], &body["attachments"][0]["blocks"][0]["text"]["text"]],
            Discord => [&body["embeds"][0]["title"], &body["embeds"][0]["description"]],
            Teams => {
                let blocks = &body["attachments"][0]["content"]["body"];
                [&blocks[0]["inlines"][0]["text"], &blocks[1]["inlines"][0]["text"]]
            }
            Telegram => [&body["text"], &body["text"]],
        };
        let text = format!("{title} {line}");
        assert!(text.contains("iCloud Backup is down") && text.contains("Since 02:10."), "{kind:?}: {body}");
    }
}

#[tokio::test]
async fn what_a_peer_says_of_a_delivery_is_told() {
    for (kind, receipt, words) in [
        (Slack, None, "127.0.0.1 answers 200 OK. It says: ok"),
        (Discord, None, "127.0.0.1 answers 200 OK; message 1420000000000000001"),
        (
            Teams,
            None,
            "127.0.0.1 answers 202 Accepted; the workflow posts it; its run history says whether it could",
        ),
        (Telegram, Some("-1001/42"), "127.0.0.1 answers 200 OK; message 42"),
    ] {
        let (receipt, words) = (receipt.map(str::to_owned), words.to_owned());
        assert_eq!(exchange(kind, kind.good()).await.0, SendOutcome::Delivered { receipt, words });
    }
    check(Teams, [row(200, "1", "delivered", "200 OK; 1")]).await;
    check(Discord, [row(204, "", "delivered", "204 No Content")]).await;
}

#[tokio::test]
async fn every_try_sends_the_same_bytes() {
    for kind in ALL {
        let mut peer = HttpServer::start([Reply::status(500), kind.good()]).await;
        let mut channel = kind.channel(&peer.url(""));
        assert_eq!(meaning(&channel.send(&notice()).await), "retry");
        assert_eq!(meaning(&channel.send(&notice()).await), "delivered");
        assert_eq!(peer.next().await, peer.next().await);
    }
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    for kind in ALL {
        let replies = (100..=599).map(|status| Reply::status(status).with_body(kind.body(status)));
        for (answer, status) in answers(kind, replies).await.iter().zip(100..) {
            let expected = match status {
                // A 204 has no body that would prove that Telegram responded.
                204 if kind == Telegram => "refused",
                200..=299 => "delivered",
                101 => "refused",
                // An interim response, followed by a body that must not be there.
                100..=199 => "unclear",
                408 | 409 | 421 | 425 | 429 | 500 | 502..=504 | 506..=599 => "retry",
                _ => "refused",
            };
            assert_eq!(meaning(answer), expected, "{kind:?} {status}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn slacks_words_say_what_to_do() {
    let rows = [
        (400, "invalid_payload", "please report this. It says: invalid_payload"),
        (400, "user_not_found", "make a new webhook"),
        (403, "action_prohibited", "ask its administrator"),
        (403, "invalid_token", "make a new one"),
        (404, "channel_not_found", "make a new webhook"),
        (404, "no_service\n", "make a new one and write its address"),
        (404, "no_team", "make a new one and write its address"),
        (410, "channel_is_archived", "restore it"),
    ];
    check(Slack, rows.map(|(status, body, words)| row(status, body, "refused", words))).await;
    let words = "500 Internal Server Error. It says: rollup_error";
    check(Slack, [row(500, "rollup_error", "retry", words)]).await;
}

#[tokio::test]
async fn discords_codes_say_what_to_do() {
    let rows = [
        (400, 50_035, "thread_id"),
        (400, 220_001, "is a forum; write the thread_id"),
        (400, 200_000, "AutoMod"),
        (401, 50_027, "copy the whole of it"),
        (403, 50_013, "permissions"),
        (404, 10_003, "check thread_id"),
        (404, 10_015, "the webhook is gone; make a new one"),
        (404, 99_999, "404 Not Found; there is nothing at this address"),
    ];
    for (status, code, words) in rows {
        let body = json!({"message": "Its words", "code": code});
        check(Discord, ["It says: Its words", words].map(|words| row(status, &body, "refused", words))).await;
    }
    check(Discord, [row(404, "<html>nginx", "refused", "there is nothing at this address")]).await;
}

#[tokio::test]
async fn the_workflows_codes_say_what_to_do() {
    let rows = [
        (400, "TriggerInputSchemaMismatch", "template"),
        (400, "WorkflowTriggerIsNotEnabled", "turn it on"),
        (409, "WorkflowTriggerIsNotEnabled", "turn it on"),
        (401, "DirectApiAuthorizationRequired", "signature"),
        (404, "WorkflowNotFound", "the workflow is gone"),
        (404, "Other", "It says: Other: Could not."),
    ];
    let rows = rows.map(|(status, code, words)| {
        let body = json!({"error": {"code": code, "message": "Could not."}});
        row(status, body, "refused", words)
    });
    check(Teams, rows).await;
}

fn telegrams_error(code: u16, description: &str, parameters: Value) -> String {
    json!({"ok": false, "error_code": code, "description": description, "parameters": parameters}).to_string()
}

#[tokio::test]
async fn telegrams_words_say_what_to_do() {
    let rows = [
        (400, "Bad Request: chat not found", "check chat_id, and add the bot there"),
        (400, "Bad Request: message thread not found", "check thread_id"),
        (400, "Bad Request: not enough rights to send text messages to the chat", "let it post"),
        (400, "Bad Request: message text is empty", "report this. It says: Bad Request: message text is"),
        (401, "Unauthorized", "copy it from @BotFather"),
        (403, "Forbidden: bot was blocked by the user", "unblock it"),
        (404, "Not Found", "copy it from @BotFather"),
    ];
    let rows = rows.map(|(status, description, words)| {
        row(status, telegrams_error(status, description, Value::Null), "refused", words)
    });
    check(Telegram, rows).await;
    let moved = telegrams_error(
        400,
        "Bad Request: group chat was upgraded to a supergroup chat",
        json!({"migrate_to_chat_id": -1_001_234_567_890_i64}),
    );
    check(
        Telegram,
        [
            row(400, moved, "refused", "write chat_id = -1001234567890 into the config"),
            row(404, "<html>nginx", "refused", "there is nothing at this address"),
            row(502, "<html>nginx", "retry", "502 Bad Gateway. It says: <html>"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_good_status_may_hide_a_failure() {
    let teams = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error";
    let rows = [
        row(200, format!("{teams} 429 with ContextId tcid=0"), "retry", "429 Too Many Requests"),
        row(200, format!("{teams} 503 with ContextId tcid=0"), "retry", "503"),
        row(200, format!("{teams} 413 with ContextId tcid=0"), "refused", "413"),
        row(200, teams, "retry", "delivery failed"),
    ];
    check(Teams, rows).await;

    let busy = telegrams_error(429, "Too Many Requests: retry after 9", json!({"retry_after": 9}));
    let (answer, _) = exchange(Telegram, Reply::status(200).with_body(busy)).await;
    assert!(matches!(answer, SendOutcome::Transient { after_s: Some(9), reached: true, .. }), "{answer:?}");
    let rows = [
        row(200, telegrams_error(403, "Forbidden", Value::Null), "refused", "403"),
        row(200, json!({"ok": false}), "retry", "500"),
        row(200, telegrams_error(200, "x", Value::Null), "retry", "It says: x"),
        row(200, "", "refused", "check url"),
    ];
    check(Telegram, rows).await;

    check(Slack, [row(200, "no_service", "refused", "Slack would say ok")]).await;
}

#[tokio::test]
async fn a_web_page_is_no_delivery() {
    for kind in ALL {
        check(kind, [row(200, "\n<!DOCTYPE html><title>Log in</title>", "refused", "200 OK; ")]).await;
    }
}

#[tokio::test]
async fn a_wish_to_wait_is_passed_on() {
    for kind in ALL {
        let wishes = ["3600", "99999999999999999999999", "soon", "-5", "1e5", "\u{e9}t\u{e9}"];
        let busy =
            |value: &str| Reply::status(429).with_body(kind.body(429)).with_header("Retry-After", value);
        let waits = waits(kind, wishes.map(busy)).await;
        assert_eq!(waits, [Some(3600), Some(u64::MAX), None, None, None, None], "{kind:?}");
        let date = self::waits(kind, [busy("Fri, 01 Jan 2100 00:00:00 GMT")]).await;
        assert!(date[0] > Some(1_000_000), "{kind:?}: {date:?}");
    }
}

async fn waits(kind: Kind, replies: impl IntoIterator<Item = Reply>) -> Vec<Option<u64>> {
    let wait = |answer| match answer {
        SendOutcome::Transient { after_s, reached: true, .. } => after_s,
        other => panic!("{kind:?}: {other:?}"),
    };
    answers(kind, replies).await.into_iter().map(wait).collect()
}

#[tokio::test]
async fn the_peers_own_wishes_are_understood() {
    let discords = |seconds: Value| {
        let body = json!({"message": "You are being rate limited.", "retry_after": seconds, "global": false});
        Reply::status(429).with_body(body.to_string())
    };
    let replies = [
        discords(json!(64.57)),
        discords(json!(64.57)).with_header("Retry-After", "7"),
        discords(json!(1e300)),
        discords(json!(-1.5)),
        discords(json!("1.5")),
        discords(json!(-1.5)).with_header("Retry-After", "7"),
        discords(Value::Null).with_header("Retry-After", "7"),
        Reply::status(429).with_header("X-RateLimit-Reset-After", "1.2"),
        Reply::status(429).with_header("X-RateLimit-Reset-After", "1.2").with_header("Retry-After", "7"),
        Reply::status(429).with_header("X-RateLimit-Reset-After", "inf"),
    ];
    let expected = [Some(65), Some(65), Some(u64::MAX), None, None, Some(7), Some(7), Some(2), Some(7), None];
    assert_eq!(waits(Discord, replies).await, expected);

    let telegrams = |seconds: Value| {
        let body = telegrams_error(429, "Too Many Requests", json!({"retry_after": seconds}));
        Reply::status(429).with_body(body)
    };
    let replies = [json!(35), json!(u64::MAX), json!(-35), Value::Null].map(telegrams);
    assert_eq!(waits(Telegram, replies).await, [Some(35), Some(u64::MAX), None, None]);
}

#[tokio::test]
async fn an_answer_that_repeats_a_long_message_is_read_to_its_end() {
    let text = "\\u30d0".repeat(4_096);
    let body = format!("{{\"embeds\":[{{\"description\":\"{text}\"}}],\"id\":\"1420\"}}");
    check(Discord, [row(200, body, "delivered", "200 OK; message 1420")]).await;
    let body = format!("{{\"ok\":true,\"result\":{{\"text\":\"{text}\",\"message_id\":42}}}}");
    check(Telegram, [row(200, body, "delivered", "200 OK; message 42")]).await;
}

#[tokio::test]
async fn telegrams_end_answers_its_start() {
    let mut peer = HttpServer::start([Telegram.good()]).await;
    let mut channel = Telegram.channel(&peer.url(""));
    let SendOutcome::Delivered { receipt, .. } = channel.send(&notice()).await else {
        panic!("not delivered")
    };
    channel.send(&Notice { follows: receipt, severity: Severity::Info, ..notice() }).await;
    let mut sent = async || -> Value { serde_json::from_slice(&peer.next().await.body).expect("JSON") };
    let (start, end) = (sent().await, sent().await);
    assert_eq!((start.get("reply_parameters"), &start["disable_notification"]), (None, &json!(false)));
    assert_eq!(end["reply_parameters"], json!({"message_id": 42, "allow_sending_without_reply": true}));
    assert_eq!(end["disable_notification"], true);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for kind in ALL {
        let elsewhere = HttpServer::start([kind.good()]).await;
        let redirect = Reply::status(307).with_header("Location", elsewhere.url("/T0PATHSECRET"));
        let (answer, _) = exchange(kind, redirect).await;
        assert_eq!(meaning(&answer), "refused", "{answer:?}");
        assert!(elsewhere.is_quiet());
    }
}

#[tokio::test]
async fn only_a_peer_that_was_never_reached_counts_as_such() {
    for kind in ALL {
        let nobody = Nobody::new();
        let answer = kind.channel(&format!("http://{}", nobody.address)).send(&notice()).await;
        assert_eq!(meaning(&answer), "not reached", "{kind:?}: {answer:?}");
        check_words(kind, &answer);
        let resets = answers(kind, [Reply::ResetBeforeReading, Reply::ResetAfterReading]).await;
        assert_eq!(
            resets.iter().map(meaning).collect::<Vec<_>>(),
            ["retry", "retry"],
            "{kind:?}: {resets:?}"
        );
    }
}

#[tokio::test]
async fn a_peer_that_never_answers_is_left_after_the_deadline() {
    for kind in ALL {
        let mut peer = HttpServer::start([Reply::Never]).await;
        let mut channel = kind.channel(&peer.url(""));
        let notice = notice();
        let silence = async {
            peer.next().await;
            // Only the deadline is left, so the paused clock jumps to it.
            tokio::time::pause();
        };
        let (answer, ()) = tokio::join!(channel.send(&notice), silence);
        tokio::time::resume();
        let words = "127.0.0.1 gave no answer within 20 s".to_owned();
        assert_eq!(answer, SendOutcome::Transient { after_s: None, reached: true, words });
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_keeps_its_meaning() {
    for kind in ALL {
        let cut = answers(kind, [Reply::CutBody(503), Reply::CutBody(404)]).await;
        assert_eq!(cut.iter().map(meaning).collect::<Vec<_>>(), ["retry", "refused"], "{kind:?}: {cut:?}");
    }
    for (kind, half) in
        [(Slack, ""), (Slack, "o"), (Discord, "{\"id\":\"14"), (Telegram, "{\"ok\":true,\"result\":{\"mess")]
    {
        check(kind, [row(200, half, "delivered", "200 OK")]).await;
    }
}

#[tokio::test]
async fn no_secret_is_logged_or_printed() {
    let log = log::everything();
    for kind in ALL {
        exchange(kind, kind.good()).await;
        // A channel knows only its own secrets.
        let own = SECRETS.iter().copied().filter(|secret| kind.target().contains(secret));
        let echo = format!("Cannot {}: {}", own.collect::<Vec<_>>().join(" or "), kind.target());
        let echoes = [
            echo.clone(),
            json!({"message": echo, "error": {"code": "x", "message": echo}}).to_string(),
            telegrams_error(400, &echo, Value::Null),
        ];
        check(kind, echoes.map(|echo| row(400, echo, "refused", "Cannot ***"))).await;
        exchange(kind, Reply::ResetAfterReading).await;
        let nobody = Nobody::new();
        let mut unreached = kind.channel(&format!("http://{}", nobody.address));
        unreached.send(&notice()).await;
        let logged: String = log.try_iter().collect();
        assert!(logged.contains("127.0.0.1"), "the libraries' lines are seen: {logged}");
        let printed = format!("{unreached:?} {unreached:#?} {logged}");
        for secret in SECRETS {
            assert!(!printed.contains(secret), "{kind:?}: {printed}");
        }
    }
}
