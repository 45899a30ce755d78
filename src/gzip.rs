//! Unpacks gzip bodies (RFC 1952), recognised by their magic bytes: several members, padding.
//!
//! Independent of HTTP. Never unpacks more than the limit (`broken_or_too_large_bodies_are_rejected`).

use std::io::{self, Read as _};

use flate2::bufread::GzDecoder;

/// No JSON text and no HTML page starts with these bytes.
const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The most that packing adds to a small body: a header with a file name.
pub const OVERHEAD_BYTES: usize = 256;
/// A proxy may pack a packed body again.
const LAYERS_MAX: usize = 2;
/// Bounds the cost, which is mostly per member. Block compressors write one member per 64 KiB.
const MEMBERS_MAX: usize = 1_000;

/// The reason why a body cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GzipError {
    /// The unpacked body exceeds the limit.
    TooLarge,
    Broken(io::ErrorKind),
}

pub fn is_packed(body: &[u8]) -> bool {
    body.starts_with(&MAGIC)
}

/// Returns the unpacked body; one that is not gzip is returned unchanged.
pub fn unpacked(mut body: Vec<u8>, max_bytes: usize) -> Result<Vec<u8>, GzipError> {
    for _ in 0..LAYERS_MAX {
        if !is_packed(&body) {
            break;
        }
        body = gunzipped(&body, max_bytes)?;
    }
    Ok(body)
}

/// Unpacks consecutive members (RFC 1952, 2.2). Other bytes after them are padding, as in gzip(1).
fn gunzipped(packed: &[u8], max_bytes: usize) -> Result<Vec<u8>, GzipError> {
    let mut rest = packed;
    let mut unpacked = Vec::new();
    for _ in 0..MEMBERS_MAX {
        if !is_packed(rest) {
            return Ok(unpacked);
        }
        let mut member = GzDecoder::new(rest);
        let left_bytes = max_bytes - unpacked.len();
        let read = member.by_ref().take(left_bytes as u64 + 1).read_to_end(&mut unpacked);
        read.map_err(|error| GzipError::Broken(error.kind()))?;
        if unpacked.len() > max_bytes {
            return Err(GzipError::TooLarge);
        }
        rest = member.into_inner();
    }
    Err(GzipError::Broken(io::ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;
    use flate2::{Compression, GzBuilder};

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
    fn every_form_of_rfc_1952_is_unpacked() {
        check(b"{}".to_vec(), "{}");
        check(Vec::new(), "");
        check(gzip(b"{}"), "{}");
        check(gzip(b""), "");
        check(gzip(&gzip(b"{}")), "{}");
        // Several members, padding, garbage.
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
    fn broken_or_too_large_bodies_are_rejected() {
        let whole = gzip(&[b'x'; 100]);
        for end in 2..whole.len() {
            assert_eq!(
                unpacked(whole[..end].to_vec(), MAX_BYTES),
                Err(GzipError::Broken(io::ErrorKind::UnexpectedEof)),
                "{end}"
            );
        }
        let mut wrong = whole.clone();
        *wrong.last_mut().expect("bytes") ^= 1;
        assert!(matches!(unpacked(wrong, MAX_BYTES), Err(GzipError::Broken(_))));
        let too_large = Err(GzipError::TooLarge);
        assert_eq!(unpacked(gzip(&[0; MAX_BYTES + 1]), MAX_BYTES), too_large);
        assert_eq!(unpacked([gzip(&[0; MAX_BYTES]), gzip(b"x")].concat(), MAX_BYTES), too_large);
        assert_eq!(unpacked(gzip(&[0; MAX_BYTES]), MAX_BYTES).map(|bytes| bytes.len()), Ok(MAX_BYTES));
        let many = unpacked(gzip(b"").repeat(MEMBERS_MAX + 1), MAX_BYTES);
        assert_eq!(many, Err(GzipError::Broken(io::ErrorKind::InvalidData)));
    }
}
