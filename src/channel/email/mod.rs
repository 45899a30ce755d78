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

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lettre::Address;
use lettre::message::Mailbox;

use super::http::accepts_connections;
use super::outcome::{Notice, SendOutcome};
use super::redact::Redactor;
use super::settings::ReadSecret;
use super::transport::Transport;
use crate::secret::Secret;
use crate::setting::SettingError;

mod connection;
mod mime;
mod settings;
mod smtp;

use connection::SmtpError;
use connection::SmtpReply;
pub use settings::{SecuritySetting, Settings};
use settings::{host, login, mailbox, recipients, security};
use smtp::{MailServer, SmtpStage, Submission};

/// For a whole attempt. Closing the session takes up to 2 s more.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum length of a server's reply in an outcome.
const REPLY_MAX_CHARS: usize = 200;
/// The maximum number of rejected recipients that an outcome names.
const NAMED_MAX: usize = 3;

/// A mail server with sender and recipients, ready to send.
pub struct Email {
    server: MailServer,
    from: Mailbox,
    to: Vec<Mailbox>,
    redactor: Redactor,
    partial: Option<PartialDelivery>,
}

/// A message that only some recipients have received. Kept in memory only: after a restart these
/// recipients get the message again.
struct PartialDelivery {
    /// The key of the notice.
    key: String,
    delivered_to: Vec<Address>,
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
    /// The setting at fault, without secrets.
    pub fn new(settings: &Settings, read_secret: ReadSecret) -> Result<Email, SettingError> {
        let login = login(settings, read_secret)?;
        let redactor = Redactor::new(login.iter().flat_map(|(user, password)| encodings(user, password)));
        Ok(Email {
            from: mailbox("from", &settings.from)?,
            to: recipients(&settings.to)?,
            server: MailServer {
                host: host(settings)?,
                port: settings.port(),
                security: security(settings)?,
                login,
            },
            redactor,
            partial: None,
        })
    }

    /// Classifies the server's decision. `remaining` are the recipients of this attempt, and
    /// `delivered_to` those of earlier attempts that succeeded.
    fn classify(
        &mut self,
        notice: &Notice,
        id: String,
        remaining: Vec<Address>,
        delivered_to: Vec<Address>,
        submission: &Submission,
    ) -> SendOutcome {
        let Submission { accepted, rejected } = submission;
        let is_accepted = |address: &Address| {
            accepted.is_some() && !rejected.iter().any(|(rejected, _)| rejected == address)
        };
        let newly_delivered = remaining.into_iter().filter(is_accepted);
        let delivered_to: Vec<Address> = delivered_to.into_iter().chain(newly_delivered).collect();
        let detail = self.describe(delivered_to.len(), submission);
        if rejected.iter().any(|(_, reply)| reply.is_transient()) {
            let reached = !delivered_to.is_empty();
            self.partial = reached.then(|| PartialDelivery { key: notice.key.clone(), delivered_to });
            return SendOutcome::Transient { after_s: None, reached, detail };
        }
        if delivered_to.is_empty() {
            return SendOutcome::Permanent { detail: format!("{detail}; check `to` in the config") };
        }
        // Permanently rejected recipients must not delay the others; the detail names them.
        SendOutcome::Delivered { receipt: Some(id), detail }
    }

    fn describe(&self, delivered: usize, submission: &Submission) -> String {
        let Submission { accepted, rejected } = submission;
        let host = &self.server.host;
        let mut detail = match accepted {
            Some(_) if rejected.is_empty() => format!("{host} accepted the message"),
            _ if delivered > 0 => {
                format!("{host} accepted the message for {delivered} of {} recipients", self.to.len())
            }
            _ => format!("{host} rejected all recipients"),
        };
        for (address, reply) in rejected.iter().take(NAMED_MAX) {
            detail = format!("{detail}; {address}: {}", self.reply_text(reply));
        }
        if rejected.len() > NAMED_MAX {
            detail = format!("{detail}; and {} more", rejected.len() - NAMED_MAX);
        }
        match accepted {
            Some(reply) => format!("{detail}. Response: {}", self.reply_text(reply)),
            None => detail,
        }
    }

    /// Classifies a failed session. `reached` is whether some recipient may have the message.
    fn classify_error(&self, stage: SmtpStage, error: &SmtpError, reached: bool) -> SendOutcome {
        let host = &self.server.host;
        let transient = |detail: String| SendOutcome::Transient { after_s: None, reached, detail };
        match error {
            SmtpError::Rejected(reply) if reply.is_transient() => {
                transient(format!("{host} returned the temporary error {}", self.reply_text(reply)))
            }
            SmtpError::Rejected(reply) => SendOutcome::Permanent {
                detail: format!("{host} returned {}; {}", self.reply_text(reply), advice(stage, reply.code)),
            },
            // The server may have accepted the message, and further attempts get no clearer reply.
            SmtpError::InvalidReply(reply) if stage == SmtpStage::Message => SendOutcome::Unclear {
                detail: format!("{host} received the message, but replied {:?}", self.redacted(reply)),
            },
            SmtpError::InvalidReply(reply) => {
                transient(format!("{host} sent the unexpected reply {:?}", self.redacted(reply)))
            }
            SmtpError::NoLogin => SendOutcome::Permanent {
                detail: format!(
                    "{host} offers no login with a password; remove user and password, or use another server"
                ),
            },
            // Transient, because some networks strip STARTTLS, and the next network may not.
            SmtpError::NoTls => transient(format!(
                "{host} does not offer STARTTLS, and statusd sends nothing unencrypted; try security = \"tls\" \
                 or another network"
            )),
            SmtpError::Connection(cause) => transient(match stage {
                SmtpStage::Connect => format!(
                    "{host} cannot be reached: {}; check server, port and security, and the network",
                    self.redacted(cause)
                ),
                SmtpStage::Tls => {
                    format!("{host} failed to set up TLS: {}; check ca_file", self.redacted(cause))
                }
                _ => format!("{host} did not complete the session: {}", self.redacted(cause)),
            }),
            SmtpError::Timeout => {
                transient(format!("{host} did not complete the session within {} s", SEND_TIMEOUT.as_secs()))
            }
        }
    }

    fn reply_text(&self, reply: &SmtpReply) -> String {
        self.redacted(&format!("{} {}", reply.code, reply.text()))
    }

    fn redacted(&self, text: &str) -> String {
        self.redactor.redact(text, REPLY_MAX_CHARS)
    }
}

impl Transport for Email {
    /// Sends one message to all recipients that have not received it. Times out after 32 s.
    async fn send(&mut self, notice: &Notice) -> SendOutcome {
        // A partial delivery of another notice is discarded, because that notice is not sent again.
        let partial = self.partial.take().filter(|partial| partial.key == notice.key);
        let delivered_to = partial.map_or(Vec::new(), |partial| partial.delivered_to);
        let all = self.to.iter().map(|mailbox| mailbox.email.clone());
        let remaining: Vec<Address> = all.filter(|address| !delivered_to.contains(address)).collect();
        let message = mime::compose(notice, &self.from, &self.to, SystemTime::now());
        let (stage, result) =
            self.server.submit(&self.from.email, &remaining, &message.bytes, SEND_TIMEOUT).await;
        match result {
            Ok(submission) => self.classify(notice, message.id, remaining, delivered_to, &submission),
            Err(error) => {
                let is_partial = !delivered_to.is_empty();
                self.partial = is_partial.then(|| PartialDelivery { key: notice.key.clone(), delivered_to });
                self.classify_error(stage, &error, is_partial || stage == SmtpStage::Message)
            }
        }
    }

    async fn is_reachable(&mut self) -> bool {
        accepts_connections(&self.server.host, self.server.port).await
    }
}

/// Returns the next step after a 5xx reply.
fn advice(stage: SmtpStage, code: u16) -> &'static str {
    match (stage, code) {
        (_, 530) => "the server requires a login; write user and password into the config",
        (_, 552) => "the mailbox is full or the message is too large; free space in the mailbox",
        (SmtpStage::Connect, _) => {
            "the server accepts no mail from this computer; use the server that your mail provider names for \
             outgoing mail"
        }
        (SmtpStage::Tls, _) => "the server cannot start TLS; use another server",
        (SmtpStage::Login, _) => {
            "check user and password in the config; many mail providers require an app password"
        }
        (SmtpStage::Sender, _) => {
            "check `from` in the config: the user may not be allowed to send from this address"
        }
        (SmtpStage::Recipients, _) => "check `to` in the config",
        (SmtpStage::Data | SmtpStage::Message, _) => {
            "the server rejected the message; ask the administrator of the mail server"
        }
    }
}

/// Returns the password in every form that is sent: in clear, and encoded for LOGIN and PLAIN.
fn encodings(user: &str, password: &Secret) -> [String; 3] {
    let password = password.expose();
    [
        password.to_owned(),
        BASE64_STANDARD.encode(password),
        BASE64_STANDARD.encode(format!("\0{user}\0{password}")),
    ]
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
            _ => Err(SettingError::new("", format!("{}: no such file", path.display()))),
        })
        .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check_refused(toml: &str, expected: &str) {
        let error = made(toml).expect_err("must be refused");
        assert!(error.starts_with(expected) && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_default_port_follows_from_security() {
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
    fn valid_settings_are_accepted() {
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
        assert_eq!(email.expect("an email").to.len(), 2, "duplicates are removed");
    }

    #[test]
    fn invalid_settings_are_rejected_without_showing_secrets() {
        check_refused(&PLAIN.replace("localhost", "mail.example"), "security: \"none\" would carry");
        check_refused(
            &PLAIN.replace("localhost", "smtp://mail.example"),
            "server: invalid host \"smtp://mail.example\"",
        );
        check_refused(&PLAIN.replace("localhost", ""), "server: invalid host \"\"");
        check_refused(&format!("{PLAIN}port = 0"), "port: invalid port 0");
        check_refused(&format!("{PLAIN}user = 'me'"), "user: requires a password");
        check_refused(&format!("{PLAIN}password = 'hunter2'"), "password: requires a user");
        check_refused(&format!("{PLAIN}user = ' '\npassword = 'hunter2'"), "user: empty");
        let both = "user = 'me'\npassword = 'hunter2'\npassword_file = '/password'";
        check_refused(&format!("{PLAIN}{both}"), "password: also given as password_file");
        check_refused(&format!("{PLAIN}user = 'me'\npassword_file = '/x'"), "password_file: /x: no");
        check_refused(&PLAIN.replace("a@example.org", "a"), "from: invalid address \"a\"");
        check_refused(
            &PLAIN.replace("a@example.org", "ä@example.org"),
            "from: invalid address \"ä@example.org\": expected ASCII",
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
    fn unknown_keys_and_values_are_errors() {
        assert!(toml::from_str::<Settings>(&format!("{PLAIN}ssl = true")).is_err());
        assert!(toml::from_str::<Settings>(&PLAIN.replace("'none'", "'ssl'")).is_err());
        assert!(toml::from_str::<Settings>("server = 'localhost'").is_err());
    }

    #[test]
    fn the_password_is_redacted_in_every_encoding() {
        let toml = format!("{PLAIN}user = 'me'\npassword = 'hunter2'");
        let email = made(&toml).expect("an email");
        let shown = format!("{:?} {email:?}", settings(&toml));
        assert!(shown.contains("localhost") && !shown.contains("hunter2"), "{shown}");
        // LOGIN, then PLAIN.
        let reply = "500 unknown: hunter2, aHVudGVyMg==, AUTH PLAIN AG1lAGh1bnRlcjI=";
        assert_eq!(email.redacted(reply), "500 unknown: ***, ***, AUTH PLAIN ***");
    }
}
