//! What the test programs share: the outside world, played on this computer.

pub mod alertmanager;
pub mod apple;
pub mod bus;
pub mod doc;
pub mod hostile;
pub mod hosts;
pub mod http_server;
pub mod log;
pub mod mail;
pub mod mosquitto;
pub mod old_schema;
pub mod phone;
pub mod phone_certs;
pub mod time_server;
pub mod wire;
