//! Bytes as they come from a pipe into lines. Pure: it knows nothing of where they come from.

/// The longest line that is handed on in one piece.
pub(super) const LONGEST: usize = 4096;

/// Takes a line.
type Take<'a> = dyn FnMut(&[u8]) + 'a;

/// Collects bytes, hands on lines.
pub(super) struct Lines<'a> {
    rest: Vec<u8>,
    line: Box<Take<'a>>,
}

impl<'a> Lines<'a> {
    /// `line` gets each line without its newline.
    pub(super) fn new(line: impl FnMut(&[u8]) + 'a) -> Self {
        Self { rest: Vec::new(), line: Box::new(line) }
    }

    /// More bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let mut done = 0;
        loop {
            let rest = &self.rest[done..];
            let within = &rest[..rest.len().min(LONGEST + 1)];
            if let Some(end) = within.iter().position(|byte| *byte == b'\n') {
                (self.line)(&rest[..end]);
                done += end + 1;
            } else if rest.len() > LONGEST {
                let end = cut(&rest[..LONGEST]);
                (self.line)(&rest[..end]);
                done += end;
            } else {
                break;
            }
        }
        self.rest.drain(..done);
    }

    /// No more bytes: a last line may lack its newline.
    pub(super) fn finish(&mut self) {
        if !self.rest.is_empty() {
            (self.line)(&std::mem::take(&mut self.rest));
        }
    }
}

/// Where to cut a piece that is too long: before a character of UTF-8 that would be torn, else at its end.
fn cut(piece: &[u8]) -> usize {
    let tail = &piece[piece.len().saturating_sub(3)..];
    for (back, byte) in (1..).zip(tail.iter().rev()) {
        let length = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue, // its beginning is further left
            _ => return piece.len(),
        };
        return if length > back { piece.len() - back } else { piece.len() };
    }
    piece.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut line = |line: &[u8]| found.push(line.to_vec());
        let mut lines = Lines::new(&mut line);
        for chunk in chunks {
            lines.push(chunk);
        }
        lines.finish();
        drop(lines);
        found
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        type Bytes<'a> = &'a [&'a [u8]];
        let cases: &[(Bytes<'_>, Bytes<'_>)] = &[
            (&[], &[]),
            (&[b""], &[]),
            (&[b"\n"], &[b""]),
            (&[b"a\nb\n"], &[b"a", b"b"]),
            (&[b"a\n\nb"], &[b"a", b"", b"b"]),
            (&[b"a", b"b", b"\n", b"c"], &[b"ab", b"c"]),
            (&[b"\xff\x00\n\x1b[2J"], &[b"\xff\x00", b"\x1b[2J"]),
            (&[b"dos\r\n"], &[b"dos\r"]),
        ];
        for (chunks, expected) in cases {
            assert_eq!(&lines(chunks), expected, "{chunks:?}");
        }
    }

    #[test]
    fn long_line_comes_in_pieces_and_nothing_is_lost() {
        for length in [LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST, 2 * LONGEST + 1, 10_000] {
            for chunk in [1, 7, LONGEST, 16 * 1024] {
                let text: Vec<u8> = (0..length).map(|i| b'a' + u8::try_from(i % 26).unwrap()).collect();
                let ended: Vec<u8> = [&text[..], b"\nend\n"].concat();
                let found = lines(&ended.chunks(chunk).collect::<Vec<_>>());
                let (last, pieces) = found.split_last().unwrap();
                assert_eq!(last, b"end");
                assert_eq!(pieces.concat(), text, "{length} in chunks of {chunk}");
                assert_eq!(pieces.len(), length.div_ceil(LONGEST), "{length} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn cut_tears_no_character() {
        for character in ["é", "€", "🦀"] {
            for before in 0..4 {
                let text = format!("{}{}", "x".repeat(before), character.repeat(LONGEST));
                let pieces = lines(&[text.as_bytes()]);
                assert!(pieces.iter().all(|p| std::str::from_utf8(p).is_ok() && p.len() <= LONGEST), "{character}");
                assert_eq!(pieces.concat(), text.as_bytes());
            }
        }
        // What is no UTF-8 is cut where it must be, and still ends.
        assert_eq!(lines(&[&[0x80; LONGEST + 1]]).concat(), [0x80; LONGEST + 1]);
        assert_eq!(lines(&[&[0xF0; LONGEST + 1]]).concat(), [0xF0; LONGEST + 1]);
    }
}
