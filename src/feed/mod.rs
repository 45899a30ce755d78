//! Apple's feed: fetching it, parsing it into a document, and recordings of it.

pub mod fetch;
pub mod parse;
pub mod recorder;
pub mod recording;
