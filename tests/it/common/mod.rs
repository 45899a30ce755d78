//! Mocks of external systems, shared by the tests and the benchmarks.

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
pub mod mqtt_proxy;
pub mod phone;
pub mod phone_certs;
pub mod recordings;
pub mod seeded_store;
