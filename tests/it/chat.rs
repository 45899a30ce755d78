//! The chat channels (Slack, Discord, Teams, Telegram) against a mock server with their responses.

use crate::common::http_server::{ClosedPort, HttpServer, Reply, Request};
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
        let (name, audience, table) = all.find(|(name, ..)| name.ends_with(".a")).expect("the one table");
        Channel::new(name, audience, table.open(&|_| panic!("no file to read")).expect("ready"))
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
    let outcome = kind.channel(&peer.url("")).send(&notice()).await;
    let request = peer.next().await;
    assert!(peer.is_quiet(), "one send is one request");
    check_detail(kind, &outcome);
    (outcome, request)
}

#[track_caller]
fn check_detail(kind: Kind, outcome: &SendOutcome) {
    let detail = outcome.detail();
    assert!(detail.starts_with("127.0.0.1 ") && !detail.contains(char::is_control), "{kind:?}: {detail}");
    assert!(detail.chars().count() < 500, "{kind:?}: {detail}");
    for secret in SECRETS {
        assert!(!detail.contains(secret), "{kind:?}: {detail}");
    }
    // A permanent failure needs a user, so it names the next step.
    assert!(!matches!(outcome, SendOutcome::Permanent { .. }) || detail.contains("; "), "{kind:?}: {detail}");
}

fn outcome_name(outcome: &SendOutcome) -> &'static str {
    match outcome {
        SendOutcome::Delivered { .. } => "delivered",
        SendOutcome::Transient { reached: true, .. } => "retry",
        SendOutcome::Transient { reached: false, .. } => "not reached",
        SendOutcome::Unclear { .. } => "unclear",
        SendOutcome::Permanent { .. } => "refused",
    }
}

/// Sends one notice for each reply. Returns the outcomes.
async fn outcomes(kind: Kind, replies: impl IntoIterator<Item = Reply>) -> Vec<SendOutcome> {
    let replies: Vec<Reply> = replies.into_iter().collect();
    let count = replies.len();
    let peer = HttpServer::start(replies).await;
    let mut channel = kind.channel(&peer.url(""));
    let mut outcomes = Vec::new();
    for _ in 0..count {
        let outcome = channel.send(&notice()).await;
        check_detail(kind, &outcome);
        outcomes.push(outcome);
    }
    outcomes
}

/// Status and body of a reply, the expected outcome, and part of its text.
type Row = (u16, String, &'static str, &'static str);

fn row(status: u16, body: impl ToString, outcome_name: &'static str, detail: &'static str) -> Row {
    (status, body.to_string(), outcome_name, detail)
}

async fn check(kind: Kind, rows: impl IntoIterator<Item = Row>) {
    let rows: Vec<Row> = rows.into_iter().collect();
    let replies = rows.iter().map(|(status, body, ..)| Reply::status(*status).with_body(body.as_str()));
    for (outcome, (status, body, expected, detail)) in outcomes(kind, replies).await.iter().zip(&rows) {
        assert_eq!(outcome_name(outcome), *expected, "{kind:?} {status} {body}: {outcome:?}");
        assert!(outcome.detail().contains(detail), "{kind:?} {status} {body}: {outcome:?}");
    }
}

#[tokio::test]
async fn sends_one_json_post() {
    for kind in ALL {
        let (outcome, request) = exchange(kind, kind.good()).await;
        assert_eq!(outcome_name(&outcome), "delivered", "{kind:?}: {outcome:?}");
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
async fn reports_the_response_of_a_delivery() {
    for (kind, receipt, detail) in [
        (Slack, None, "127.0.0.1 returned 200 OK. Response: ok"),
        (Discord, None, "127.0.0.1 returned 200 OK; message 1420000000000000001"),
        (
            Teams,
            None,
            "127.0.0.1 returned 202 Accepted; the workflow posts the message later; see its run history",
        ),
        (Telegram, Some("-1001/42"), "127.0.0.1 returned 200 OK; message 42"),
    ] {
        let (receipt, detail) = (receipt.map(str::to_owned), detail.to_owned());
        assert_eq!(exchange(kind, kind.good()).await.0, SendOutcome::Delivered { receipt, detail });
    }
    check(Teams, [row(200, "1", "delivered", "200 OK; 1")]).await;
    check(Discord, [row(204, "", "delivered", "204 No Content")]).await;
}

#[tokio::test]
async fn every_attempt_sends_the_same_bytes() {
    for kind in ALL {
        let mut peer = HttpServer::start([Reply::status(500), kind.good()]).await;
        let mut channel = kind.channel(&peer.url(""));
        assert_eq!(outcome_name(&channel.send(&notice()).await), "retry");
        assert_eq!(outcome_name(&channel.send(&notice()).await), "delivered");
        assert_eq!(peer.next().await, peer.next().await);
    }
}

#[tokio::test]
async fn classifies_every_http_status() {
    for kind in ALL {
        let replies = (100..=599).map(|status| Reply::status(status).with_body(kind.body(status)));
        for (outcome, status) in outcomes(kind, replies).await.iter().zip(100..) {
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
            assert_eq!(outcome_name(outcome), expected, "{kind:?} {status}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn slack_errors_carry_advice() {
    let rows = [
        (400, "invalid_payload", "please report this. Response: invalid_payload"),
        (400, "user_not_found", "create a new webhook"),
        (403, "action_prohibited", "ask the workspace's administrator"),
        (403, "invalid_token", "create a new one"),
        (404, "channel_not_found", "create a new webhook"),
        (404, "no_service\n", "create a new one and write its address"),
        (404, "no_team", "create a new one and write its address"),
        (410, "channel_is_archived", "unarchive it"),
    ];
    check(Slack, rows.map(|(status, body, detail)| row(status, body, "refused", detail))).await;
    let detail = "500 Internal Server Error. Response: rollup_error";
    check(Slack, [row(500, "rollup_error", "retry", detail)]).await;
}

#[tokio::test]
async fn discord_errors_carry_advice() {
    let rows = [
        (400, 50_035, "thread_id"),
        (400, 220_001, "is a forum; write the thread_id"),
        (400, 200_000, "AutoMod"),
        (401, 50_027, "copy the whole address"),
        (403, 50_013, "permissions"),
        (404, 10_003, "check thread_id"),
        (404, 10_015, "the webhook no longer exists; create a new one"),
        (404, 99_999, "404 Not Found; nothing exists at this address"),
    ];
    for (status, code, detail) in rows {
        let body = json!({"message": "Its words", "code": code});
        check(Discord, ["Response: Its words", detail].map(|detail| row(status, &body, "refused", detail)))
            .await;
    }
    check(Discord, [row(404, "<html>nginx", "refused", "nothing exists at this address")]).await;
}

#[tokio::test]
async fn teams_errors_carry_advice() {
    let rows = [
        (400, "TriggerInputSchemaMismatch", "template"),
        (400, "WorkflowTriggerIsNotEnabled", "turn it on"),
        (409, "WorkflowTriggerIsNotEnabled", "turn it on"),
        (401, "DirectApiAuthorizationRequired", "signature"),
        (404, "WorkflowNotFound", "the workflow was deleted"),
        (404, "Other", "Response: Other: Could not."),
    ];
    let rows = rows.map(|(status, code, detail)| {
        let body = json!({"error": {"code": code, "message": "Could not."}});
        row(status, body, "refused", detail)
    });
    check(Teams, rows).await;
}

fn telegram_error(code: u16, description: &str, parameters: Value) -> String {
    json!({"ok": false, "error_code": code, "description": description, "parameters": parameters}).to_string()
}

#[tokio::test]
async fn telegram_errors_carry_advice() {
    let rows = [
        (400, "Bad Request: chat not found", "check chat_id, and add the bot"),
        (400, "Bad Request: message thread not found", "check thread_id"),
        (400, "Bad Request: not enough rights to send text messages to the chat", "change its permissions"),
        (400, "Bad Request: message text is empty", "report this. Response: Bad Request: message text is"),
        (401, "Unauthorized", "copy the token from @BotFather"),
        (403, "Forbidden: bot was blocked by the user", "unblock it"),
        (404, "Not Found", "copy the token from @BotFather"),
    ];
    let rows = rows.map(|(status, description, detail)| {
        row(status, telegram_error(status, description, Value::Null), "refused", detail)
    });
    check(Telegram, rows).await;
    let moved = telegram_error(
        400,
        "Bad Request: group chat was upgraded to a supergroup chat",
        json!({"migrate_to_chat_id": -1_001_234_567_890_i64}),
    );
    check(
        Telegram,
        [
            row(400, moved, "refused", "write chat_id = -1001234567890 into the config"),
            row(404, "<html>nginx", "refused", "nothing exists at this address"),
            row(502, "<html>nginx", "retry", "502 Bad Gateway. Response: <html>"),
        ],
    )
    .await;
}

#[tokio::test]
async fn detects_failures_behind_a_good_status() {
    let teams = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error";
    let rows = [
        row(200, format!("{teams} 429 with ContextId tcid=0"), "retry", "429 Too Many Requests"),
        row(200, format!("{teams} 503 with ContextId tcid=0"), "retry", "503"),
        row(200, format!("{teams} 413 with ContextId tcid=0"), "refused", "413"),
        row(200, teams, "retry", "delivery failed"),
    ];
    check(Teams, rows).await;

    let busy = telegram_error(429, "Too Many Requests: retry after 9", json!({"retry_after": 9}));
    let (outcome, _) = exchange(Telegram, Reply::status(200).with_body(busy)).await;
    assert!(matches!(outcome, SendOutcome::Transient { after_s: Some(9), reached: true, .. }), "{outcome:?}");
    let rows = [
        row(200, telegram_error(403, "Forbidden", Value::Null), "refused", "403"),
        row(200, json!({"ok": false}), "retry", "500"),
        row(200, telegram_error(200, "x", Value::Null), "retry", "Response: x"),
        row(200, "", "refused", "check url"),
    ];
    check(Telegram, rows).await;

    check(Slack, [row(200, "no_service", "refused", "Slack responds with ok")]).await;
}

#[tokio::test]
async fn web_page_is_not_a_delivery() {
    for kind in ALL {
        check(kind, [row(200, "\n<!DOCTYPE html><title>Log in</title>", "refused", "200 OK; ")]).await;
    }
}

#[tokio::test]
async fn honours_retry_after() {
    for kind in ALL {
        let values = ["3600", "99999999999999999999999", "soon", "-5", "1e5", "\u{e9}t\u{e9}"];
        let busy =
            |value: &str| Reply::status(429).with_body(kind.body(429)).with_header("Retry-After", value);
        let waits = waits(kind, values.map(busy)).await;
        assert_eq!(waits, [Some(3600), Some(u64::MAX), None, None, None, None], "{kind:?}");
        let date = self::waits(kind, [busy("Fri, 01 Jan 2100 00:00:00 GMT")]).await;
        assert!(date[0] > Some(1_000_000), "{kind:?}: {date:?}");
    }
}

async fn waits(kind: Kind, replies: impl IntoIterator<Item = Reply>) -> Vec<Option<u64>> {
    let wait = |outcome| match outcome {
        SendOutcome::Transient { after_s, reached: true, .. } => after_s,
        other => panic!("{kind:?}: {other:?}"),
    };
    outcomes(kind, replies).await.into_iter().map(wait).collect()
}

#[tokio::test]
async fn honours_service_specific_retry_delays() {
    let discord_reply = |seconds: Value| {
        let body = json!({"message": "You are being rate limited.", "retry_after": seconds, "global": false});
        Reply::status(429).with_body(body.to_string())
    };
    let replies = [
        discord_reply(json!(64.57)),
        discord_reply(json!(64.57)).with_header("Retry-After", "7"),
        discord_reply(json!(1e300)),
        discord_reply(json!(-1.5)),
        discord_reply(json!("1.5")),
        discord_reply(json!(-1.5)).with_header("Retry-After", "7"),
        discord_reply(Value::Null).with_header("Retry-After", "7"),
        Reply::status(429).with_header("X-RateLimit-Reset-After", "1.2"),
        Reply::status(429).with_header("X-RateLimit-Reset-After", "1.2").with_header("Retry-After", "7"),
        Reply::status(429).with_header("X-RateLimit-Reset-After", "inf"),
    ];
    let expected = [Some(65), Some(65), Some(u64::MAX), None, None, Some(7), Some(7), Some(2), Some(7), None];
    assert_eq!(waits(Discord, replies).await, expected);

    let telegram_reply = |seconds: Value| {
        let body = telegram_error(429, "Too Many Requests", json!({"retry_after": seconds}));
        Reply::status(429).with_body(body)
    };
    let replies = [json!(35), json!(u64::MAX), json!(-35), Value::Null].map(telegram_reply);
    assert_eq!(waits(Telegram, replies).await, [Some(35), Some(u64::MAX), None, None]);
}

#[tokio::test]
async fn reads_long_echoed_responses() {
    let text = "\\u30d0".repeat(4_096);
    let body = format!("{{\"embeds\":[{{\"description\":\"{text}\"}}],\"id\":\"1420\"}}");
    check(Discord, [row(200, body, "delivered", "200 OK; message 1420")]).await;
    let body = format!("{{\"ok\":true,\"result\":{{\"text\":\"{text}\",\"message_id\":42}}}}");
    check(Telegram, [row(200, body, "delivered", "200 OK; message 42")]).await;
}

#[tokio::test]
async fn telegram_end_replies_to_its_start() {
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
async fn does_not_follow_redirects() {
    for kind in ALL {
        let elsewhere = HttpServer::start([kind.good()]).await;
        let redirect = Reply::status(307).with_header("Location", elsewhere.url("/T0PATHSECRET"));
        let (outcome, _) = exchange(kind, redirect).await;
        assert_eq!(outcome_name(&outcome), "refused", "{outcome:?}");
        assert!(elsewhere.is_quiet());
    }
}

#[tokio::test]
async fn distinguishes_unreachable_servers_from_reset_connections() {
    for kind in ALL {
        let closed_port = ClosedPort::new();
        let outcome = kind.channel(&format!("http://{}", closed_port.address)).send(&notice()).await;
        assert_eq!(outcome_name(&outcome), "not reached", "{kind:?}: {outcome:?}");
        check_detail(kind, &outcome);
        let resets = outcomes(kind, [Reply::ResetBeforeReading, Reply::ResetAfterReading]).await;
        assert_eq!(
            resets.iter().map(outcome_name).collect::<Vec<_>>(),
            ["retry", "retry"],
            "{kind:?}: {resets:?}"
        );
    }
}

#[tokio::test]
async fn times_out_if_the_server_never_responds() {
    for kind in ALL {
        let mut peer = HttpServer::start([Reply::Never]).await;
        let mut channel = kind.channel(&peer.url(""));
        let notice = notice();
        let silence = async {
            peer.next().await;
            // Only the deadline is left, so the paused clock jumps to it.
            tokio::time::pause();
        };
        let (outcome, ()) = tokio::join!(channel.send(&notice), silence);
        tokio::time::resume();
        let detail = "127.0.0.1 did not respond within 20 s".to_owned();
        assert_eq!(outcome, SendOutcome::Transient { after_s: None, reached: true, detail });
    }
}

#[tokio::test]
async fn truncated_response_keeps_its_outcome() {
    for kind in ALL {
        let cut = outcomes(kind, [Reply::CutBody(503), Reply::CutBody(404)]).await;
        assert_eq!(
            cut.iter().map(outcome_name).collect::<Vec<_>>(),
            ["retry", "refused"],
            "{kind:?}: {cut:?}"
        );
    }
    for (kind, half) in
        [(Slack, ""), (Slack, "o"), (Discord, "{\"id\":\"14"), (Telegram, "{\"ok\":true,\"result\":{\"mess")]
    {
        check(kind, [row(200, half, "delivered", "200 OK")]).await;
    }
}

#[tokio::test]
async fn redacts_secrets_in_logs_and_debug_output() {
    let log = log::everything();
    for kind in ALL {
        exchange(kind, kind.good()).await;
        // A channel knows only its own secrets.
        let own = SECRETS.iter().copied().filter(|secret| kind.target().contains(secret));
        let echo = format!("Cannot {}: {}", own.collect::<Vec<_>>().join(" or "), kind.target());
        let echoes = [
            echo.clone(),
            json!({"message": echo, "error": {"code": "x", "message": echo}}).to_string(),
            telegram_error(400, &echo, Value::Null),
        ];
        check(kind, echoes.map(|echo| row(400, echo, "refused", "Cannot ***"))).await;
        exchange(kind, Reply::ResetAfterReading).await;
        let closed_port = ClosedPort::new();
        let mut unreached = kind.channel(&format!("http://{}", closed_port.address));
        unreached.send(&notice()).await;
        let logged: String = log.try_iter().collect();
        assert!(logged.contains("127.0.0.1"), "the log contains lines of dependencies: {logged}");
        let printed = format!("{unreached:?} {unreached:#?} {logged}");
        for secret in SECRETS {
            assert!(!printed.contains(secret), "{kind:?}: {printed}");
        }
    }
}
