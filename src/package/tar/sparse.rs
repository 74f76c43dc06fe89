//! Sparse files, of which a tar contains only the pieces: a map gives their offsets, and zeros are between them. GNU
//! has four formats of the map: in the header (kind S), in a pax header (0.0, 0.1), in front of the pieces (1.0).
//! bsdtar writes the last one by default. Pure.

use super::header::{Block, digits, field, number};

/// The number of map entries in a header, and in each block that continues it.
const IN_HEADER: usize = 4;
const IN_BLOCK: usize = 21;

/// The records `GNU.sparse.*` of a pax header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    version: [u64; 2],
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pieces: Option<u64>,
    /// Offsets and lengths alternately.
    map: Vec<u64>,
}

/// The offset and length of each piece, in order.
pub(super) type Pieces = Vec<(u64, u64)>;

/// The map of a sparse file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) pieces: Pieces,
    /// The size of the file with its holes.
    pub(super) size: u64,
}

impl Sparse {
    /// Reads one record; `None`: it is invalid.
    pub(super) fn read(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"major" => self.version[0] = digits(value, 10)?,
            b"minor" => self.version[1] = digits(value, 10)?,
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(digits(value, 10)?),
            b"numblocks" => self.pieces = Some(digits(value, 10)?),
            b"offset" | b"numbytes" => {
                let is_turn = self.map.len().is_multiple_of(2) == (key == b"offset");
                self.map.push(digits(value, 10).filter(|_| is_turn)?);
            }
            b"map" => self.map = value.split(|b| *b == b',').map(|text| digits(text, 10)).collect::<Option<_>>()?,
            _ => return None,
        }
        Some(())
    }

    /// Whether the map is in front of the pieces.
    pub(super) fn is_in_front(&self) -> bool {
        self.version == [1, 0]
    }

    /// The map from the header. `None`: there is no valid one.
    pub(super) fn map(self, stored: u64) -> Option<Map> {
        let fits = self.version[0] == 0 && self.pieces.is_none_or(|n| n == self.map.len() as u64 / 2);
        let numbers = self.map.len().is_multiple_of(2) && fits;
        let pieces = self.map.chunks_exact(2).map(|piece| (piece[0], piece[1])).collect();
        Map::new(pieces, self.size.filter(|_| numbers)?, stored)
    }
}

impl Map {
    /// A map, if its pieces are in order, end within the file, and have `stored` bytes together.
    pub(super) fn new(pieces: Pieces, size: u64, stored: u64) -> Option<Self> {
        let (mut end, mut sum) = (0, 0);
        for (offset, length) in &pieces {
            if *offset < end {
                return None;
            }
            end = offset.checked_add(*length)?;
            sum += length;
        }
        (end <= size && sum == stored).then_some(Self { pieces, size })
    }
}

/// The map of a file of kind S as far as its header contains it, its size, and whether a further block continues the
/// map.
pub(super) fn in_header(block: &Block) -> Option<(Pieces, u64, bool)> {
    let mut pieces = Vec::new();
    take(block, 386, IN_HEADER, &mut pieces)?;
    Some((pieces, number(field(block, 483, 12))?, block[482] != 0))
}

/// Adds the map entries of a further block; returns whether another one follows.
pub(super) fn in_block(block: &Block, pieces: &mut Pieces) -> Option<bool> {
    take(block, 0, IN_BLOCK, pieces)?;
    Some(block[504] != 0)
}

fn take(block: &Block, from: usize, most: usize, pieces: &mut Pieces) -> Option<()> {
    for at in (0..most).map(|n| from + n * 24) {
        let (offset, length) = (field(block, at, 12), field(block, at + 12, 12));
        if length[0] == 0 {
            break;
        }
        pieces.push((number(offset)?, number(length)?));
    }
    Some(())
}

/// Parses a map in front of the pieces, block by block: decimal numbers, a line each, the first of which is the number
/// of pieces.
#[derive(Debug, Default)]
pub(super) struct InFront {
    /// The digits of the current number.
    text: Vec<u8>,
    numbers: Vec<u64>,
}

impl InFront {
    /// Reads the next block; returns whether it was the last one.
    pub(super) fn take(&mut self, block: &Block) -> Option<bool> {
        for byte in block {
            if self.is_complete() {
                return Some(true); // the rest of the block is padding
            }
            if *byte == b'\n' {
                self.numbers.push(digits(&self.text, 10)?);
                self.text.clear();
            } else if self.text.len() < 20 {
                self.text.push(*byte);
            } else {
                return None;
            }
        }
        Some(self.is_complete())
    }

    fn is_complete(&self) -> bool {
        self.numbers.first().is_some_and(|count| count.saturating_mul(2) == self.numbers.len() as u64 - 1)
    }

    /// The pieces.
    pub(super) fn pieces(self) -> Pieces {
        self.numbers.get(1..).unwrap_or_default().chunks_exact(2).map(|piece| (piece[0], piece[1])).collect()
    }
}
