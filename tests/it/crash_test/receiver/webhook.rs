//! A receiver of webhooks: a POST each. The path says which life sent it.

use std::io::{self, BufReader};
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde_json::Value;

use super::super::http::{self, Request};
use super::super::journal::Message;
use super::super::scenario::{Kind, News};

pub fn table(peer: SocketAddr, life: u32) -> String {
    format!("[channel.webhook.lab]\nurl = \"http://{peer}/{life}\"\n")
}

pub fn receive(visitor: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
    let Some(request) = Request::read(visitor)? else { return Ok(None) };
    let life = request.path.trim_start_matches('/').parse().expect("a life");
    let key = request.header("idempotency-key").unwrap_or_default().to_owned();
    let text = String::from_utf8(request.body).expect("UTF-8");
    Ok(Some(Message { life, key, text }))
}

pub fn refuse(visitor: &mut BufReader<TcpStream>) -> io::Result<()> {
    http::answer(visitor.get_mut(), 503, "")?;
    visitor.get_mut().shutdown(Shutdown::Both)
}

pub fn thank(visitor: &mut BufReader<TcpStream>) -> io::Result<()> {
    http::answer(visitor.get_mut(), 200, "")?;
    visitor.get_mut().shutdown(Shutdown::Both)
}

/// The documented JSON of a change.
pub fn news(text: &str) -> News {
    let change: Value = serde_json::from_str(text).expect("JSON");
    let field = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
    News { service: field("service"), kind: Kind::parse(&field("kind")) }
}
