pub mod channel;
pub mod feed;
pub mod model;
pub mod text;
pub mod track;
pub mod watch;
