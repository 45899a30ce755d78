//! The email channel against a real mail server and a scripted one.

use std::path::{Path, PathBuf};

use crate::common::apple::{Papers, acceptor};
use crate::common::http_server::Nobody;
use crate::common::mail::{Act, Fault, GREETING, LETTER, MailServer, Scripted, Wire};
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
    Email::new(settings, &read).expect("an email")
}

/// To a scripted server without encryption.
fn plain(peer: &Scripted) -> Settings {
    settings(peer.address.port(), SecuritySetting::None)
}

fn to(settings: Settings, to: &[&str]) -> Settings {
    Settings { to: to.iter().map(|&address| address.to_owned()).collect(), ..settings }
}

#[track_caller]
fn check_words(answer: &SendOutcome) {
    let words = answer.words();
    assert!(words.starts_with("127.0.0.1 ") && !words.contains(char::is_control), "{words}");
    for secret in ENCODED.into_iter().chain([PASSWORD]) {
        assert!(!words.contains(secret), "{words}");
    }
}

#[track_caller]
fn receipt(answer: &SendOutcome) -> &str {
    check_words(answer);
    match answer {
        SendOutcome::Delivered { receipt: Some(receipt), .. } => receipt,
        other => panic!("not delivered with a receipt: {other:?}"),
    }
}

#[track_caller]
fn check_retry(answer: &SendOutcome, was_reached: bool, said: &str) {
    check_words(answer);
    let SendOutcome::Transient { after_s: None, reached, words } = answer else {
        panic!("{said}: {answer:?}")
    };
    assert!(*reached == was_reached && words.contains(said), "{said}: {answer:?}");
}

#[track_caller]
fn check_unclear(answer: &SendOutcome, said: &str) {
    check_words(answer);
    let SendOutcome::Unclear { words } = answer else { panic!("{said}: {answer:?}") };
    assert!(words.contains(said), "{said}: {words}");
}

#[track_caller]
fn check_refused(answer: &SendOutcome, said: &str) {
    check_words(answer);
    let SendOutcome::Permanent { words } = answer else { panic!("{said}: {answer:?}") };
    assert!(words.contains(said) && words.contains("; "), "{said}: {words}");
}

async fn real(security: SecuritySetting, word: &str) -> (Value, SendOutcome) {
    let mut server = MailServer::start(word, Papers::Good, Some((USER, PASSWORD))).await;
    let settings = Settings { ca_file: Some(server.ca_file.clone()), ..settings(server.port, security) };
    let answer = email(&settings).send(&notice()).await;
    assert!(matches!(answer, SendOutcome::Delivered { .. }), "{answer:?}");
    (server.next().await, answer)
}

#[tokio::test]
async fn a_real_server_takes_it_over_every_kind_of_connection() {
    for (security, word) in [
        (SecuritySetting::StartTls, "starttls"),
        (SecuritySetting::Tls, "tls"),
        (SecuritySetting::None, "none"),
    ] {
        let (letter, answer) = real(security, word).await;
        assert_eq!(answer.words(), "127.0.0.1 took it. It says: 250 2.0.0 Ok: queued as 4711");
        assert_eq!(letter["header"]["message-id"], receipt(&answer));
        assert_eq!((&letter["from"], &letter["to"]), (&json!("me@example.org"), &json!(["you@example.com"])));
        assert_eq!(letter["logged_in"], json!(true), "{word}");
        if word == "starttls" {
            assert_eq!(letter["encrypted"], json!(true));
        }
    }
}

#[tokio::test]
async fn another_parser_reads_what_was_meant() {
    let (letter, _) = real(SecuritySetting::None, "none").await;
    let header = &letter["header"];
    assert_eq!(header["subject"], json!(notice().title));
    assert_eq!(header["from"], json!("statusd <me@example.org>"));
    assert_eq!(header["auto-submitted"], json!("auto-generated"));
    assert_eq!(header["importance"], json!("high"));
    assert_eq!(letter["defects"], json!([]));
    let plain = letter["plain"].as_str().expect("text").replace("\r\n", "\n");
    assert!(plain.starts_with(&format!("{}\n\n{}\n\n", notice().title, notice().body)), "{plain}");
    let html = letter["html"].as_str().expect("HTML");
    assert!(html.contains("“Users may be unable to back up.” &lt;b&gt;&amp;</p>"), "{html}");
}

#[tokio::test]
async fn without_a_login_none_is_tried() {
    let mut server = MailServer::start("none", Papers::Good, None).await;
    let settings =
        Settings { user: None, password_file: None, ..settings(server.port, SecuritySetting::None) };
    let answer = email(&settings).send(&notice()).await;
    receipt(&answer);
    assert_eq!(server.next().await["logged_in"], Value::Null);
}

#[tokio::test]
async fn a_wrong_password_is_refused_with_what_to_do() {
    let server = MailServer::start("starttls", Papers::Good, Some((USER, "another"))).await;
    let settings = Settings {
        ca_file: Some(server.ca_file.clone()),
        ..settings(server.port, SecuritySetting::StartTls)
    };
    let answer = email(&settings).send(&notice()).await;
    check_refused(&answer, "refuses: 535 5.7.8 ");
    check_refused(&answer, "; check user and password in the config");
}

#[tokio::test]
async fn a_server_that_wants_a_login_says_so() {
    let server = MailServer::start("none", Papers::Good, Some((USER, PASSWORD))).await;
    let settings =
        Settings { user: None, password_file: None, ..settings(server.port, SecuritySetting::None) };
    check_refused(&email(&settings).send(&notice()).await, "it wants a login; write user and password");
}

#[tokio::test]
async fn nothing_is_said_to_a_server_with_bad_papers() {
    for (security, word) in [(SecuritySetting::StartTls, "starttls"), (SecuritySetting::Tls, "tls")] {
        for (papers, said) in [
            (Papers::Expired, "certificate"),
            (Papers::NotYetValid, "certificate"),
            (Papers::WrongHost, "certificate"),
        ] {
            let server = MailServer::start(word, papers, None).await;
            let ca_file = Some(server.ca_file.clone());
            let answer =
                email(&Settings { ca_file, ..settings(server.port, security) }).send(&notice()).await;
            check_retry(&answer, false, said);
        }
        // Nobody vouches for it.
        let server = MailServer::start(word, Papers::Good, None).await;
        let answer = email(&settings(server.port, security)).send(&notice()).await;
        check_retry(&answer, false, "certificate");
    }
}

/// What a scripted server makes of a notice.
async fn scripted(faults: Vec<Fault>) -> (SendOutcome, Vec<String>) {
    let mut peer = Scripted::start(vec![faults], None).await;
    let answer = email(&plain(&peer)).send(&notice()).await;
    check_words(&answer);
    (answer, peer.rest())
}

#[tokio::test]
async fn a_letter_without_faults_is_one_conversation() {
    let (answer, lines) = scripted(Vec::new()).await;
    assert_eq!(answer.words(), "127.0.0.1 took it. It says: 250 2.0.0 queued as 1");
    let first = |line: &String| line.lines().next().unwrap_or_default().to_owned();
    let expected = [
        GREETING,
        "EHLO [127.0.0.1]",
        "AUTH PLAIN AG1lQGV4YW1wbGUub3JnAGNvcnJlY3QgaG9yc2U=",
        "MAIL FROM:<me@example.org>",
        "RCPT TO:<you@example.com>",
        "DATA",
        LETTER,
    ];
    assert_eq!(lines.iter().map(first).collect::<Vec<_>>()[..expected.len()], expected);
}

#[tokio::test]
async fn every_refusal_at_every_stage_has_its_meaning() {
    let stages = [
        (GREETING, "it takes no mail from this computer"),
        ("EHLO", "it takes no mail from this computer"),
        ("AUTH", "check user and password"),
        ("MAIL", "check `from`"),
        ("RCPT", "check `to`"),
        ("DATA", "ask whoever runs the server"),
        (LETTER, "ask whoever runs the server"),
    ];
    for (stage, advice) in stages {
        // Only what comes behind the letter may have been taken.
        let reached = stage == LETTER;
        for (reply, said) in [
            ("421 4.3.2 closing", "421 4.3.2 closing"),
            ("450 4.2.0 greylisted", "450 4.2.0 greylisted"),
            ("451-4.7.1 wait\r\n451 4.7.1 five minutes", "451 4.7.1 wait five minutes"),
            ("452 4.5.3 too many", "452 4.5.3 too many"),
            ("454 4.7.0 not now", "454 4.7.0 not now"),
        ] {
            let (answer, _) = scripted(vec![(stage, Act::Say(reply))]).await;
            check_retry(&answer, reached, said);
        }
        for reply in ["500 what?", "501 no", "535 5.7.8 no", "550 5.7.1 no", "553 no", "554 5.7.1 no"] {
            let (answer, _) = scripted(vec![(stage, Act::Say(reply))]).await;
            check_refused(&answer, reply);
            check_refused(&answer, advice);
        }
    }
    let (answer, _) = scripted(vec![("MAIL", Act::Say("530 5.7.0 login first"))]).await;
    check_refused(&answer, "write user and password");
    let (answer, _) = scripted(vec![(LETTER, Act::Say("552 5.2.2 full"))]).await;
    check_refused(&answer, "make room");
}

#[tokio::test]
async fn every_break_at_every_stage_is_tried_again() {
    for stage in [GREETING, "EHLO", "AUTH", "MAIL", "RCPT", "DATA", LETTER] {
        for act in [Act::Reset, Act::Close, Act::Cut(b"25")] {
            let (answer, _) = scripted(vec![(stage, act)]).await;
            check_retry(&answer, stage == LETTER, "127.0.0.1 ");
        }
        // Behind the letter no further try makes such an answer clearer.
        for act in [
            Act::Say("hello"),
            Act::Say("999 what is this"),
            Act::Say("12"),
            Act::Say(""),
            Act::Blurt(b"\xff\xfe\x00\r\n"),
        ] {
            match scripted(vec![(stage, act)]).await.0 {
                answer if stage == LETTER => check_unclear(&answer, "got it and answers \""),
                answer => check_retry(&answer, false, "where something else was due"),
            }
        }
    }
}

#[tokio::test]
async fn a_reply_of_the_wrong_kind_is_no_receipt() {
    for (stage, reply) in [
        ("AUTH PLAIN", "354 go ahead"),
        ("MAIL", "354 go ahead"),
        ("RCPT", "354 go ahead"),
        ("DATA", "250 Ok"),
        (LETTER, "354 go ahead"),
    ] {
        let (answer, lines) = scripted(vec![(stage, Act::Say(reply))]).await;
        match stage {
            LETTER => check_unclear(&answer, "got it and answers \"354 go ahead\""),
            _ => check_retry(&answer, false, "where something else was due"),
        }
        assert_eq!(lines.iter().any(|line| line.starts_with(LETTER)), stage == LETTER, "{stage}");
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left_after_the_deadline() {
    for stage in [GREETING, "EHLO", "AUTH", "MAIL", "RCPT", "DATA", LETTER] {
        let mut peer = Scripted::start(vec![vec![(stage, Act::Never)]], None).await;
        let mut email = email(&plain(&peer));
        let notice = notice();
        let silence = async {
            peer.heard(stage).await;
            // Nothing is left to happen but the deadline: the clock jumps there.
            tokio::time::pause();
        };
        let (answer, ()) = tokio::join!(email.send(&notice), silence);
        tokio::time::resume();
        check_retry(&answer, stage == LETTER, "did not come to an end within 30 s");
    }
}

#[tokio::test]
async fn what_was_taken_stays_taken_whatever_follows() {
    let mut peer = Scripted::start(vec![vec![("QUIT", Act::Never)]], None).await;
    let mut email = email(&plain(&peer));
    let notice = notice();
    let silence = async {
        peer.heard("QUIT").await;
        tokio::time::pause();
    };
    let (answer, ()) = tokio::join!(email.send(&notice), silence);
    tokio::time::resume();
    receipt(&answer);

    for act in [Act::Reset, Act::Say("550 no"), Act::Say("what?")] {
        receipt(&scripted(vec![("QUIT", act)]).await.0);
    }
}

#[tokio::test]
async fn a_refused_receiver_does_not_hold_up_the_others() {
    let mut server = MailServer::start("none", Papers::Good, Some((USER, PASSWORD))).await;
    let settings = to(
        settings(server.port, SecuritySetting::None),
        &["you@example.com", "nobody@example.com", "they@example.com"],
    );
    let answer = email(&settings).send(&notice()).await;
    receipt(&answer);
    let words = "127.0.0.1 took it for 2 of 3; not for nobody@example.com: 550 5.1.1 no such user here. \
                 It says: 250 2.0.0 Ok: queued as 4711";
    assert_eq!(answer.words(), words);
    let letter = server.next().await;
    assert_eq!(letter["to"], json!(["you@example.com", "they@example.com"]));

    let nobodies: Vec<String> = (0..5).map(|number| format!("nobody@{number}.example.com")).collect();
    let answer = email(&Settings { to: nobodies, ..settings }).send(&notice()).await;
    check_refused(&answer, "127.0.0.1 takes it for nobody; not for nobody@0.example.com: 550 5.1.1 no");
    check_refused(&answer, "; nor for 2 more; check `to` in the config");
}

#[tokio::test]
async fn a_server_that_hangs_up_is_not_asked_for_the_next_receiver() {
    let closing = ("RCPT TO:<a@", Act::Say("421 4.3.2 closing"));
    let mut peer = Scripted::start(vec![vec![closing]], None).await;
    let answer = email(&to(plain(&peer), &["a@example.com", "b@example.com"])).send(&notice()).await;
    check_retry(&answer, false, "asks to try again later: 421 4.3.2 closing");
    assert!(!peer.rest().iter().any(|line| line.starts_with("RCPT TO:<b@")));
}

#[tokio::test]
async fn who_has_it_is_not_asked_again() {
    let later = ("RCPT TO:<b@", Act::Say("450 4.2.0 greylisted"));
    let scripts = vec![vec![later], vec![("MAIL", Act::Close)], vec![later], Vec::new(), Vec::new()];
    let mut peer = Scripted::start(scripts, None).await;
    let settings = to(plain(&peer), &["a@example.com", "b@example.com"]);
    let mut email = email(&settings);

    let answer = email.send(&notice()).await;
    check_retry(&answer, true, "took it for 1 of 2; not for b@example.com: 450 4.2.0 greylisted");
    let first = peer.heard(LETTER).await;
    peer.rest();
    check_retry(&email.send(&notice()).await, true, "broke off");
    peer.rest();
    check_retry(&email.send(&notice()).await, true, "took it for 1 of 2");
    assert!(!peer.rest().iter().any(|line| line.starts_with(LETTER)));
    receipt(&email.send(&notice()).await);
    let lines = peer.rest();
    assert!(!lines.iter().any(|line| line.starts_with("RCPT TO:<a@")), "{lines:?}");
    let second = lines.iter().find(|line| line.starts_with(LETTER)).expect("a letter");
    assert_eq!(without_date(second), without_date(&first), "the same letter, to the other one");

    // The next message goes to all recipients.
    receipt(&email.send(&Notice { key: "another".to_owned(), ..notice() }).await);
    assert!(peer.rest().iter().any(|line| line.starts_with("RCPT TO:<a@")));
}

fn without_date(letter: &str) -> String {
    letter.lines().filter(|line| !line.starts_with("Date: ")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn another_message_does_not_profit_from_who_had_the_last_one() {
    let later = ("RCPT TO:<b@", Act::Say("450 4.2.0 greylisted"));
    let mut peer = Scripted::start(vec![vec![later], Vec::new()], None).await;
    let mut email = email(&to(plain(&peer), &["a@example.com", "b@example.com"]));
    check_retry(&email.send(&notice()).await, true, "took it for 1 of 2");
    peer.rest();
    receipt(&email.send(&Notice { key: "another".to_owned(), ..notice() }).await);
    assert!(peer.rest().iter().any(|line| line.starts_with("RCPT TO:<a@")));
}

#[tokio::test]
async fn every_try_sends_the_same_letter_and_the_end_answers_the_start() {
    let mut peer = Scripted::start(vec![vec![(LETTER, Act::Say("451 4.3.0 disk"))], Vec::new()], None).await;
    let mut email = email(&plain(&peer));
    check_retry(&email.send(&notice()).await, true, "451 4.3.0 disk");
    let answer = email.send(&notice()).await;
    let (first, second) = (peer.heard(LETTER).await, peer.heard(LETTER).await);
    assert_eq!(without_date(&first), without_date(&second));
    assert!(first.contains("\r\n..\r\n"), "a line with one dot is not the end: {first}");

    let start = receipt(&answer).to_owned();
    let end = Notice { key: "x/ended".to_owned(), follows: Some(start.clone()), ..notice() };
    receipt(&email.send(&end).await);
    let third = peer.heard(LETTER).await;
    assert!(third.contains(&format!("In-Reply-To: {start}\r\n")), "{third}");
}

#[tokio::test]
async fn without_encryption_nothing_is_said() {
    // As a network that cuts the offer out.
    let mut peer = Scripted::start(vec![Vec::new()], None).await;
    let answer = email(&settings(peer.address.port(), SecuritySetting::StartTls)).send(&notice()).await;
    check_retry(&answer, false, "offers no encryption");
    let lines = peer.rest();
    assert!(
        lines.iter().all(|line| ["EHLO [127.0.0.1]", GREETING, "QUIT"].contains(&line.as_str())),
        "{lines:?}"
    );

    // And one that offers it and then does not.
    let offers = ("EHLO", Act::Say("250-mail.test\r\n250 STARTTLS"));
    for act in [Act::Say("454 4.7.0 no TLS now"), Act::Say("220 go\r\n250 plain text"), Act::Close] {
        let mut peer = Scripted::start(vec![vec![offers, ("STARTTLS", act)]], None).await;
        let answer = email(&settings(peer.address.port(), SecuritySetting::StartTls)).send(&notice()).await;
        check_retry(&answer, false, "127.0.0.1 ");
        assert!(!peer.rest().iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")));
    }
    let (answer, _) = scripted(vec![("EHLO", Act::Say("250 mail.test"))]).await;
    check_refused(&answer, "takes no password");
}

/// Replies from before the handshake must be discarded (RFC 3207, 4.2). An injected reply would shift all
/// later ones and turn "go ahead" into a receipt.
#[tokio::test]
async fn replies_slipped_in_before_the_encryption_deliver_nothing() {
    let (tls, authority) = acceptor(Papers::Good);
    let directory = TempDir::new().expect("a directory");
    let ca_file: PathBuf = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority).expect("a file");
    let slipped = ("STARTTLS", Act::Blurt(b"220 go\r\n250-mail.test\r\n250 AUTH PLAIN\r\n"));
    for faults in [vec![slipped], vec![slipped, (LETTER, Act::Say("550 no"))]] {
        let mut peer = Scripted::start(vec![faults], Some(tls.clone())).await;
        let settings = Settings {
            ca_file: Some(ca_file.clone()),
            ..settings(peer.address.port(), SecuritySetting::StartTls)
        };
        check_retry(&email(&settings).send(&notice()).await, false, "answers before it is asked");
        assert!(!peer.rest().iter().any(|line| line.starts_with(LETTER)));
    }
    // The same server without the trick.
    let peer = Scripted::start(vec![Vec::new()], Some(tls)).await;
    let settings =
        Settings { ca_file: Some(ca_file), ..settings(peer.address.port(), SecuritySetting::StartTls) };
    receipt(&email(&settings).send(&notice()).await);
}

#[tokio::test]
async fn a_server_that_is_not_there_was_not_reached() {
    let nobody = Nobody::new();
    for security in [SecuritySetting::None, SecuritySetting::Tls, SecuritySetting::StartTls] {
        let answer = email(&settings(nobody.address.port(), security)).send(&notice()).await;
        check_retry(&answer, false, "cannot be reached: connection refused");
    }
    let settings = Settings { server: "mail.invalid".to_owned(), ..settings(25, SecuritySetting::Tls) };
    let answer = email(&settings).send(&notice()).await;
    let SendOutcome::Transient { reached: false, words, .. } = &answer else { panic!("{answer:?}") };
    assert!(words.starts_with("mail.invalid cannot be reached: "), "{words}");
}

#[tokio::test]
async fn a_login_of_the_older_kind_works_too_and_is_not_repeated() {
    let only_login = ("EHLO", Act::Say("250-mail.test\r\n250 AUTH LOGIN"));
    let script = vec![
        only_login,
        ("AUTH LOGIN", Act::Say("334 VXNlcm5hbWU6")),
        ("bWVAZXhhbXBsZS5vcmc=", Act::Say("334 UGFzc3dvcmQ6")),
        ("Y29ycmVjdCBob3JzZQ==", Act::Say("235 welcome")),
    ];
    receipt(&scripted(script.clone()).await.0);
    let quoting = ("Y29ycmVjdCBob3JzZQ==", Act::Say("535 I do not like Y29ycmVjdCBob3JzZQ==, correct horse"));
    let (answer, _) = scripted([&script[..3], &[quoting]].concat()).await;
    check_refused(&answer, "535 I do not like ***, ***; check");
    let quoting = ("AUTH", Act::Say("535 AG1lQGV4YW1wbGUub3JnAGNvcnJlY3QgaG9yc2U="));
    check_refused(&scripted(vec![quoting]).await.0, "refuses: 535 ***; check");
}

#[tokio::test]
async fn a_flood_of_words_is_harmless() {
    let flood: &'static str = Box::leak(format!("550 {}", "\u{1b}[31mx\u{202e}".repeat(90)).into_boxed_str());
    let (answer, _) = scripted(vec![("MAIL", Act::Say(flood))]).await;
    check_refused(&answer, "550 [31mx");
    assert!(answer.words().chars().count() < 400, "{answer:?}");
    let endless: &'static [u8] = Box::leak(vec![b'x'; 1 << 20].into_boxed_slice());
    let (answer, _) = scripted(vec![(LETTER, Act::Blurt(endless))]).await;
    check_unclear(&answer, "got it and answers \"xxx");
}

/// The reply code decides, not its text (RFC 5321, 4.2).
#[tokio::test]
async fn a_letter_that_was_taken_is_not_sent_again_whatever_the_words() {
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
        let (answer, lines) = scripted(vec![(LETTER, Act::Blurt(bytes))]).await;
        receipt(&answer);
        assert_eq!(lines.iter().filter(|line| line.starts_with(LETTER)).count(), 1);
    }
    // A reply that breaks off after its code counts.
    for bytes in [&b"250 half a rep"[..], b"250-first\r\n25", b"250"] {
        receipt(&scripted(vec![(LETTER, Act::Cut(bytes))]).await.0);
    }
}

#[tokio::test]
async fn a_refusal_is_one_in_every_encoding() {
    for stage in [GREETING, "EHLO", "AUTH", "MAIL", "RCPT", "DATA", LETTER] {
        for bytes in [&b"550\r\n"[..], b"550 \xe4\xf6\r\n", b"550-\xff\r\n550\r\n", b"550\n"] {
            let (answer, _) = scripted(vec![(stage, Act::Blurt(bytes))]).await;
            check_refused(&answer, "550");
        }
        for bytes in [&b"450\r\n"[..], b"450 sp\xe4ter\r\n"] {
            let (answer, _) = scripted(vec![(stage, Act::Blurt(bytes))]).await;
            check_retry(&answer, stage == LETTER, "450");
        }
    }
}

#[tokio::test]
async fn keywords_are_understood_in_small_letters() {
    let offers = ("EHLO", Act::Say("250-mail.test\r\n250-starttls\r\n250 auth login plain"));
    let (tls, authority) = acceptor(Papers::Good);
    let directory = TempDir::new().expect("a directory");
    let ca_file: PathBuf = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority).expect("a file");
    let mut peer = Scripted::start(vec![vec![offers]], Some(tls)).await;
    let settings =
        Settings { ca_file: Some(ca_file), ..settings(peer.address.port(), SecuritySetting::StartTls) };
    receipt(&email(&settings).send(&notice()).await);
    let lines = peer.rest();
    assert!(lines.contains(&"STARTTLS".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("AUTH PLAIN ")), "{lines:?}");
}

#[tokio::test]
async fn a_mechanism_that_is_refused_is_followed_by_the_next() {
    for refusal in ["504 5.5.4 unrecognized", "534 5.7.9 too weak", "535 5.7.8 no", "501 what?"] {
        let script = vec![
            ("AUTH PLAIN", Act::Say(refusal)),
            ("AUTH LOGIN", Act::Say("334 VXNlcm5hbWU6")),
            ("bWVAZXhhbXBsZS5vcmc=", Act::Say("334 UGFzc3dvcmQ6")),
            ("Y29ycmVjdCBob3JzZQ==", Act::Say("235 welcome")),
        ];
        receipt(&scripted(script).await.0);
    }
    // One that asks for what it has been told already (RFC 4954, 4).
    let script =
        vec![("AUTH PLAIN", Act::Say("334")), ("AG1lQGV4YW1wbGUub3JnAGNvcnJlY3QgaG9yc2U=", Act::Say("235"))];
    receipt(&scripted(script).await.0);
    // Later is not never: no second password is tried.
    let (answer, lines) = scripted(vec![("AUTH", Act::Say("454 4.7.0 not now"))]).await;
    check_retry(&answer, false, "454");
    assert_eq!(lines.iter().filter(|line| line.starts_with("AUTH")).count(), 1);
}

#[tokio::test]
async fn a_server_that_knows_no_ehlo_is_greeted_the_old_way() {
    let script = vec![("EHLO", Act::Say("502 what?")), ("HELO", Act::Say("250 mail.test"))];
    let peer = Scripted::start(vec![script], None).await;
    let settings = Settings { user: None, password_file: None, ..plain(&peer) };
    receipt(&email(&settings).send(&notice()).await);
}

/// A server whose reply has no end, at one stage of the conversation: how many bytes it gets rid of.
async fn endless(
    security: SecuritySetting,
    stage: &'static str,
    line: &'static [u8],
) -> (SendOutcome, usize) {
    const BYTES: usize = 64 << 20;
    let (tls, authority) = acceptor(Papers::Good);
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
        let mut wire: Box<dyn Wire> = match security {
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
            wire.write_all(format!("{reply}\r\n").as_bytes()).await.expect("a client");
            while wire.read_u8().await.expect("a command") != b'\n' {}
        }
        let block = line.repeat(64 * 1024 / line.len());
        let mut told = 0;
        while told < BYTES && wire.write_all(&block).await.is_ok() {
            told += block.len();
        }
        told
    };
    let (mut email, notice) = (email(&settings), notice());
    tokio::join!(email.send(&notice), server)
}

#[tokio::test]
async fn a_reply_without_end_is_left_after_16_kib() {
    for security in [SecuritySetting::None, SecuritySetting::Tls] {
        for stage in [GREETING, "EHLO", "MAIL", "DATA", LETTER] {
            for line in [&b"250-x\r\n"[..], b"550-x\r\n", b"250 x", b"xxxx"] {
                let (answer, told) = endless(security, stage, line).await;
                match (stage, line) {
                    (_, b"550-x\r\n") => check_refused(&answer, "550 x x x"),
                    (LETTER, b"xxxx") => check_unclear(&answer, "xxxx"),
                    (LETTER, _) => drop(receipt(&answer)),
                    _ => check_retry(&answer, false, "127.0.0.1 "),
                }
                // What fits the buffers of both ends, and no more.
                assert!(told < 16 << 20, "{stage}: {told} bytes");
            }
        }
    }
}

/// Each attempt may deliver a repeat, so there are three at most, also across restarts.
#[tokio::test]
async fn an_unclear_answer_is_tried_three_times() {
    let mut peer = Scripted::start(vec![vec![(LETTER, Act::Say("gr\u{fc}\u{df}e"))]], None).await;
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
        if let Round::Tried { answer, .. } =
            delivery::once(&store, &mut receiver, 0.0, &|| now).await.expect("a database")
        {
            check_unclear(&answer, "got it and answers");
            tries += 1;
        }
    }
    assert_eq!(tries, 3);
    assert_eq!(peer.rest().iter().filter(|line| line.starts_with(LETTER)).count(), 3);
    let totals = store.totals().await.expect("numbers");
    assert_eq!((totals.pending, totals.given_up), (0, 1));
}
