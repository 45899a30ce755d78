//! Content encodings of a body (RFC 9110, section 8.4): unpacks gzip and names any other.
//!
//! The bytes decide, not the header: servers and proxies omit the header, or leave it on a body that
//! they have already unpacked.

use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use super::error::{self, FailureKind};
use crate::{gzip, text};

const NAME_MAX_CHARS: usize = 40;

/// The encodings in `Content-Encoding`, outermost last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed(Vec<String>);

impl Claimed {
    /// Names are case-insensitive, and there may be several lines with several each.
    pub fn by(headers: &HeaderMap) -> Claimed {
        let lines = headers.get_all(CONTENT_ENCODING).iter();
        let lines: Vec<String> =
            lines.map(|line| String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase()).collect();
        let names = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
        Claimed(names.filter(|name| !matches!(*name, "" | "identity")).map(str::to_owned).collect())
    }

    /// Why a body that is no status document is none, if its encoding explains it.
    pub fn explains(&self, is_unpacked: bool) -> Option<FailureKind> {
        let strange = self.0.iter().find(|name| !matches!(name.as_str(), "gzip" | "x-gzip"));
        match strange {
            Some(name) => Some(FailureKind::Encoding(text::plain_line(name, NAME_MAX_CHARS))),
            None if self.0.is_empty() || is_unpacked => None,
            None => Some(FailureKind::Garbled),
        }
    }
}

/// Returns the unpacked body; one that is not gzip is returned unchanged.
pub fn unpacked(body: Vec<u8>, max_bytes: usize) -> Result<Vec<u8>, FailureKind> {
    gzip::unpacked(body, max_bytes).map_err(|fault| match fault {
        gzip::GzipError::TooLarge => FailureKind::TooLarge { limit_bytes: max_bytes },
        gzip::GzipError::Broken(kind) => error::by_io(kind).unwrap_or(FailureKind::Garbled),
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn what_cannot_be_unpacked_is_named() {
        let cut_off = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
        assert_eq!(unpacked(cut_off, 100), Err(FailureKind::CutOff));
        let wrong = b"\x1f\x8b\x07\0\0\0\0\0\0\x03garbage".to_vec();
        assert_eq!(unpacked(wrong, 100), Err(FailureKind::Garbled));
    }

    #[test]
    fn the_encoding_is_named_in_every_spelling() {
        #[track_caller]
        fn check(lines: &[&'static str], expected: Option<FailureKind>) {
            let lines = lines.iter().map(|line| (CONTENT_ENCODING, HeaderValue::from_static(line)));
            assert_eq!(Claimed::by(&HeaderMap::from_iter(lines.clone())).explains(false), expected);
        }
        check(&[], None);
        check(&[""], None);
        check(&["identity"], None);
        check(&["Identity, "], None);
        check(&["GZIP"], Some(FailureKind::Garbled));
        check(&["x-gzip"], Some(FailureKind::Garbled));
        check(&["gzip, identity"], Some(FailureKind::Garbled));
        check(&["BR"], Some(FailureKind::Encoding("br".to_owned())));
        check(&["gzip , zstd"], Some(FailureKind::Encoding("zstd".to_owned())));
        let gzip = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        assert_eq!(Claimed::by(&gzip).explains(true), None, "what was in it is the trouble");
    }
}
