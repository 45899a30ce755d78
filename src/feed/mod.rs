//! Apple's feed: bytes → a document, and recordings of documents.

pub mod fetch;
pub mod parse;
pub mod recording;
