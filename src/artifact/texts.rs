//! Many short texts in memory, in blocks that are never moved: a single vector would need twice the memory while it
//! grows.

/// Bytes of a block. The unused end of the last one is never touched, and so takes no memory.
const BLOCK: usize = 1 << 18;

/// Texts from an untrusted source: names of members, targets of links.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    blocks: Vec<Vec<u8>>,
}

/// The position of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

/// A position between two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    blocks: usize,
    last: usize,
}

impl Texts {
    /// Stores a text. `None`: it is longer than a block, or all texts together are longer than 4 GiB.
    pub fn push(&mut self, text: &[u8]) -> Option<Span> {
        let has_room = |block: &Vec<u8>| BLOCK - block.len() >= text.len();
        if !self.blocks.last().is_some_and(has_room) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let before = (self.blocks.len() - 1).checked_mul(BLOCK)?;
        let block = self.blocks.last_mut().filter(|block| has_room(block))?;
        let span = Span { start: u32::try_from(before + block.len()).ok()?, len: u32::try_from(text.len()).ok()? };
        block.extend_from_slice(text);
        Some(span)
    }

    /// The position after the last text.
    pub fn mark(&self) -> Mark {
        Mark { blocks: self.blocks.len(), last: self.blocks.last().map_or(0, Vec::len) }
    }

    /// Removes all texts after `mark`.
    pub fn truncate(&mut self, mark: Mark) {
        self.blocks.truncate(mark.blocks);
        self.blocks.last_mut().into_iter().for_each(|last| last.truncate(mark.last));
    }

    /// The text at this position.
    pub fn get(&self, Span { start, len }: Span) -> &[u8] {
        let (block, start) = (start as usize / BLOCK, start as usize % BLOCK);
        self.blocks.get(block).and_then(|block| block.get(start..start + len as usize)).unwrap_or_default()
    }
}

impl Span {
    /// Its first `len` bytes.
    #[must_use]
    pub fn first(self, len: usize) -> Self {
        Self { len: u32::try_from(len).map_or(self.len, |len| len.min(self.len)), ..self }
    }

    /// All but its first `skip` bytes.
    #[must_use]
    pub fn without(self, skip: u16) -> Self {
        let skip = u32::from(skip).min(self.len);
        Self { start: self.start + skip, len: self.len - skip }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_from_every_block() {
        let mut texts = Texts::default();
        let text = |number: usize| vec![b'a' + u8::try_from(number % 26).unwrap(); number * 97 % 5000];
        let spans: Vec<Span> = (0..500).map(|number| texts.push(&text(number)).unwrap()).collect();
        assert!(texts.blocks.len() > 3);
        for (number, span) in spans.into_iter().enumerate() {
            assert_eq!(texts.get(span), text(number), "{number}");
        }
        assert_eq!(texts.push(&[b'x'; BLOCK + 1]), None);
        let whole = texts.push(&[b'y'; BLOCK]).unwrap();
        assert_eq!(texts.get(whole).len(), BLOCK);
        assert_eq!(texts.get(texts.clone().push(b"").unwrap()), b"");
    }

    #[test]
    fn what_came_after_a_mark_goes() {
        let mut texts = Texts::default();
        let start = texts.mark();
        let kept = texts.push(b"kept").unwrap();
        let mark = texts.mark();
        let more: Vec<Span> = (0..300).map(|_| texts.push(&[b'x'; 4000]).unwrap()).collect();
        texts.truncate(mark);
        assert_eq!((texts.get(kept), texts.get(more[0]), texts.blocks.len()), (&b"kept"[..], &b""[..], 1));
        let next = texts.push(b"next").unwrap();
        assert_eq!((texts.get(kept), texts.get(next)), (&b"kept"[..], &b"next"[..]));
        texts.truncate(start);
        assert!(texts.blocks.is_empty());
    }

    #[test]
    fn parts_of_a_span_stay_within_it() {
        let mut texts = Texts::default();
        texts.push(b"before").unwrap();
        let span = texts.push(b"top/a/b").unwrap();
        for (part, text) in [
            (span.without(4), "a/b"),
            (span.without(4).first(1), "a"),
            (span.first(3), "top"),
            (span.first(99), "top/a/b"),
            (span.without(99), ""),
        ] {
            assert_eq!(texts.get(part), text.as_bytes());
        }
    }
}
