//! Email through the user's mail server, for people.
//!
//! Promise: plain. Every attempt of a message has the same `Message-ID` and, but for the date, the same
//! bytes. Many mail services show two messages with one `Message-ID` once, some show both. Later messages
//! about an outage are in the thread of the first.
//!
//! Keeps no connection open. Never sends unencrypted to another computer. The password appears in no
//! outcome or debug output, neither in clear nor encoded
//! (`the_password_is_redacted_in_every_encoding`).

use std::fmt;
use std::time::{Duration, SystemTime};

use lettre::Address;
use lettre::message::header::ContentTransferEncoding;
use lettre::message::{Body, Mailbox};

use super::http::takes_connections;
use super::outcome::{Notice, SendOutcome};
use super::redact::Redactor;
use super::settings::ReadSecret;
use super::transport::Transport;
use crate::secret::Secret;

mod connection;
mod mime;
mod settings;
mod smtp;

use connection::SmtpReply;
use mime::letter;
pub use settings::{SecuritySetting, Settings};
use settings::{host, login, mailbox, receivers, security};
use smtp::{Handed, MailServer, SmtpStage, SmtpTrouble};

/// The whole try; taking leave of the server comes on top.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// How much of what a server says is shown.
const REASON_MAX_CHARS: usize = 200;
/// Of several receivers that were refused, how many are named.
const NAMED_MAX: usize = 3;

/// A mail server with sender and recipients, ready to send.
pub struct Email {
    server: MailServer,
    from: Mailbox,
    to: Vec<Mailbox>,
    redactor: Redactor,
    /// Who has a letter that others are still to get.
    partly: Option<Partly>,
}

/// A letter that not everybody has yet. Lost at a restart: then these get it again.
struct Partly {
    /// The notice's.
    key: String,
    had_by: Vec<Address>,
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email").field("server", &self.server.host).finish_non_exhaustive()
    }
}

impl Email {
    /// Reads secret files through `read_secret`, and `ca_file`. Opens no connection.
    ///
    /// # Errors
    ///
    /// One line for users that begins with the setting's key, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Email, String> {
        let login = login(settings, read_secret)?;
        let redactor = Redactor::new(login.iter().flat_map(|(user, password)| spellings(user, password)));
        Ok(Email {
            from: mailbox("from", &settings.from)?,
            to: receivers(&settings.to)?,
            server: MailServer {
                host: host(settings)?,
                port: settings.port(),
                security: security(settings)?,
                login,
            },
            redactor,
            partly: None,
        })
    }

    /// The server took it for some, all or none of those who were `left` after `had_by`.
    fn handed(
        &mut self,
        notice: &Notice,
        id: String,
        left: Vec<Address>,
        had_by: Vec<Address>,
        handed: &Handed,
    ) -> SendOutcome {
        let is_refused = |address: &Address| handed.refused.iter().any(|(refused, _)| refused == address);
        let took = left.into_iter().filter(|address| handed.taken.is_some() && !is_refused(address));
        let have: Vec<Address> = had_by.into_iter().chain(took).collect();
        let words = self.handed_words(have.len(), handed);
        if handed.refused.iter().any(|(_, reply)| reply.is_transient()) {
            let reached = !have.is_empty();
            self.partly = reached.then(|| Partly { key: notice.key.clone(), had_by: have });
            return SendOutcome::Transient { after_s: None, reached, words };
        }
        if have.is_empty() {
            return SendOutcome::Permanent { words: format!("{words}; check `to` in the config") };
        }
        // Those who are refused for good hold up nobody else; the words name them.
        SendOutcome::Delivered { receipt: Some(id), words }
    }

    fn handed_words(&self, have: usize, handed: &Handed) -> String {
        let host = &self.server.host;
        let mut words = match handed.taken {
            Some(_) if handed.refused.is_empty() => format!("{host} took it"),
            _ if have > 0 => format!("{host} took it for {have} of {}", self.to.len()),
            _ => format!("{host} takes it for nobody"),
        };
        let mut named: Vec<String> = handed
            .refused
            .iter()
            .take(NAMED_MAX)
            .map(|(address, reply)| format!("not for {address}: {}", self.said(reply)))
            .collect();
        if handed.refused.len() > NAMED_MAX {
            named.push(format!("nor for {} more", handed.refused.len() - NAMED_MAX));
        }
        for part in named {
            words = format!("{words}; {part}");
        }
        match &handed.taken {
            Some(reply) => format!("{words}. It says: {}", self.said(reply)),
            None => words,
        }
    }

    /// The server has it for nobody, or nobody knows.
    fn troubled(&self, stage: SmtpStage, trouble: &SmtpTrouble, reached: bool) -> SendOutcome {
        let host = &self.server.host;
        let retry = |words: String| SendOutcome::Transient { after_s: None, reached, words };
        match trouble {
            SmtpTrouble::Said(reply) if reply.is_transient() => {
                retry(format!("{host} asks to try again later: {}", self.said(reply)))
            }
            SmtpTrouble::Said(reply) => SendOutcome::Permanent {
                words: format!("{host} refuses: {}; {}", self.said(reply), advice(stage, reply.code)),
            },
            // It may have it, and no further try makes its answer clearer.
            SmtpTrouble::Unclear(said) if stage == SmtpStage::Letter => {
                SendOutcome::Unclear { words: format!("{host} got it and answers {:?}", self.redacted(said)) }
            }
            SmtpTrouble::Unclear(said) => {
                retry(format!("{host} answers {:?} where something else was due", self.redacted(said)))
            }
            SmtpTrouble::NoLogin => SendOutcome::Permanent {
                words: format!("{host} takes no password; remove user and password, or use another server"),
            },
            // Networks for guests cut the offer out. Tomorrow's network may not.
            SmtpTrouble::NoTls => retry(format!(
                "{host} offers no encryption, and without it nothing is sent; \
                 try security = \"tls\" or another network"
            )),
            SmtpTrouble::Broke(why) => retry(match stage {
                SmtpStage::Connecting => format!(
                    "{host} cannot be reached: {}; check server, port and security, and the network",
                    self.redacted(why)
                ),
                SmtpStage::Securing => {
                    format!("{host} cannot be spoken to in secret: {}; check ca_file", self.redacted(why))
                }
                _ => format!("{host} broke off: {}", self.redacted(why)),
            }),
            SmtpTrouble::Silent => {
                retry(format!("{host} did not come to an end within {} s", SEND_WITHIN.as_secs()))
            }
        }
    }

    fn said(&self, reply: &SmtpReply) -> String {
        self.redacted(&format!("{} {}", reply.code, reply.text()))
    }

    fn redacted(&self, text: &str) -> String {
        self.redactor.redact(text, REASON_MAX_CHARS)
    }
}

impl Transport for Email {
    /// Sends one message to all recipients that have not received it. Times out after 32 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        // What was about another message will not be asked for again.
        let had_by = self.partly.take().filter(|partly| partly.key == notice.key);
        let had_by = had_by.map_or(Vec::new(), |partly| partly.had_by);
        let all = self.to.iter().map(|mailbox| mailbox.email.clone());
        let left: Vec<Address> = all.filter(|address| !had_by.contains(address)).collect();
        let letter = letter(notice, &self.from, &self.to, SystemTime::now());
        let (from, bytes) = (&self.from.email, letter.bytes.as_slice());
        let (stage, outcome) = self.server.hand_over(from, &left, bytes, SEND_WITHIN).await;
        match outcome {
            Ok(handed) => self.handed(notice, letter.id, left, had_by, &handed),
            Err(trouble) => {
                let reached = stage == SmtpStage::Letter || !had_by.is_empty();
                self.partly = (!had_by.is_empty()).then(|| Partly { key: notice.key.clone(), had_by });
                self.troubled(stage, &trouble, reached)
            }
        }
    }

    async fn is_reachable(&mut self) -> bool {
        takes_connections(&self.server.host, self.server.port).await
    }
}

/// Returns the next step after a 5xx reply.
fn advice(stage: SmtpStage, code: u16) -> &'static str {
    match (stage, code) {
        (_, 530) => "it wants a login; write user and password into the config",
        (_, 552) => "the mailbox is full or the letter too large; make room",
        (SmtpStage::Connecting, _) => {
            "it takes no mail from this computer; use the server that your mail service names for sending"
        }
        (SmtpStage::Securing, _) => "it cannot encrypt; use another server",
        (SmtpStage::LoggingIn, _) => {
            "check user and password in the config; many mail services want a password made for programs"
        }
        (SmtpStage::Sender, _) => {
            "check `from` in the config: the login may not be allowed to send in its name"
        }
        (SmtpStage::Receivers, _) => "check `to` in the config",
        (SmtpStage::Asking | SmtpStage::Letter, _) => {
            "it does not want the letter; ask whoever runs the server"
        }
    }
}

/// The password as it goes over the line: as it is, and as both ways of logging in encode it.
fn spellings(user: &str, password: &Secret) -> [String; 3] {
    let password = password.expose();
    [password.to_owned(), base64(password), base64(&format!("\0{user}\0{password}"))]
}

fn base64(text: &str) -> String {
    let body = Body::new_with_encoding(text.as_bytes().to_vec(), ContentTransferEncoding::Base64);
    let encoded = body.expect("everything can be written in base64").into_vec();
    encoded.into_iter().map(char::from).filter(char::is_ascii_graphic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "server = 'localhost'\nsecurity = 'none'\nfrom = 'a@example.org'\nto = ['b@example.org']\n";

    fn settings(toml: &str) -> Settings {
        toml::from_str(toml).expect("settings")
    }

    fn made(toml: &str) -> Result<Email, String> {
        Email::new(&settings(toml), &|path| match path.to_str() {
            Some("/password") => Ok(Secret::new("hunter2\n")),
            _ => Err(format!("{}: no such file", path.display())),
        })
    }

    #[track_caller]
    fn check_refused(toml: &str, words: &str) {
        let error = made(toml).expect_err("must be refused");
        assert!(error.starts_with(words) && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_port_is_that_of_the_security_unless_given() {
        for (line, port) in [
            ("", 587),
            ("security = 'starttls'", 587),
            ("security = 'tls'", 465),
            ("security = 'none'", 25),
            ("security = 'tls'\nport = 2465", 2465),
        ] {
            let toml = format!("server = 'mail.example'\nfrom = 'a@b.example'\nto = []\n{line}");
            assert_eq!(settings(&toml).port(), port, "{line}");
        }
    }

    #[test]
    fn what_is_safe_is_taken() {
        let email = made(PLAIN).expect("an email");
        assert_eq!(email.server.host, "localhost");
        for more in
            ["user = 'me'\npassword = 'hunter2'", "user = 'me'\npassword_file = '/password'", "port = 2525"]
        {
            assert!(made(&format!("{PLAIN}{more}")).is_ok(), "{more}");
        }
        for server in ["127.0.0.1", "::1", "[::1]", " localhost "] {
            assert!(made(&PLAIN.replace("localhost", server)).is_ok(), "{server}");
        }
        let email = made(&PLAIN.replace(
            "['b@example.org']",
            "['B <b@example.org>', 'b@example.org', 'Jürgen <c@example.org>']",
        ));
        assert_eq!(email.expect("an email").to.len(), 2, "one letter for one address");
    }

    #[test]
    fn what_is_not_is_refused_without_giving_it_away() {
        check_refused(&PLAIN.replace("localhost", "mail.example"), "security: \"none\" would carry");
        check_refused(&PLAIN.replace("localhost", "smtp://mail.example"), "server: \"smtp://mail.example\"");
        check_refused(&PLAIN.replace("localhost", ""), "server: \"\"");
        check_refused(&format!("{PLAIN}port = 0"), "port: 0");
        check_refused(&format!("{PLAIN}user = 'me'"), "user: is without a password");
        check_refused(&format!("{PLAIN}password = 'hunter2'"), "password: is without a user");
        check_refused(&format!("{PLAIN}user = ' '\npassword = 'hunter2'"), "user: empty");
        let both = "user = 'me'\npassword = 'hunter2'\npassword_file = '/password'";
        check_refused(&format!("{PLAIN}{both}"), "password: also given as password_file");
        check_refused(&format!("{PLAIN}user = 'me'\npassword_file = '/x'"), "password_file: /x: no");
        check_refused(&PLAIN.replace("a@example.org", "a"), "from: invalid address \"a\"");
        check_refused(
            &PLAIN.replace("a@example.org", "ä@example.org"),
            "from: \"ä@example.org\" has letters",
        );
        check_refused(&PLAIN.replace("['b@example.org']", "[]"), "to: empty");
        check_refused(&PLAIN.replace("'b@example.org'", "'a@b', 'x y'"), "to: invalid address \"x y\"");
        check_refused(&PLAIN.replace("b@example.org", "b@example.org>\\nRCPT TO:<c"), "to: ");
        let tls = PLAIN.replace("'none'", "'tls'");
        check_refused(&format!("{tls}ca_file = 'ca.pem'"), "ca_file: ca.pem is not an absolute path");
        check_refused(&format!("{tls}ca_file = '/nowhere/ca.pem'"), "ca_file: cannot read");
        check_refused(&format!("{tls}ca_file = '/etc/hostname'"), "ca_file: /etc/hostname contains no");
    }

    #[test]
    fn unknown_keys_and_words_are_errors() {
        assert!(toml::from_str::<Settings>(&format!("{PLAIN}ssl = true")).is_err());
        assert!(toml::from_str::<Settings>(&PLAIN.replace("'none'", "'ssl'")).is_err());
        assert!(toml::from_str::<Settings>("server = 'localhost'").is_err());
    }

    #[test]
    fn the_password_is_not_printed_nor_repeated_in_any_spelling() {
        let toml = format!("{PLAIN}user = 'me'\npassword = 'hunter2'");
        let email = made(&toml).expect("an email");
        let shown = format!("{:?} {email:?}", settings(&toml));
        assert!(shown.contains("localhost") && !shown.contains("hunter2"), "{shown}");
        // LOGIN, then PLAIN.
        let said = "500 unknown: hunter2, aHVudGVyMg==, AUTH PLAIN AG1lAGh1bnRlcjI=";
        assert_eq!(email.redacted(said), "500 unknown: ***, ***, AUTH PLAIN ***");
    }
}
