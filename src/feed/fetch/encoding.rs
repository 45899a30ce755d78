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
pub struct ContentEncoding(Vec<String>);

impl ContentEncoding {
    /// Reads all header lines, each with one or more names. Names are case-insensitive.
    pub fn from_headers(headers: &HeaderMap) -> ContentEncoding {
        let lines = headers.get_all(CONTENT_ENCODING).iter();
        let lines: Vec<String> =
            lines.map(|line| String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase()).collect();
        let names = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
        ContentEncoding(names.filter(|name| !matches!(*name, "" | "identity")).map(str::to_owned).collect())
    }

    /// Returns the failure that explains a body that is not a status document, if its encoding does.
    /// `is_gzip`: whether the body was in gzip format.
    pub fn failure(&self, is_gzip: bool) -> Option<FailureKind> {
        let unsupported = self.0.iter().find(|name| !matches!(name.as_str(), "gzip" | "x-gzip"));
        match unsupported {
            Some(name) => Some(FailureKind::Encoding(text::plain_line(name, NAME_MAX_CHARS))),
            None if self.0.is_empty() || is_gzip => None,
            None => Some(FailureKind::Malformed),
        }
    }
}

/// Returns the unpacked body; one that is not gzip is returned unchanged.
pub fn unpacked(body: Vec<u8>, max_bytes: usize) -> Result<Vec<u8>, FailureKind> {
    gzip::unpacked(body, max_bytes).map_err(|fault| match fault {
        gzip::GzipError::TooLarge => FailureKind::TooLarge { limit_bytes: max_bytes },
        gzip::GzipError::Broken(kind) => error::from_io(kind).unwrap_or(FailureKind::Malformed),
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn invalid_gzip_is_cut_off_or_malformed() {
        let cut_off = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
        assert_eq!(unpacked(cut_off, 100), Err(FailureKind::CutOff));
        let wrong = b"\x1f\x8b\x07\0\0\0\0\0\0\x03garbage".to_vec();
        assert_eq!(unpacked(wrong, 100), Err(FailureKind::Malformed));
    }

    #[test]
    fn unsupported_encodings_are_named_in_every_spelling() {
        #[track_caller]
        fn check(lines: &[&'static str], expected: Option<FailureKind>) {
            let lines = lines.iter().map(|line| (CONTENT_ENCODING, HeaderValue::from_static(line)));
            assert_eq!(
                ContentEncoding::from_headers(&HeaderMap::from_iter(lines.clone())).failure(false),
                expected
            );
        }
        check(&[], None);
        check(&[""], None);
        check(&["identity"], None);
        check(&["Identity, "], None);
        check(&["GZIP"], Some(FailureKind::Malformed));
        check(&["x-gzip"], Some(FailureKind::Malformed));
        check(&["gzip, identity"], Some(FailureKind::Malformed));
        check(&["BR"], Some(FailureKind::Encoding("br".to_owned())));
        check(&["gzip , zstd"], Some(FailureKind::Encoding("zstd".to_owned())));
        let gzip = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        assert_eq!(ContentEncoding::from_headers(&gzip).failure(true), None, "the content is at fault");
    }
}
