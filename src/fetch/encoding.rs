//! The encoding of a body (RFC 9110, 8.4): gzip is taken off, any other is named.
//!
//! It reads no JSON. The bytes decide and not the header: servers and proxies between forget it,
//! write it in capitals, or label what they have unpacked already. Invariant: at no time more than
//! the limit is unpacked.

use std::io::Read as _;

use flate2::bufread::GzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use super::failure::{self, FailureKind};
use crate::text;

/// No JSON begins so.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// A proxy may pack what is packed already.
const LAYERS_MAX: usize = 2;
/// Each costs more than its bytes. Compressors that work in blocks make one for 64 KiB.
const MEMBERS_MAX: usize = 1_000;
const NAME_MAX_CHARS: usize = 40;

/// The encodings that the answer claims, outermost last.
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

pub fn is_packed(body: &[u8]) -> bool {
    body.starts_with(&GZIP_MAGIC)
}

/// The body without gzip.
pub fn unpacked(mut body: Vec<u8>, max_bytes: usize) -> Result<Vec<u8>, FailureKind> {
    for _ in 0..LAYERS_MAX {
        if !is_packed(&body) {
            break;
        }
        body = gunzipped(&body, max_bytes)?;
    }
    Ok(body)
}

/// Members follow one another (RFC 1952, 2.2). What else follows them is padding, as for gzip(1).
fn gunzipped(packed: &[u8], max_bytes: usize) -> Result<Vec<u8>, FailureKind> {
    let mut rest = packed;
    let mut unpacked = Vec::new();
    for _ in 0..MEMBERS_MAX {
        if !is_packed(rest) {
            return Ok(unpacked);
        }
        let mut member = GzDecoder::new(rest);
        let left_bytes = max_bytes - unpacked.len();
        let read = member.by_ref().take(left_bytes as u64 + 1).read_to_end(&mut unpacked);
        read.map_err(|error| failure::by_io(error.kind()).unwrap_or(FailureKind::Garbled))?;
        if unpacked.len() > max_bytes {
            return Err(FailureKind::TooLarge { limit_bytes: max_bytes });
        }
        rest = member.into_inner();
    }
    Err(FailureKind::Garbled)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;
    use flate2::{Compression, GzBuilder};
    use reqwest::header::HeaderValue;

    use super::*;

    const MAX_BYTES: usize = 1_000;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[track_caller]
    fn check(body: Vec<u8>, expected: &str) {
        let unpacked = unpacked(body, MAX_BYTES).map(|bytes| String::from_utf8(bytes).expect("text"));
        assert_eq!(unpacked.as_deref(), Ok(expected));
    }

    #[test]
    fn all_that_rfc_1952_allows_is_unpacked() {
        check(b"{}".to_vec(), "{}");
        check(Vec::new(), "");
        check(gzip(b"{}"), "{}");
        check(gzip(b""), "");
        check(gzip(&gzip(b"{}")), "{}");
        // Members, padding and garbage behind them.
        check([gzip(b"{\"a\":"), gzip(b""), gzip(b"1}")].concat(), "{\"a\":1}");
        check([gzip(b"{}"), vec![0; 512]].concat(), "{}");
        check([gzip(b"{}"), b"\r\n".to_vec()].concat(), "{}");
        // Every field of a header but FHCRC, which flate2 does not write.
        let builder =
            GzBuilder::new().filename("a.js").comment("c").extra(*b"xy\x01\0z").mtime(1).operating_system(3);
        let mut encoder = builder.write(Vec::new(), Compression::best());
        encoder.write_all(b"{}").expect("memory");
        check(encoder.finish().expect("memory"), "{}");
        let mut checked = gzip(b"{}");
        checked[3] |= 2;
        let mut crc = flate2::Crc::new();
        crc.update(&checked[..10]);
        let sum = (crc.sum() & 0xffff) as u16;
        checked.splice(10..10, sum.to_le_bytes());
        check(checked, "{}");
    }

    #[test]
    fn what_is_broken_or_too_large_is_named() {
        let whole = gzip(&[b'x'; 100]);
        for end in 2..whole.len() {
            assert_eq!(unpacked(whole[..end].to_vec(), MAX_BYTES), Err(FailureKind::CutOff), "{end}");
        }
        let mut wrong = whole.clone();
        *wrong.last_mut().expect("bytes") ^= 1;
        assert_eq!(unpacked(wrong, MAX_BYTES), Err(FailureKind::Garbled));
        let too_large = Err(FailureKind::TooLarge { limit_bytes: MAX_BYTES });
        assert_eq!(unpacked(gzip(&[0; MAX_BYTES + 1]), MAX_BYTES), too_large);
        assert_eq!(unpacked([gzip(&[0; MAX_BYTES]), gzip(b"x")].concat(), MAX_BYTES), too_large);
        assert_eq!(unpacked(gzip(&[0; MAX_BYTES]), MAX_BYTES).map(|bytes| bytes.len()), Ok(MAX_BYTES));
        assert_eq!(unpacked(gzip(b"").repeat(MEMBERS_MAX + 1), MAX_BYTES), Err(FailureKind::Garbled));
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
