//! A program that is run for each change: hands what it reads to the one with the journal, and
//! succeeds only if that one took it.
//!
//! It may outlive a killed statusd, which is why the journal asks for the life in each message and
//! not for the time.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::exit;

use serde_json::Value;

use super::super::http::line;
use super::super::journal::Message;

/// `ADDRESS/LIFE`, for [`relay`].
const RELAY: &str = "LAB_RELAY";
const TAKEN: &str = "taken";
/// EX_TEMPFAIL of sysexits.h.
const NOT_NOW: i32 = 75;

pub fn table(home: &Path, peer: SocketAddr, life: u32) -> String {
    let program = home.join("relay");
    let lab = std::env::current_exe().expect("a program");
    let script = format!(
        "#!/bin/sh\n{RELAY}={peer}/{life} exec '{}' --exact lab::relay --ignored --nocapture\n",
        lab.display()
    );
    fs::write(&program, script).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("may be run");
    format!("[channel.command.lab]\ncommand = [{program:?}]\n")
}

/// The program itself, played by this test program; anything else that runs all tests passes by.
pub fn relay() {
    let Ok(task) = std::env::var(RELAY) else { return };
    let (peer, life) = task.split_once('/').expect("an address and a life");
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).expect("UTF-8");
    // Whoever was to hand it over died in the middle.
    let Ok(change) = serde_json::from_str::<Value>(&text) else { exit(NOT_NOW) };
    let key = change["key"].as_str().unwrap_or_default();
    let hand_over = || -> io::Result<Option<String>> {
        let mut peer = TcpStream::connect(peer)?;
        peer.write_all(format!("{life}\n{key}\n{text}").as_bytes())?;
        peer.shutdown(Shutdown::Write)?;
        line(&mut BufReader::new(peer))
    };
    match hand_over() {
        Ok(Some(said)) if said == TAKEN => exit(0),
        _ => exit(NOT_NOW),
    }
}

pub fn receive(visitor: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
    let (Some(life), Some(key)) = (line(visitor)?, line(visitor)?) else { return Ok(None) };
    let mut text = String::new();
    visitor.read_to_string(&mut text)?;
    Ok(Some(Message { life: life.parse().expect("a life"), key, text }))
}

pub fn refuse(visitor: &mut BufReader<TcpStream>) -> io::Result<()> {
    visitor.get_mut().write_all(b"not now\n")
}

pub fn thank(visitor: &mut BufReader<TcpStream>) -> io::Result<()> {
    visitor.get_mut().write_all(format!("{TAKEN}\n").as_bytes())
}
