//! What the test programs share: the outside world, played on this computer.

#![allow(dead_code, reason = "every test program compiles all of it and uses a part")]

pub mod apple;
pub mod bus;
pub mod doc;
pub mod log;
pub mod peer;
