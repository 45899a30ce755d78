//! A webhook receiver: one POST for each change. The path holds the incarnation.

use std::io::{self, BufReader};
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde_json::Value;

use super::super::http::{self, Request};
use super::super::journal::Message;
use super::super::scenario::{Change, Kind};

pub fn table(server: SocketAddr, incarnation: u32) -> String {
    format!("[channel.webhook.test]\nurl = \"http://{server}/{incarnation}\"\n")
}

pub fn receive(client: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
    let Some(request) = Request::read(client)? else { return Ok(None) };
    let incarnation = request.path.trim_start_matches('/').parse().expect("an incarnation");
    let key = request.header("idempotency-key").unwrap_or_default().to_owned();
    let text = String::from_utf8(request.body).expect("UTF-8");
    Ok(Some(Message { incarnation, key, text }))
}

pub fn refuse(client: &mut BufReader<TcpStream>) -> io::Result<()> {
    http::answer(client.get_mut(), 503, "")?;
    client.get_mut().shutdown(Shutdown::Both)
}

pub fn acknowledge(client: &mut BufReader<TcpStream>) -> io::Result<()> {
    http::answer(client.get_mut(), 200, "")?;
    client.get_mut().shutdown(Shutdown::Both)
}

/// The documented JSON of a change.
pub fn change(text: &str) -> Change {
    let change: Value = serde_json::from_str(text).expect("JSON");
    let field = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
    Change { service: field("service"), kind: Kind::parse(&field("kind")) }
}
