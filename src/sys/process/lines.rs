//! Splits bytes from a pipe into lines. Pure. For a caller that keeps the lines the amount is bounded: after so many
//! bytes only the last ones are remembered, and passed on at the end.

/// The longest line that is passed on in one piece.
pub(super) const LONGEST: usize = 4096;

/// How many of the last bytes are remembered.
const TAIL: usize = 4096;

/// The cost of keeping a line, besides its bytes: many short lines add up.
const FRAME: usize = 64;

/// A piece of output.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// A line without its newline, or a piece of one.
    Line(&'a [u8]),
    /// This many bytes are left out here; the end of the output follows.
    LeftOut(u64),
}

/// The receiver of output.
type Take<'a> = dyn FnMut(Output<'_>) + 'a;

/// Collects bytes, and passes on lines.
pub(super) struct Lines<'a> {
    rest: Vec<u8>,
    /// How much is still passed on as it comes.
    room: u64,
    /// How many bytes came after that.
    excess: u64,
    take: Box<Take<'a>>,
}

impl<'a> Lines<'a> {
    /// `take` gets each line.
    pub(super) fn new(take: impl FnMut(Output<'_>) + 'a) -> Self {
        Self::bounded(u64::MAX, take)
    }

    /// As [`Self::new`], for as many lines as fill `room`.
    pub(super) fn bounded(room: u64, take: impl FnMut(Output<'_>) + 'a) -> Self {
        Self { rest: Vec::new(), room, excess: 0, take: Box::new(take) }
    }

    /// Adds bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        self.hand_on();
        if self.room == 0 {
            let over = self.rest.len().saturating_sub(TAIL);
            self.rest.drain(..over);
            self.excess += over as u64;
        }
    }

    /// Passes on the lines that are complete, or too long to wait for their end.
    fn hand_on(&mut self) {
        let mut done = 0;
        while self.room > 0 {
            let rest = &self.rest[done..];
            let within = &rest[..rest.len().min(LONGEST + 1)];
            let (end, next) = match within.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end, end + 1),
                None if rest.len() > LONGEST => {
                    let end = cut(&rest[..LONGEST]);
                    (end, end)
                }
                None => break,
            };
            (self.take)(Output::Line(&rest[..end]));
            done += next;
            self.room = self.room.saturating_sub((next + FRAME) as u64);
        }
        self.rest.drain(..done);
    }

    /// Ends the input: a last line may lack its newline.
    pub(super) fn finish(&mut self) {
        if self.excess > 0 {
            // The end starts with a whole line, if it has one.
            let torn = self.rest.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            self.rest.drain(..torn);
            (self.take)(Output::LeftOut(std::mem::take(&mut self.excess) + torn as u64));
        }
        self.room = u64::MAX;
        self.hand_on();
        if !self.rest.is_empty() {
            (self.take)(Output::Line(&std::mem::take(&mut self.rest)));
        }
    }
}

/// Where to cut a piece that is too long: before a UTF-8 character that would be torn, else at its end.
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
        let mut lines = Lines::new(|output| match output {
            Output::Line(line) => found.push(line.to_vec()),
            Output::LeftOut(bytes) => panic!("{bytes} bytes are left out"),
        });
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
    fn more_than_there_is_room_for_then_the_beginning_and_the_end_come_and_all_bytes_are_counted() {
        for chunk in [1, 100, 4096, 16 * 1024] {
            let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
            let (mut first, mut left_out, mut last) = (String::new(), None, String::new());
            let mut lines = Lines::bounded(1000, |output| match (output, left_out) {
                (Output::Line(line), None) => first += &(String::from_utf8_lossy(line) + "\n"),
                (Output::LeftOut(bytes), None) => left_out = Some(bytes),
                (Output::Line(line), Some(_)) => last += &(String::from_utf8_lossy(line) + "\n"),
                (Output::LeftOut(_), Some(_)) => panic!("twice"),
            });
            text.as_bytes().chunks(chunk).for_each(|bytes| lines.push(bytes));
            assert!(lines.rest.len() <= TAIL && lines.rest.capacity() < 64 * 1024);
            lines.finish();
            drop(lines);
            assert!(text.starts_with(&first) && first.lines().count() == 1000_usize.div_ceil(FRAME + 7), "{chunk}");
            assert!(text.ends_with(&last) && last.starts_with("line ") && last.len() > TAIL - 20, "{chunk}: {last}");
            assert_eq!(first.len() as u64 + left_out.unwrap() + last.len() as u64, text.len() as u64, "{chunk}");
        }
        // Bytes that fit into the remembered end are no excess.
        let (mut count, room) = (0, 10 * (FRAME as u64 + 1));
        let mut lines = Lines::bounded(room, |output| match output {
            Output::Line(_) => count += 1,
            Output::LeftOut(bytes) => panic!("{bytes} bytes are left out"),
        });
        lines.push(&[b'\n'; 10 + TAIL]);
        lines.finish();
        drop(lines);
        assert_eq!(count, 10 + TAIL);
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
        // Invalid UTF-8 is cut where it must be, and still ends.
        assert_eq!(lines(&[&[0x80; LONGEST + 1]]).concat(), [0x80; LONGEST + 1]);
        assert_eq!(lines(&[&[0xF0; LONGEST + 1]]).concat(), [0xF0; LONGEST + 1]);
    }
}
