//! A program that statusd runs for each change. It passes its input to the receiver and succeeds only if
//! the receiver accepted it.
//!
//! The program may outlive a killed statusd, so each message carries the incarnation.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::exit;

use serde_json::Value;

use super::super::http::line;
use super::super::journal::Message;

/// `ADDRESS/INCARNATION`, for [`relay`].
const RELAY: &str = "CRASH_RELAY";
const TAKEN: &str = "taken";
/// EX_TEMPFAIL of sysexits.h.
const NOT_NOW: i32 = 75;

pub fn table(home: &Path, server: SocketAddr, incarnation: u32) -> String {
    let program = home.join("relay");
    let test_program = std::env::current_exe().expect("a program");
    let script = format!(
        "#!/bin/sh\n{RELAY}={server}/{incarnation} exec '{}' --exact crash::relay --ignored --nocapture\n",
        test_program.display()
    );
    fs::write(&program, script).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("may be run");
    format!("[channel.command.test]\ncommand = [{program:?}]\n")
}

/// Runs the command. Returns at once without the variable, for example under `--ignored`.
pub fn relay() {
    let Ok(task) = std::env::var(RELAY) else { return };
    let (server, incarnation) = task.split_once('/').expect("an address and an incarnation");
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).expect("UTF-8");
    // statusd was killed while writing the input.
    let Ok(change) = serde_json::from_str::<Value>(&text) else { exit(NOT_NOW) };
    let key = change["key"].as_str().unwrap_or_default();
    let deliver = || -> io::Result<Option<String>> {
        let mut server = TcpStream::connect(server)?;
        server.write_all(format!("{incarnation}\n{key}\n{text}").as_bytes())?;
        server.shutdown(Shutdown::Write)?;
        line(&mut BufReader::new(server))
    };
    match deliver() {
        Ok(Some(said)) if said == TAKEN => exit(0),
        _ => exit(NOT_NOW),
    }
}

pub fn receive(client: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
    let (Some(incarnation), Some(key)) = (line(client)?, line(client)?) else { return Ok(None) };
    let mut text = String::new();
    client.read_to_string(&mut text)?;
    Ok(Some(Message { incarnation: incarnation.parse().expect("an incarnation"), key, text }))
}

pub fn refuse(client: &mut BufReader<TcpStream>) -> io::Result<()> {
    client.get_mut().write_all(b"not now\n")
}

pub fn acknowledge(client: &mut BufReader<TcpStream>) -> io::Result<()> {
    client.get_mut().write_all(format!("{TAKEN}\n").as_bytes())
}
