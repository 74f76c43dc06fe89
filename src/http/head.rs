//! Filters the head of a response before ureq parses it: interim responses (1xx) are skipped, folded lines (RFC 9112,
//! section 5.2) are joined, and if the head has more lines than ureq accepts (128, and 20 for a proxy's response to
//! CONNECT), unused headers are removed. Everything else is passed to ureq unchanged.

/// The largest head of a response.
pub(super) const LARGEST_HEAD: usize = 32 << 10;
/// The headers used by this program or by ureq, besides those that start with [`AMZ`].
const READ: [&str; 11] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "location",
    "retry-after",
    "transfer-encoding",
];
/// The prefix of S3's headers; those that start with [`META`] are the uploader's, and not used.
const AMZ: &str = "x-amz-";
const META: &str = "x-amz-meta-";
/// The first bytes of a response.
const HTTP: &[u8] = b"HTTP/";

/// The head is larger than [`LARGEST_HEAD`]: at least this many bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge(pub(super) usize);

/// The bytes received so far.
#[derive(Debug, Default)]
pub(super) struct Heads(Vec<u8>);

impl Heads {
    /// Adds received bytes. Once the head is complete, returns it and the bytes after it.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<Option<Vec<u8>>, TooLarge> {
        self.0.extend_from_slice(input);
        loop {
            let seen = self.0.len().min(HTTP.len());
            if self.0.get(..seen) != HTTP.get(..seen) {
                return Ok(Some(std::mem::take(&mut self.0))); // ureq reports the error
            }
            let Some(end) = end(&self.0) else {
                let length = self.0.len();
                return if length > LARGEST_HEAD { Err(TooLarge(length)) } else { Ok(None) };
            };
            if end > LARGEST_HEAD {
                return Err(TooLarge(end));
            }
            let rest = self.0.split_off(end);
            let head = std::mem::replace(&mut self.0, rest);
            if !is_interim(&head) {
                return Ok(Some([lines(&head), std::mem::take(&mut self.0)].concat()));
            }
        }
    }
}

/// The end of the first head in `bytes`: after its first empty line.
fn end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        at += line.len();
        if line == b"\r\n" || line == b"\n" {
            return Some(at);
        }
    }
    None
}

/// Whether another response follows; after 101 none does.
fn is_interim(head: &[u8]) -> bool {
    let Some((status, rest)) = head.split(|b| *b == b' ').nth(1).and_then(|word| word.split_first_chunk::<3>()) else {
        return false;
    };
    let is_whole = rest.first().is_none_or(u8::is_ascii_whitespace);
    is_whole && status[0] == b'1' && status[1..].iter().all(u8::is_ascii_digit) && status != b"101"
}

/// The head with folded lines joined.
fn lines(head: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in head.split_inclusive(|b| *b == b'\n') {
        let is_folded = line.starts_with(b" ") || line.starts_with(b"\t");
        match lines.last_mut().filter(|_| is_folded) {
            Some(above) if above.contains(&b':') && !above.starts_with(HTTP) => {
                above.truncate(above.trim_ascii_end().len());
                above.push(b' ');
                above.extend_from_slice(line.trim_ascii_start());
                if !above.ends_with(b"\n") {
                    above.extend_from_slice(b"\r\n"); // it was folded to nothing
                }
            }
            _ => lines.push(line.to_vec()),
        }
    }
    lines.retain(|line| !is_unread(line));
    lines.concat()
}

/// Whether a line is an unused header. A malformed line is not: ureq has to refuse it.
fn is_unread(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|b| *b == b':') else { return false };
    let (name, value) = line.split_at(colon);
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let is_text = |b: &u8| *b == b'\t' || !b.is_ascii_control();
    if name.is_empty() || !name.iter().all(is_token) || !value.trim_ascii_end().iter().all(is_text) {
        return false;
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let is_of_s3 = name.starts_with(AMZ) && !name.starts_with(META);
    !is_of_s3 && !READ.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use crate::http::head::*;

    fn whole(bytes: &[u8]) -> Option<String> {
        Heads::default().take(bytes).unwrap().map(|out| String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_comes_out_is_the_head_of_the_answer_and_what_follows_it() {
        for (came, expected) in [
            (
                "HTTP/1.1 200 OK\r\nETag: \"a\"\r\n\r\nbody\r\n\r\n",
                "HTTP/1.1 200 OK\r\nETag: \"a\"\r\n\r\nbody\r\n\r\n",
            ),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
            ("HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.0 200\n\nb", "HTTP/1.0 200\n\nb"),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102\r\n\r\nHTTP/1.1 404 No\r\n\r\n",
                "HTTP/1.1 404 No\r\n\r\n",
            ),
            (
                "HTTP/1.1 101 Switching\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
                "HTTP/1.1 101 Switching\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            ),
            ("HTTP/1.1 1000 x\r\n\r\nb", "HTTP/1.1 1000 x\r\n\r\nb"),
            ("HTTP/1.1 1\r\n\r\nb", "HTTP/1.1 1\r\n\r\nb"),
            // Folded, at the end of a line and elsewhere.
            (
                "HTTP/1.1 200 OK\r\nETag:\r\n \"a\"\r\nDate: x\n\ty \r\n z\r\n\r\n",
                "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nDate: x y z\r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nETag: \"a\"\r\n \r\nDate: x\r\n\r\n",
                "HTTP/1.1 200 OK\r\nETag: \"a\" \r\nDate: x\r\n\r\n",
            ),
            // No line above that it could continue: ureq refuses it.
            ("HTTP/1.1 200 OK\r\n ETag: \"a\"\r\n\r\n", "HTTP/1.1 200 OK\r\n ETag: \"a\"\r\n\r\n"),
            // Unused headers are removed, malformed lines are not.
            (
                "HTTP/1.1 200 OK\r\nServer: s\r\nX-Amz-Meta-A: b\r\nx-amz-version-id: v\r\nX y: z\r\nX: \x01\r\nnone\r\n: a\r\n\r\n",
                "HTTP/1.1 200 OK\r\nx-amz-version-id: v\r\nX y: z\r\nX: \x01\r\nnone\r\n: a\r\n\r\n",
            ),
            ("\x15\x03\x01", "\x15\x03\x01"),
            ("SSH-2.0-x\r\n", "SSH-2.0-x\r\n"),
        ] {
            assert_eq!(whole(came.as_bytes()).as_deref(), Some(expected), "{came:?}");
            // The same byte by byte: nothing comes out before its head is complete.
            let mut heads = Heads::default();
            let mut out = Vec::new();
            for byte in came.as_bytes() {
                if out.is_empty() {
                    out.extend(heads.take(&[*byte]).unwrap().unwrap_or_default());
                } else {
                    out.push(*byte);
                }
            }
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{came:?}");
        }
        for came in ["", "HT", "HTTP/1.1 200 OK\r\nETag", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n\r"] {
            assert_eq!(whole(came.as_bytes()), None, "{came:?}");
        }
    }

    #[test]
    fn each_head_has_its_own_limit_and_the_body_none() {
        let head = |status: &str, length: usize| format!("HTTP/1.1 {status}\r\nX: {}\r\n\r\n", "x".repeat(length));
        let fits = LARGEST_HEAD - head("100", 0).len();
        let came = [head("100", fits), head("103", fits), head("200", fits), "b".repeat(LARGEST_HEAD)].concat();
        let out = whole(came.as_bytes()).unwrap();
        assert_eq!(out, format!("HTTP/1.1 200\r\n\r\n{}", "b".repeat(LARGEST_HEAD)));
        for status in ["100", "200"] {
            let came = head(status, fits + 1);
            assert_eq!(Heads::default().take(came.as_bytes()), Err(TooLarge(came.len())));
            assert_eq!(
                Heads::default().take(&came.as_bytes()[..came.len() - 1]).is_err(),
                came.len() - 1 > LARGEST_HEAD
            );
        }
    }
}
