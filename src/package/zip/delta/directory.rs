//! The directory of a ZIP as its bytes are: more than the reader of members needs, and less checked. The assembled
//! archive is read and checked as any other.

use std::cmp::Ordering;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::super::end::{self, u16_at, u32_at, u64_at};
use super::super::extra;
use crate::error::{Context, Error, Result};

/// The largest directory, in bytes; it is held in memory.
const LARGEST: u64 = 16 << 20;
/// The size of a record without name, extra fields and comment.
const SIZE: usize = 46;
const DESCRIBED: u16 = 1 << 3;

/// The members of a ZIP, in file order.
#[derive(Debug)]
pub struct Directory {
    records: Vec<u8>,
    /// In the order of the records.
    spots: Vec<Spot>,
    /// The numbers of the spots in file order.
    order: Vec<u32>,
    /// The offset of the directory.
    pub start: u64,
    /// The length of the archive.
    pub total: u64,
}

/// The place of a member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// The offset of its record in `records`.
    record: usize,
    /// The offset of its local header.
    pub(super) start: u64,
    pub(super) packed: u64,
    pub(super) size: u64,
}

impl Directory {
    /// Reads the directory of `file`, which needs only the directory and the end. `None`: it has none, or a large one.
    pub fn read(file: &File) -> Result<Option<Self>> {
        let Some(end) = end::find(file)? else { return Ok(None) };
        let size = end.end - end.directory;
        let Some(length) = usize::try_from(size).ok().filter(|_| size <= LARGEST) else { return Ok(None) };
        let mut records = vec![0; length];
        let cannot = || "cannot read the directory";
        file.read_exact_at(&mut records, end.directory).with_context(cannot)?;
        let total = file.metadata().with_context(cannot)?.len();
        let (mut spots, mut at) = (Vec::new(), 0);
        while at < length {
            let record = Record::at(&records, at).ok_or_else(damaged)?;
            let places = [24, 20, 42].map(|field| u32_at(record.0, field));
            let [size, packed, start] = extra::wide(record.extra(), places).ok_or_else(damaged)?;
            let start = start.checked_add(end.base).filter(|start| *start < end.directory).ok_or_else(damaged)?;
            spots.push(Spot { record: at, start, packed, size });
            at += record.0.len();
        }
        if spots.len() as u64 != end.members {
            return Err(damaged());
        }
        let start = |spot: u32| spots.get(spot as usize).map(|spot: &Spot| spot.start);
        let order = sorted(spots.len(), &|a, b| start(a).cmp(&start(b)));
        Ok(Some(Self { records, spots, order, start: end.directory, total }))
    }

    /// The number of members.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The place of a member; they are numbered in file order.
    pub(super) fn spot(&self, member: usize) -> Spot {
        self.spots[self.order[member] as usize]
    }

    /// The record of a member.
    pub(super) fn record(&self, member: usize) -> Record<'_> {
        Record::at(&self.records, self.spot(member).record).unwrap_or(Record(&[0; SIZE]))
    }

    /// The members in the order of their names, for [`Directory::find`].
    pub(super) fn by_name(&self) -> Vec<u32> {
        sorted(self.len(), &|a, b| self.record(a as usize).name().cmp(self.record(b as usize).name()))
    }

    /// The member with this name.
    pub(super) fn find(&self, by_name: &[u32], name: &[u8]) -> Option<usize> {
        let at = by_name.partition_point(|member| self.record(*member as usize).name() < name);
        let found = *by_name.get(at)? as usize;
        (self.record(found).name() == name).then_some(found)
    }

    /// The end of a member: the next one begins there, or the directory.
    pub(super) fn next(&self, member: usize) -> u64 {
        if member + 1 < self.len() { self.spot(member + 1).start } else { self.start }
    }
}

/// The numbers below `count`, sorted. One sort for all orders: it is compiled once.
fn sorted(count: usize, order: &dyn Fn(u32, u32) -> Ordering) -> Vec<u32> {
    let mut all: Vec<u32> = (0..u32::try_from(count).unwrap_or(0)).collect();
    all.sort_unstable_by(|a, b| order(*a, *b));
    all
}

fn damaged() -> Error {
    Error::refused("its directory is damaged")
}

/// The bytes of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a>(pub(super) &'a [u8]);

impl<'a> Record<'a> {
    fn at(records: &'a [u8], at: usize) -> Option<Self> {
        let bytes = records.get(at..)?;
        let head = bytes.get(..SIZE).filter(|head| head.starts_with(b"PK\x01\x02"))?;
        let length = SIZE + [28, 30, 32].map(|field| usize::from(u16_at(head, field))).iter().sum::<usize>();
        bytes.get(..length).map(Self)
    }

    pub(super) fn name(self) -> &'a [u8] {
        self.0.get(SIZE..SIZE + usize::from(u16_at(self.0, 28))).unwrap_or_default()
    }

    pub(super) fn extra(self) -> &'a [u8] {
        let start = SIZE + usize::from(u16_at(self.0, 28));
        self.0.get(start..start + usize::from(u16_at(self.0, 30))).unwrap_or_default()
    }

    /// Whether a data descriptor follows the content.
    pub(super) fn is_described(self) -> bool {
        u16_at(self.0, 8) & DESCRIBED != 0
    }

    /// Whether both members have the same packed content, as far as their records tell: method, CRC-32 and sizes.
    pub(super) fn has_content_of(self, other: Self) -> bool {
        self.0[10..12] == other.0[10..12] && self.0[16..28] == other.0[16..28]
    }

    /// Whether `bytes` are a data descriptor of this member: with or without a signature, with sizes of either width.
    pub(super) fn is_descriptor(self, bytes: &[u8], spot: &Spot) -> bool {
        let bytes = match bytes.len() {
            16 | 24 => bytes.strip_prefix(b"PK\x07\x08").unwrap_or_default(),
            _ => bytes,
        };
        let sizes = match bytes.len() {
            12 => [4, 8].map(|at| u64::from(u32_at(bytes, at))),
            20 => [4, 12].map(|at| u64_at(bytes, at)),
            _ => return false,
        };
        bytes[..4] == self.0[16..20] && sizes == [spot.packed, spot.size]
    }
}
