//! Content-Encoding. Labels that change no byte are accepted (an empty one, `identity`, and `aws-chunked` of S3's
//! clients), as is `gzip` if the archive itself is a tar.gz. A body that was compressed for the transfer is refused:
//! this was not requested, and its length, ETag and checksums would be those of other bytes.

use std::io::Read;

use flate2::read::GzDecoder;
use ureq::http::HeaderMap;
use ureq::http::header;

use crate::error::{Error, Result};

/// How many bytes are enough to recognize a tar.gz.
pub(super) const BEGINNING: u64 = 64 << 10;
/// The size of a tar header.
const BLOCK: usize = 512;
/// The position of the checksum in the header.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Whether a body is labelled as gzip. Fails for an encoding that is refused.
pub(super) fn is_gzip(headers: &HeaderMap) -> Result<bool> {
    let mut gzips = 0;
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for coding in String::from_utf8_lossy(value.as_bytes()).split(',') {
            match coding.trim().to_ascii_lowercase().as_str() {
                // Amazon S3 sends an empty one for uploads with aws-chunked, and other services send the word.
                "" | "identity" | "aws-chunked" => {}
                "gzip" | "x-gzip" => gzips += 1,
                other => return Err(coded(&other.escape_debug().to_string())),
            }
        }
    }
    if gzips > 1 { Err(coded("gzip, more than once")) } else { Ok(gzips == 1) }
}

/// The error for a body with the encoding `coding`.
pub fn coded(coding: &str) -> Error {
    let why = "though only the plain content was asked for (Accept-Encoding: identity): turn that off at the server";
    Error::refused(format!("it is sent with Content-Encoding {coding}, {why}"))
}

/// Whether bytes are the beginning of a tar.gz: decompressed, they start with a valid tar header.
pub(super) fn is_tar_gz(beginning: &[u8]) -> bool {
    let mut block = [0; BLOCK];
    if GzDecoder::new(beginning).read_exact(&mut block).is_err() {
        return false;
    }
    // Eight bytes of octal digits, which count as blanks in the sum.
    let digits = String::from_utf8_lossy(&block[CHECKSUM]).trim_matches(['\0', ' ']).to_owned();
    block[CHECKSUM].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    u32::from_str_radix(&digits, 8) == Ok(sum)
}

#[cfg(test)]
mod tests {
    use crate::http::coding::*;
    use std::io::Write;
    use ureq::http::HeaderValue;

    #[test]
    fn labels_that_change_no_byte() {
        for (values, expected) in [
            (&[][..], Some(false)),
            (&[""], Some(false)),
            (&["identity"], Some(false)),
            (&["aws-chunked"], Some(false)),
            (&["AWS-chunked , identity"], Some(false)),
            (&["aws-chunked,"], Some(false)),
            (&["identity", ""], Some(false)),
            (&["gzip"], Some(true)),
            (&["X-Gzip"], Some(true)),
            (&["aws-chunked,gzip"], Some(true)),
            (&["aws-chunked", "gzip"], Some(true)),
            (&["gzip, gzip"], None),
            (&["gzip", "x-gzip"], None),
            (&["deflate"], None),
            (&["br"], None),
            (&["zstd"], None),
            (&["gzip, br"], None),
            (&["identity aws-chunked"], None),
        ] {
            let headers =
                values.iter().map(|v| (header::CONTENT_ENCODING, HeaderValue::from_str(v).unwrap())).collect();
            assert_eq!(is_gzip(&headers).ok(), expected, "{values:?}");
        }
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(content).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn a_tar_is_told_by_the_checksum_of_its_first_header() {
        let mut block = [0; BLOCK];
        block[..4].copy_from_slice(b"file");
        block[CHECKSUM].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        for (digits, expected) in [
            (format!("{sum:06o}\0 "), true),
            (format!("{sum:7o} "), true),
            (format!("{:06o}\0 ", sum + 1), false),
            ("\0".repeat(8), false),
        ] {
            block[CHECKSUM].copy_from_slice(digits.as_bytes());
            assert_eq!(is_tar_gz(&gzip(&block)), expected, "{digits:?}");
            assert!(!is_tar_gz(&block) && !is_tar_gz(&gzip(&gzip(&block))) && !is_tar_gz(&gzip(&block[..511])));
        }
        assert!(!is_tar_gz(b"") && !is_tar_gz(b"PK\x03\x04") && !is_tar_gz(&gzip(b"PK\x03\x04")));
    }
}
