//! A mail server that accepts everything, and a parser of the changes in the message text.
//!
//! The sender's display name holds the incarnation, because the address may be part of the Message-ID.
//! The parser matches the phrases of `delivery::message`, because a mail contains only text.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use super::super::http::line;
use super::super::journal::Message;
use super::super::scenario::{Change, Kind};

const NAME_CHARS: usize = "App s000".len();
const SERVICES: &str = "Services: ";

pub fn table(server: SocketAddr, incarnation: u32) -> String {
    format!(
        "[channel.email.test]\nserver = \"127.0.0.1\"\nport = {}\nsecurity = \"none\"\n\
         from = \"incarnation{incarnation} <statusd@test.example>\"\nto = [\"reader@test.example\"]\n",
        server.port()
    )
}

pub fn greet(client: &mut BufReader<TcpStream>) -> io::Result<()> {
    say(client, "220 test")
}

/// Reads one message up to its final dot, which the caller answers.
pub fn receive(client: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
    while let Some(command) = line(client)? {
        let word = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match word.as_str() {
            "EHLO" => say(client, "250-test\r\n250 8BITMIME")?,
            "DATA" => {
                say(client, "354 go on")?;
                return message_data(client);
            }
            "QUIT" => {
                say(client, "221 bye")?;
                return Ok(None);
            }
            _ => say(client, "250 ok")?,
        }
    }
    Ok(None)
}

fn message_data(client: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
    let mut lines = Vec::new();
    loop {
        match line(client)? {
            None => return Ok(None),
            Some(line) if line == "." => break,
            // RFC 5321, 4.5.2
            Some(line) => lines.push(line.strip_prefix('.').map_or(line.clone(), str::to_owned)),
        }
    }
    let text = lines.join("\n");
    let mail = Mail::parse(&text);
    let incarnation = mail.header("from").trim_matches('"').strip_prefix("incarnation");
    let incarnation = incarnation
        .and_then(|incarnation| incarnation.split(['"', ' ']).next())
        .and_then(|incarnation| incarnation.parse().ok());
    let key = mail.header("message-id").to_owned();
    // Both headers may differ between attempts.
    let head = lines.iter().take_while(|line| !line.is_empty()).filter(|line| !is_volatile(line));
    let body = lines.iter().skip_while(|line| !line.is_empty());
    let text: Vec<&str> = head.chain(body).map(String::as_str).collect();
    Ok(Some(Message { incarnation: incarnation.expect("an incarnation"), key, text: text.join("\n") }))
}

fn is_volatile(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.starts_with("from:") || line.starts_with("date:")
}

pub fn refuse(client: &mut BufReader<TcpStream>) -> io::Result<()> {
    say(client, "451 not now")
}

pub fn acknowledge(client: &mut BufReader<TcpStream>) -> io::Result<()> {
    say(client, "250 ok")
}

fn say(client: &mut BufReader<TcpStream>, words: &str) -> io::Result<()> {
    client.get_mut().write_all(format!("{words}\r\n").as_bytes())
}

/// A single change is the subject. Several changes have one bullet line each. More than two services
/// follow in the next line.
pub fn changes(text: &str) -> Vec<Change> {
    let mail = Mail::parse(text);
    let body = mail.plain_text();
    let lines: Vec<&str> = body.lines().collect();
    let bullets: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].starts_with('\u{2022}')).collect();
    if bullets.is_empty() {
        let subject = decoded_words(mail.header("subject"));
        return statement(&subject, lines.iter().copied().find(|line| line.starts_with(SERVICES)));
    }
    bullets.into_iter().flat_map(|line| statement(lines[line], lines.get(line + 1).copied())).collect()
}

const BEGINNINGS: [&str; 4] = ["Outage: ", "Issue: ", "Slow: ", "Problem: "];
const PASTS: [&str; 4] = ["Was down: ", "Had an issue: ", "Was slow: ", "Had a problem: "];

fn statement(headline: &str, behind: Option<&str>) -> Vec<Change> {
    let kind = match headline.trim_start_matches("\u{2022} ") {
        words if words.contains(" again: ") => Kind::Reopened,
        words if BEGINNINGS.iter().any(|word| words.starts_with(word)) => Kind::Began,
        words if words.starts_with("Fixed: ") => Kind::Ended,
        words if PASTS.iter().any(|word| words.starts_with(word)) => Kind::Missed,
        _ => Kind::Other,
    };
    let names = behind.filter(|line| line.starts_with(SERVICES)).unwrap_or(headline);
    let named = |(start, _): (usize, &str)| names.get(start..start + NAME_CHARS);
    let named = names.match_indices("App ").filter_map(named);
    named.map(|service| Change { service: service.to_owned(), kind }).collect()
}

/// A message, or a part of one.
struct Mail<'t> {
    /// Names in lower case, folded lines joined.
    headers: Vec<(String, String)>,
    body: &'t str,
}

impl<'t> Mail<'t> {
    fn parse(text: &'t str) -> Mail<'t> {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let head = head.replace("\n ", " ").replace("\n\t", " ");
        let headers = head.lines().filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Mail { headers: headers.collect(), body }
    }

    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    fn plain_text(&self) -> String {
        if let Some((_, rest)) = self.header("content-type").split_once("boundary=") {
            let boundary = rest.trim_start_matches('"').split(['"', ';']).next().unwrap_or_default();
            let delimiter = format!("--{boundary}");
            let mut parts = self.body.split(delimiter.as_str()).skip(1).map(str::trim_start).map(Mail::parse);
            return parts.next().map(|part| part.plain_text()).unwrap_or_default();
        }
        let bytes = match self.header("content-transfer-encoding").to_ascii_lowercase().as_str() {
            "quoted-printable" => quoted_printable(&self.body.replace("=\n", "")),
            "base64" => base64(self.body),
            _ => self.body.as_bytes().to_vec(),
        };
        String::from_utf8(bytes).expect("UTF-8").replace("\r\n", "\n")
    }
}

/// RFC 2047: `=?utf-8?b?…?=`
fn decoded_words(text: &str) -> String {
    let mut decoded = String::new();
    // White space between two encoded words is ignored.
    let joined = text.replace("?= =?", "?==?");
    let mut rest = joined.as_str();
    while let Some((before, word)) = rest.split_once("=?") {
        decoded.push_str(before);
        let parts: Vec<&str> = word.splitn(4, '?').collect();
        let [_charset, encoding, content, behind] = parts[..] else { break };
        let bytes = match encoding.to_ascii_lowercase().as_str() {
            "b" => base64(content),
            _ => quoted_printable(&content.replace('_', " ")),
        };
        decoded.push_str(&String::from_utf8_lossy(&bytes));
        rest = behind.strip_prefix('=').unwrap_or(behind);
    }
    decoded + rest
}

fn quoted_printable(text: &str) -> Vec<u8> {
    let mut pieces = text.split('=');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at(2.min(piece.len()));
        bytes.extend(u8::from_str_radix(code, 16));
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for value in text.bytes().filter_map(|byte| ALPHABET.iter().position(|known| *known == byte)) {
        bits = (bits << 6) | u32::try_from(value).expect("six bits");
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).expect("eight bits"));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mail: &str, expected: &[(&str, Kind)]) {
        let expected: Vec<Change> =
            expected.iter().map(|(name, kind)| Change { service: (*name).to_owned(), kind: *kind }).collect();
        assert_eq!(changes(mail), expected);
    }

    #[test]
    fn changes_are_found_in_every_mail_encoding() {
        check("Subject: Fixed: App s001\n\nFrom 1 to 2.", &[("App s001", Kind::Ended)]);
        check(
            "Subject: =?utf-8?b?T3V0YWdlIGFn?=\n =?utf-8?b?YWluOiBBcHAgczAwMQ==?=\n\nSince 8.",
            &[("App s001", Kind::Reopened)],
        );
        check(
            "Subject: Outage: x and 4 more\nContent-Transfer-Encoding: quoted-printable\n\n\
             =E2=80=A2 Outage: App s001 and App s=\n002. Since 8.\n\
             =E2=80=A2 Was down: App s003, App s004 and 1 more. From 1 to 2 (1 h).\n\
             Services: App s003, App s004, App z001.\nCheck.",
            &[
                ("App s001", Kind::Began),
                ("App s002", Kind::Began),
                ("App s003", Kind::Missed),
                ("App s004", Kind::Missed),
                ("App z001", Kind::Missed),
            ],
        );
        check(
            "Subject: x\nContent-Type: multipart/alternative; boundary=\"ab\"\n\n--ab\n\
             Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n\
             4oCiIE91dGFnZTogQXBwIHMwMDEu\n--ab\n\n<p>\n--ab--\n",
            &[("App s001", Kind::Began)],
        );
    }
}
