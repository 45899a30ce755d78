//! The email channel against a real mail server and a scripted one.

use std::path::{Path, PathBuf};

use crate::common::apple::{ServerCert, acceptor};
use crate::common::http_server::ClosedPort;
use crate::common::mail::{Action, Fault, GREETING, MESSAGE, MailServer, ScriptedServer, Stream};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use statusd::channel::Transport as _;
use statusd::channel::email::Email;
use statusd::channel::email::{SecuritySetting, Settings};
use statusd::channel::{Audience, Channel, Notice, SendOutcome};
use statusd::delivery::policy::Policy;
use statusd::delivery::{self, Receiver, Round};
use statusd::model::{Change, ChangeKind, Edition, FeedId, Severity};
use statusd::secret::Secret;
use statusd::store::Store;
use statusd::tracking::watchlist::Watchlist;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const USER: &str = "me@example.org";
const PASSWORD: &str = "correct horse";
/// The password as encoded for AUTH LOGIN and AUTH PLAIN.
const ENCODED: [&str; 2] = ["Y29ycmVjdCBob3JzZQ==", "AG1lQGV4YW1wbGUub3JnAGNvcnJlY3QgaG9yc2U="];

fn notice() -> Notice {
    Notice {
        key: "consumer/en_US/icloud%20backup/1002938/1/began".to_owned(),
        title: "iCloud Backup is down — “<Störung>”".to_owned(),
        body: "Since 02:10.\n.\nApple writes: “Users may be unable to back up.” <b>&".to_owned(),
        severity: Severity::Alert,
        payload: String::new(),
        replaces: None,
        follows: None,
    }
}

fn settings(port: u16, security: SecuritySetting) -> Settings {
    Settings {
        server: "127.0.0.1".to_owned(),
        port: Some(port),
        security,
        user: Some(USER.to_owned()),
        password: None,
        password_file: Some("/run/credentials/mail".into()),
        from: "statusd <me@example.org>".to_owned(),
        to: vec!["you@example.com".to_owned()],
        ca_file: None,
    }
}

fn email(settings: &Settings) -> Email {
    let read = |path: &Path| {
        assert_eq!(path, Path::new("/run/credentials/mail"));
        Ok(Secret::new(format!("{PASSWORD}\n")))
    };
    Email::new(settings, &read).expect("a channel")
}

/// Settings for a scripted server without encryption.
fn plain(peer: &ScriptedServer) -> Settings {
    settings(peer.address.port(), SecuritySetting::None)
}

fn with_recipients(settings: Settings, to: &[&str]) -> Settings {
    Settings { to: to.iter().map(|&address| address.to_owned()).collect(), ..settings }
}

#[track_caller]
fn check_detail(outcome: &SendOutcome) {
    let detail = outcome.detail();
    assert!(detail.starts_with("127.0.0.1 ") && !detail.contains(char::is_control), "{detail}");
    for secret in ENCODED.into_iter().chain([PASSWORD]) {
        assert!(!detail.contains(secret), "{detail}");
    }
}

#[track_caller]
fn receipt(outcome: &SendOutcome) -> &str {
    check_detail(outcome);
    match outcome {
        SendOutcome::Delivered { receipt: Some(receipt), .. } => receipt,
        other => panic!("not delivered with a receipt: {other:?}"),
    }
}

#[track_caller]
fn check_retry(outcome: &SendOutcome, was_reached: bool, expected: &str) {
    check_detail(outcome);
    let SendOutcome::Transient { after_s: None, reached, detail } = outcome else {
        panic!("{expected}: {outcome:?}")
    };
    assert!(*reached == was_reached && detail.contains(expected), "{expected}: {outcome:?}");
}

#[track_caller]
fn check_unclear(outcome: &SendOutcome, expected: &str) {
    check_detail(outcome);
    let SendOutcome::Unclear { detail } = outcome else { panic!("{expected}: {outcome:?}") };
    assert!(detail.contains(expected), "{expected}: {detail}");
}

#[track_caller]
fn check_refused(outcome: &SendOutcome, expected: &str) {
    check_detail(outcome);
    let SendOutcome::Permanent { detail } = outcome else { panic!("{expected}: {outcome:?}") };
    assert!(detail.contains(expected) && detail.contains("; "), "{expected}: {detail}");
}

async fn send_to_real_server(security: SecuritySetting, word: &str) -> (Value, SendOutcome) {
    let mut server = MailServer::start(word, ServerCert::Valid, Some((USER, PASSWORD))).await;
    let settings = Settings { ca_file: Some(server.ca_file.clone()), ..settings(server.port, security) };
    let outcome = email(&settings).send(&notice()).await;
    assert!(matches!(outcome, SendOutcome::Delivered { .. }), "{outcome:?}");
    (server.next().await, outcome)
}

#[tokio::test]
async fn real_server_accepts_mail_with_every_security_setting() {
    for (security, word) in [
        (SecuritySetting::StartTls, "starttls"),
        (SecuritySetting::Tls, "tls"),
        (SecuritySetting::None, "none"),
    ] {
        let (message, outcome) = send_to_real_server(security, word).await;
        assert_eq!(
            outcome.detail(),
            "127.0.0.1 accepted the message. Response: 250 2.0.0 Ok: queued as 4711"
        );
        assert_eq!(message["header"]["message-id"], receipt(&outcome));
        assert_eq!(
            (&message["from"], &message["to"]),
            (&json!("me@example.org"), &json!(["you@example.com"]))
        );
        assert_eq!(message["logged_in"], json!(true), "{word}");
        if word == "starttls" {
            assert_eq!(message["encrypted"], json!(true));
        }
    }
}

#[tokio::test]
async fn independent_parser_reads_the_message() {
    let (message, _) = send_to_real_server(SecuritySetting::None, "none").await;
    let header = &message["header"];
    assert_eq!(header["subject"], json!(notice().title));
    assert_eq!(header["from"], json!("statusd <me@example.org>"));
    assert_eq!(header["auto-submitted"], json!("auto-generated"));
    assert_eq!(header["importance"], json!("high"));
    assert_eq!(message["defects"], json!([]));
    let plain = message["plain"].as_str().expect("text").replace("\r\n", "\n");
    assert!(plain.starts_with(&format!("{}\n\n{}\n\n", notice().title, notice().body)), "{plain}");
    let html = message["html"].as_str().expect("HTML");
    assert!(html.contains("“Users may be unable to back up.” &lt;b&gt;&amp;</p>"), "{html}");
}

#[tokio::test]
async fn does_not_authenticate_without_credentials() {
    let mut server = MailServer::start("none", ServerCert::Valid, None).await;
    let settings =
        Settings { user: None, password_file: None, ..settings(server.port, SecuritySetting::None) };
    let outcome = email(&settings).send(&notice()).await;
    receipt(&outcome);
    assert_eq!(server.next().await["logged_in"], Value::Null);
}

#[tokio::test]
async fn wrong_password_is_permanent_with_advice() {
    let server = MailServer::start("starttls", ServerCert::Valid, Some((USER, "another"))).await;
    let settings = Settings {
        ca_file: Some(server.ca_file.clone()),
        ..settings(server.port, SecuritySetting::StartTls)
    };
    let outcome = email(&settings).send(&notice()).await;
    check_refused(&outcome, "returned 535 5.7.8 ");
    check_refused(&outcome, "; check user and password in the config");
}

#[tokio::test]
async fn missing_login_is_permanent_with_advice() {
    let server = MailServer::start("none", ServerCert::Valid, Some((USER, PASSWORD))).await;
    let settings =
        Settings { user: None, password_file: None, ..settings(server.port, SecuritySetting::None) };
    check_refused(
        &email(&settings).send(&notice()).await,
        "the server requires a login; write user and password",
    );
}

#[tokio::test]
async fn sends_nothing_to_a_server_with_a_bad_certificate() {
    for (security, word) in [(SecuritySetting::StartTls, "starttls"), (SecuritySetting::Tls, "tls")] {
        for (cert, expected) in [
            (ServerCert::Expired, "certificate"),
            (ServerCert::NotYetValid, "certificate"),
            (ServerCert::WrongHost, "certificate"),
        ] {
            let server = MailServer::start(word, cert, None).await;
            let ca_file = Some(server.ca_file.clone());
            let outcome =
                email(&Settings { ca_file, ..settings(server.port, security) }).send(&notice()).await;
            check_retry(&outcome, false, expected);
        }
        // An unknown authority.
        let server = MailServer::start(word, ServerCert::Valid, None).await;
        let outcome = email(&settings(server.port, security)).send(&notice()).await;
        check_retry(&outcome, false, "certificate");
    }
}

/// Sends one notice to a server with these faults. Returns the outcome and the client's lines.
async fn send_scripted(faults: Vec<Fault>) -> (SendOutcome, Vec<String>) {
    let mut peer = ScriptedServer::start(vec![faults], None).await;
    let outcome = email(&plain(&peer)).send(&notice()).await;
    check_detail(&outcome);
    (outcome, peer.rest())
}

#[tokio::test]
async fn delivers_a_message_in_one_session() {
    let (outcome, lines) = send_scripted(Vec::new()).await;
    assert_eq!(outcome.detail(), "127.0.0.1 accepted the message. Response: 250 2.0.0 queued as 1");
    let first = |line: &String| line.lines().next().unwrap_or_default().to_owned();
    let expected = [
        GREETING,
        "EHLO [127.0.0.1]",
        "AUTH PLAIN AG1lQGV4YW1wbGUub3JnAGNvcnJlY3QgaG9yc2U=",
        "MAIL FROM:<me@example.org>",
        "RCPT TO:<you@example.com>",
        "DATA",
        MESSAGE,
    ];
    assert_eq!(lines.iter().map(first).collect::<Vec<_>>()[..expected.len()], expected);
}

#[tokio::test]
async fn classifies_every_error_reply_at_every_stage() {
    let stages = [
        (GREETING, "the server accepts no mail from this computer"),
        ("EHLO", "the server accepts no mail from this computer"),
        ("AUTH", "check user and password"),
        ("MAIL", "check `from`"),
        ("RCPT", "check `to`"),
        ("DATA", "ask the administrator of the mail server"),
        (MESSAGE, "ask the administrator of the mail server"),
    ];
    for (stage, advice) in stages {
        // Only after the message data may the server have accepted the message.
        let reached = stage == MESSAGE;
        for (reply, expected) in [
            ("421 4.3.2 closing", "421 4.3.2 closing"),
            ("450 4.2.0 greylisted", "450 4.2.0 greylisted"),
            ("451-4.7.1 wait\r\n451 4.7.1 five minutes", "451 4.7.1 wait five minutes"),
            ("452 4.5.3 too many", "452 4.5.3 too many"),
            ("454 4.7.0 not now", "454 4.7.0 not now"),
        ] {
            let (outcome, _) = send_scripted(vec![(stage, Action::Reply(reply))]).await;
            check_retry(&outcome, reached, expected);
        }
        for reply in ["500 what?", "501 no", "535 5.7.8 no", "550 5.7.1 no", "553 no", "554 5.7.1 no"] {
            let (outcome, _) = send_scripted(vec![(stage, Action::Reply(reply))]).await;
            check_refused(&outcome, reply);
            check_refused(&outcome, advice);
        }
    }
    let (outcome, _) = send_scripted(vec![("MAIL", Action::Reply("530 5.7.0 login first"))]).await;
    check_refused(&outcome, "write user and password");
    let (outcome, _) = send_scripted(vec![(MESSAGE, Action::Reply("552 5.2.2 full"))]).await;
    check_refused(&outcome, "free space in the mailbox");
}

#[tokio::test]
async fn retries_after_a_broken_connection_at_every_stage() {
    for stage in [GREETING, "EHLO", "AUTH", "MAIL", "RCPT", "DATA", MESSAGE] {
        for action in [Action::Reset, Action::Close, Action::RawThenClose(b"25")] {
            let (outcome, _) = send_scripted(vec![(stage, action)]).await;
            check_retry(&outcome, stage == MESSAGE, "127.0.0.1 ");
        }
        // After the message data such a reply is unclear.
        for action in [
            Action::Reply("hello"),
            Action::Reply("999 what is this"),
            Action::Reply("12"),
            Action::Reply(""),
            Action::Raw(b"\xff\xfe\x00\r\n"),
        ] {
            match send_scripted(vec![(stage, action)]).await.0 {
                outcome if stage == MESSAGE => {
                    check_unclear(&outcome, "received the message, but replied \"")
                }
                outcome => check_retry(&outcome, false, "sent the unexpected reply"),
            }
        }
    }
}

#[tokio::test]
async fn wrong_reply_code_is_not_a_receipt() {
    for (stage, reply) in [
        ("AUTH PLAIN", "354 go ahead"),
        ("MAIL", "354 go ahead"),
        ("RCPT", "354 go ahead"),
        ("DATA", "250 Ok"),
        (MESSAGE, "354 go ahead"),
    ] {
        let (outcome, lines) = send_scripted(vec![(stage, Action::Reply(reply))]).await;
        match stage {
            MESSAGE => check_unclear(&outcome, "received the message, but replied \"354 go ahead\""),
            _ => check_retry(&outcome, false, "sent the unexpected reply"),
        }
        assert_eq!(lines.iter().any(|line| line.starts_with(MESSAGE)), stage == MESSAGE, "{stage}");
    }
}

#[tokio::test]
async fn times_out_at_every_stage() {
    for stage in [GREETING, "EHLO", "AUTH", "MAIL", "RCPT", "DATA", MESSAGE] {
        let mut peer = ScriptedServer::start(vec![vec![(stage, Action::Silence)]], None).await;
        let mut email = email(&plain(&peer));
        let notice = notice();
        let silence = async {
            peer.wait_for_line(stage).await;
            // Only the deadline is left, so the paused clock jumps to it.
            tokio::time::pause();
        };
        let (outcome, ()) = tokio::join!(email.send(&notice), silence);
        tokio::time::resume();
        check_retry(&outcome, stage == MESSAGE, "did not complete the session within 30 s");
    }
}

#[tokio::test]
async fn accepted_message_stays_delivered_if_quit_fails() {
    let mut peer = ScriptedServer::start(vec![vec![("QUIT", Action::Silence)]], None).await;
    let mut email = email(&plain(&peer));
    let notice = notice();
    let silence = async {
        peer.wait_for_line("QUIT").await;
        tokio::time::pause();
    };
    let (outcome, ()) = tokio::join!(email.send(&notice), silence);
    tokio::time::resume();
    receipt(&outcome);

    for action in [Action::Reset, Action::Reply("550 no"), Action::Reply("what?")] {
        receipt(&send_scripted(vec![("QUIT", action)]).await.0);
    }
}

#[tokio::test]
async fn rejected_recipient_does_not_affect_the_others() {
    let mut server = MailServer::start("none", ServerCert::Valid, Some((USER, PASSWORD))).await;
    let settings = with_recipients(
        settings(server.port, SecuritySetting::None),
        &["you@example.com", "nobody@example.com", "they@example.com"],
    );
    let outcome = email(&settings).send(&notice()).await;
    receipt(&outcome);
    let detail = "127.0.0.1 accepted the message for 2 of 3 recipients; nobody@example.com: 550 5.1.1 no such user here. \
                 Response: 250 2.0.0 Ok: queued as 4711";
    assert_eq!(outcome.detail(), detail);
    let message = server.next().await;
    assert_eq!(message["to"], json!(["you@example.com", "they@example.com"]));

    let nobodies: Vec<String> = (0..5).map(|number| format!("nobody@{number}.example.com")).collect();
    let outcome = email(&Settings { to: nobodies, ..settings }).send(&notice()).await;
    check_refused(&outcome, "127.0.0.1 rejected all recipients; nobody@0.example.com: 550 5.1.1 no");
    check_refused(&outcome, "; and 2 more; check `to` in the config");
}

#[tokio::test]
async fn stops_after_the_server_closes_the_session() {
    let closing = ("RCPT TO:<a@", Action::Reply("421 4.3.2 closing"));
    let mut peer = ScriptedServer::start(vec![vec![closing]], None).await;
    let outcome =
        email(&with_recipients(plain(&peer), &["a@example.com", "b@example.com"])).send(&notice()).await;
    check_retry(&outcome, false, "returned the temporary error 421 4.3.2 closing");
    assert!(!peer.rest().iter().any(|line| line.starts_with("RCPT TO:<b@")));
}

#[tokio::test]
async fn skips_recipients_that_already_accepted() {
    let greylisted = ("RCPT TO:<b@", Action::Reply("450 4.2.0 greylisted"));
    let scripts =
        vec![vec![greylisted], vec![("MAIL", Action::Close)], vec![greylisted], Vec::new(), Vec::new()];
    let mut peer = ScriptedServer::start(scripts, None).await;
    let settings = with_recipients(plain(&peer), &["a@example.com", "b@example.com"]);
    let mut email = email(&settings);

    let outcome = email.send(&notice()).await;
    check_retry(
        &outcome,
        true,
        "accepted the message for 1 of 2 recipients; b@example.com: 450 4.2.0 greylisted",
    );
    let first = peer.wait_for_line(MESSAGE).await;
    peer.rest();
    check_retry(&email.send(&notice()).await, true, "did not complete the session");
    peer.rest();
    check_retry(&email.send(&notice()).await, true, "accepted the message for 1 of 2 recipients");
    assert!(!peer.rest().iter().any(|line| line.starts_with(MESSAGE)));
    receipt(&email.send(&notice()).await);
    let lines = peer.rest();
    assert!(!lines.iter().any(|line| line.starts_with("RCPT TO:<a@")), "{lines:?}");
    let second = lines.iter().find(|line| line.starts_with(MESSAGE)).expect("a message");
    assert_eq!(without_date(second), without_date(&first), "the same message, to the other one");

    // The next message goes to all recipients.
    receipt(&email.send(&Notice { key: "another".to_owned(), ..notice() }).await);
    assert!(peer.rest().iter().any(|line| line.starts_with("RCPT TO:<a@")));
}

fn without_date(message: &str) -> String {
    message.lines().filter(|line| !line.starts_with("Date: ")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn accepted_recipients_apply_to_one_message_only() {
    let greylisted = ("RCPT TO:<b@", Action::Reply("450 4.2.0 greylisted"));
    let mut peer = ScriptedServer::start(vec![vec![greylisted], Vec::new()], None).await;
    let mut email = email(&with_recipients(plain(&peer), &["a@example.com", "b@example.com"]));
    check_retry(&email.send(&notice()).await, true, "accepted the message for 1 of 2 recipients");
    peer.rest();
    receipt(&email.send(&Notice { key: "another".to_owned(), ..notice() }).await);
    assert!(peer.rest().iter().any(|line| line.starts_with("RCPT TO:<a@")));
}

#[tokio::test]
async fn every_attempt_sends_the_same_message_and_ends_reply_to_starts() {
    let mut peer =
        ScriptedServer::start(vec![vec![(MESSAGE, Action::Reply("451 4.3.0 disk"))], Vec::new()], None).await;
    let mut email = email(&plain(&peer));
    check_retry(&email.send(&notice()).await, true, "451 4.3.0 disk");
    let outcome = email.send(&notice()).await;
    let (first, second) = (peer.wait_for_line(MESSAGE).await, peer.wait_for_line(MESSAGE).await);
    assert_eq!(without_date(&first), without_date(&second));
    assert!(first.contains("\r\n..\r\n"), "a line with one dot is not the end: {first}");

    let start = receipt(&outcome).to_owned();
    let end = Notice { key: "x/ended".to_owned(), follows: Some(start.clone()), ..notice() };
    receipt(&email.send(&end).await);
    let third = peer.wait_for_line(MESSAGE).await;
    assert!(third.contains(&format!("In-Reply-To: {start}\r\n")), "{third}");
}

#[tokio::test]
async fn sends_nothing_without_encryption() {
    // A network that removes STARTTLS from the reply.
    let mut peer = ScriptedServer::start(vec![Vec::new()], None).await;
    let outcome = email(&settings(peer.address.port(), SecuritySetting::StartTls)).send(&notice()).await;
    check_retry(&outcome, false, "does not offer STARTTLS");
    let lines = peer.rest();
    assert!(
        lines.iter().all(|line| ["EHLO [127.0.0.1]", GREETING, "QUIT"].contains(&line.as_str())),
        "{lines:?}"
    );

    // A server that offers STARTTLS and then fails.
    let offers = ("EHLO", Action::Reply("250-mail.test\r\n250 STARTTLS"));
    for action in
        [Action::Reply("454 4.7.0 no TLS now"), Action::Reply("220 go\r\n250 plain text"), Action::Close]
    {
        let mut peer = ScriptedServer::start(vec![vec![offers, ("STARTTLS", action)]], None).await;
        let outcome = email(&settings(peer.address.port(), SecuritySetting::StartTls)).send(&notice()).await;
        check_retry(&outcome, false, "127.0.0.1 ");
        assert!(!peer.rest().iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")));
    }
    let (outcome, _) = send_scripted(vec![("EHLO", Action::Reply("250 mail.test"))]).await;
    check_refused(&outcome, "offers no login with a password");
}

/// Replies from before the handshake must be discarded (RFC 3207, 4.2). An injected reply would shift all
/// later ones and turn "go ahead" into a receipt.
#[tokio::test]
async fn rejects_replies_injected_before_tls() {
    let (tls, authority) = acceptor(ServerCert::Valid);
    let directory = TempDir::new().expect("a directory");
    let ca_file: PathBuf = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority).expect("a file");
    let slipped = ("STARTTLS", Action::Raw(b"220 go\r\n250-mail.test\r\n250 AUTH PLAIN\r\n"));
    for faults in [vec![slipped], vec![slipped, (MESSAGE, Action::Reply("550 no"))]] {
        let mut peer = ScriptedServer::start(vec![faults], Some(tls.clone())).await;
        let settings = Settings {
            ca_file: Some(ca_file.clone()),
            ..settings(peer.address.port(), SecuritySetting::StartTls)
        };
        check_retry(
            &email(&settings).send(&notice()).await,
            false,
            "the server replied before the command was sent",
        );
        assert!(!peer.rest().iter().any(|line| line.starts_with(MESSAGE)));
    }
    // The same server without injected replies.
    let peer = ScriptedServer::start(vec![Vec::new()], Some(tls)).await;
    let settings =
        Settings { ca_file: Some(ca_file), ..settings(peer.address.port(), SecuritySetting::StartTls) };
    receipt(&email(&settings).send(&notice()).await);
}

#[tokio::test]
async fn absent_server_was_not_reached() {
    let closed_port = ClosedPort::new();
    for security in [SecuritySetting::None, SecuritySetting::Tls, SecuritySetting::StartTls] {
        let outcome = email(&settings(closed_port.address.port(), security)).send(&notice()).await;
        check_retry(&outcome, false, "cannot be reached: connection refused");
    }
    let settings = Settings { server: "mail.invalid".to_owned(), ..settings(25, SecuritySetting::Tls) };
    let outcome = email(&settings).send(&notice()).await;
    let SendOutcome::Transient { reached: false, detail, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(detail.starts_with("mail.invalid cannot be reached: "), "{detail}");
}

#[tokio::test]
async fn auth_login_works_and_is_redacted() {
    let only_login = ("EHLO", Action::Reply("250-mail.test\r\n250 AUTH LOGIN"));
    let script = vec![
        only_login,
        ("AUTH LOGIN", Action::Reply("334 VXNlcm5hbWU6")),
        ("bWVAZXhhbXBsZS5vcmc=", Action::Reply("334 UGFzc3dvcmQ6")),
        ("Y29ycmVjdCBob3JzZQ==", Action::Reply("235 welcome")),
    ];
    receipt(&send_scripted(script.clone()).await.0);
    let quoting =
        ("Y29ycmVjdCBob3JzZQ==", Action::Reply("535 I do not like Y29ycmVjdCBob3JzZQ==, correct horse"));
    let (outcome, _) = send_scripted([&script[..3], &[quoting]].concat()).await;
    check_refused(&outcome, "535 I do not like ***, ***; check");
    let quoting = ("AUTH", Action::Reply("535 AG1lQGV4YW1wbGUub3JnAGNvcnJlY3QgaG9yc2U="));
    check_refused(&send_scripted(vec![quoting]).await.0, "returned 535 ***; check");
}

#[tokio::test]
async fn bounds_long_replies() {
    let flood: &'static str = Box::leak(format!("550 {}", "\u{1b}[31mx\u{202e}".repeat(90)).into_boxed_str());
    let (outcome, _) = send_scripted(vec![("MAIL", Action::Reply(flood))]).await;
    check_refused(&outcome, "550 [31mx");
    assert!(outcome.detail().chars().count() < 400, "{outcome:?}");
    let endless: &'static [u8] = Box::leak(vec![b'x'; 1 << 20].into_boxed_slice());
    let (outcome, _) = send_scripted(vec![(MESSAGE, Action::Raw(endless))]).await;
    check_unclear(&outcome, "received the message, but replied \"xxx");
}

/// The reply code decides, not its text (RFC 5321, 4.2).
#[tokio::test]
async fn code_250_with_any_text_is_a_delivery() {
    let taken: [&[u8]; 9] = [
        b"250\r\n",
        b"250 \r\n",
        b"250\n",
        b"250 angenommen \xe4\xf6\xfc\r\n",
        b"250-\xff\xfe\r\n250\r\n",
        b"250-2.0.0 Ok\r\n250 2.0.0 queued\r\n",
        b"251 User not local\r\n",
        b"250\tok\r\n",
        b"250 \0\x1b[2J\r\n",
    ];
    for bytes in taken {
        let (outcome, lines) = send_scripted(vec![(MESSAGE, Action::Raw(bytes))]).await;
        receipt(&outcome);
        assert_eq!(lines.iter().filter(|line| line.starts_with(MESSAGE)).count(), 1);
    }
    // A reply that breaks off after its code counts.
    for bytes in [&b"250 half a rep"[..], b"250-first\r\n25", b"250"] {
        receipt(&send_scripted(vec![(MESSAGE, Action::RawThenClose(bytes))]).await.0);
    }
}

#[tokio::test]
async fn recognises_rejections_in_every_encoding() {
    for stage in [GREETING, "EHLO", "AUTH", "MAIL", "RCPT", "DATA", MESSAGE] {
        for bytes in [&b"550\r\n"[..], b"550 \xe4\xf6\r\n", b"550-\xff\r\n550\r\n", b"550\n"] {
            let (outcome, _) = send_scripted(vec![(stage, Action::Raw(bytes))]).await;
            check_refused(&outcome, "550");
        }
        for bytes in [&b"450\r\n"[..], b"450 sp\xe4ter\r\n"] {
            let (outcome, _) = send_scripted(vec![(stage, Action::Raw(bytes))]).await;
            check_retry(&outcome, stage == MESSAGE, "450");
        }
    }
}

#[tokio::test]
async fn keywords_are_case_insensitive() {
    let offers = ("EHLO", Action::Reply("250-mail.test\r\n250-starttls\r\n250 auth login plain"));
    let (tls, authority) = acceptor(ServerCert::Valid);
    let directory = TempDir::new().expect("a directory");
    let ca_file: PathBuf = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority).expect("a file");
    let mut peer = ScriptedServer::start(vec![vec![offers]], Some(tls)).await;
    let settings =
        Settings { ca_file: Some(ca_file), ..settings(peer.address.port(), SecuritySetting::StartTls) };
    receipt(&email(&settings).send(&notice()).await);
    let lines = peer.rest();
    assert!(lines.contains(&"STARTTLS".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("AUTH PLAIN ")), "{lines:?}");
}

#[tokio::test]
async fn tries_the_next_auth_mechanism() {
    for refusal in ["504 5.5.4 unrecognized", "534 5.7.9 too weak", "535 5.7.8 no", "501 what?"] {
        let script = vec![
            ("AUTH PLAIN", Action::Reply(refusal)),
            ("AUTH LOGIN", Action::Reply("334 VXNlcm5hbWU6")),
            ("bWVAZXhhbXBsZS5vcmc=", Action::Reply("334 UGFzc3dvcmQ6")),
            ("Y29ycmVjdCBob3JzZQ==", Action::Reply("235 welcome")),
        ];
        receipt(&send_scripted(script).await.0);
    }
    // A server that asks for the initial response again (RFC 4954, 4).
    let script = vec![
        ("AUTH PLAIN", Action::Reply("334")),
        ("AG1lQGV4YW1wbGUub3JnAGNvcnJlY3QgaG9yc2U=", Action::Reply("235")),
    ];
    receipt(&send_scripted(script).await.0);
    // After a transient failure no other mechanism is tried.
    let (outcome, lines) = send_scripted(vec![("AUTH", Action::Reply("454 4.7.0 not now"))]).await;
    check_retry(&outcome, false, "454");
    assert_eq!(lines.iter().filter(|line| line.starts_with("AUTH")).count(), 1);
}

#[tokio::test]
async fn falls_back_to_helo() {
    let script = vec![("EHLO", Action::Reply("502 what?")), ("HELO", Action::Reply("250 mail.test"))];
    let peer = ScriptedServer::start(vec![script], None).await;
    let settings = Settings { user: None, password_file: None, ..plain(&peer) };
    receipt(&email(&settings).send(&notice()).await);
}

/// Sends to a server with an endless reply at one stage. Returns the outcome and the bytes it could send.
async fn send_to_endless_server(
    security: SecuritySetting,
    stage: &'static str,
    line: &'static [u8],
) -> (SendOutcome, usize) {
    const BYTES: usize = 64 << 20;
    let (tls, authority) = acceptor(ServerCert::Valid);
    let directory = TempDir::new().expect("a directory");
    let ca_file: PathBuf = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority).expect("a file");
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let settings = Settings {
        ca_file: (security == SecuritySetting::Tls).then_some(ca_file),
        ..settings(listener.local_addr().expect("a port").port(), security)
    };
    let server = async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut stream: Box<dyn Stream> = match security {
            SecuritySetting::Tls => Box::new(tls.accept(stream).await.expect("a handshake")),
            _ => Box::new(stream),
        };
        for (step, reply) in [
            (GREETING, "220 x"),
            ("EHLO", "250-x\r\n250 AUTH PLAIN"),
            ("AUTH", "235"),
            ("MAIL", "250"),
            ("RCPT", "250"),
            ("DATA", "354"),
        ] {
            if step == stage {
                break;
            }
            stream.write_all(format!("{reply}\r\n").as_bytes()).await.expect("a client");
            while stream.read_u8().await.expect("a command") != b'\n' {}
        }
        let block = line.repeat(64 * 1024 / line.len());
        let mut sent_bytes = 0;
        while sent_bytes < BYTES && stream.write_all(&block).await.is_ok() {
            sent_bytes += block.len();
        }
        sent_bytes
    };
    let (mut email, notice) = (email(&settings), notice());
    tokio::join!(email.send(&notice), server)
}

#[tokio::test]
async fn stops_reading_a_reply_after_16_kib() {
    for security in [SecuritySetting::None, SecuritySetting::Tls] {
        for stage in [GREETING, "EHLO", "MAIL", "DATA", MESSAGE] {
            for line in [&b"250-x\r\n"[..], b"550-x\r\n", b"250 x", b"xxxx"] {
                let (outcome, sent_bytes) = send_to_endless_server(security, stage, line).await;
                match (stage, line) {
                    (_, b"550-x\r\n") => check_refused(&outcome, "550 x x x"),
                    (MESSAGE, b"xxxx") => check_unclear(&outcome, "xxxx"),
                    (MESSAGE, _) => drop(receipt(&outcome)),
                    _ => check_retry(&outcome, false, "127.0.0.1 "),
                }
                // No more than the socket buffers of both ends.
                assert!(sent_bytes < 16 << 20, "{stage}: {sent_bytes} bytes");
            }
        }
    }
}

/// Each attempt may deliver a repeat, so there are three at most, also across restarts.
#[tokio::test]
async fn tries_an_unclear_reply_three_times() {
    let mut peer = ScriptedServer::start(vec![vec![(MESSAGE, Action::Reply("gr\u{fc}\u{df}e"))]], None).await;
    let feed = FeedId { edition: Edition::Consumer, locale: "en_US".to_owned() };
    let store = Store::open_in_memory().expect("a database");
    let start = Timestamp::from_second(1_750_000_000).expect("a time");
    let change = Change::bare(ChangeKind::Test, feed.clone(), start, start);
    store.record_change(&change, &|_| vec!["email.me".to_owned()], start).await.expect("written");
    let mut tries = 0;
    for hour in 0..10 {
        let now = start + SignedDuration::from_hours(hour);
        let channel = Channel::new("email.me", Audience::People, email(&plain(&peer)));
        let mut receiver =
            Receiver::new(channel, Policy::default(), feed.clone(), Watchlist::new(&["*"]), TimeZone::UTC);
        if let Round::Attempted { outcome, .. } =
            delivery::once(&store, &mut receiver, 0.0, &|| now).await.expect("a database")
        {
            check_unclear(&outcome, "received the message, but replied");
            tries += 1;
        }
    }
    assert_eq!(tries, 3);
    assert_eq!(peer.rest().iter().filter(|line| line.starts_with(MESSAGE)).count(), 3);
    let totals = store.totals().await.expect("numbers");
    assert_eq!((totals.pending, totals.given_up), (0, 1));
}
