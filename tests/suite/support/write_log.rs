//! The writes and flushes that reached a virtual disk, in their order, as qemu's `blklogwrites` records them (the format of the kernel's
//! dm-log-writes). A disk with a volatile cache may lose any write since the last flush when its power is cut: replaying the log shows
//! what such a disk holds.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Each log begins with this number.
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

#[derive(Debug)]
pub enum Entry {
    /// All writes before it are on the medium.
    Flush,
    Write {
        at: u64,
        data: Vec<u8>,
    },
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// How many entries the log has; 0 before the first.
pub fn length(log: &Path) -> usize {
    let mut head = [0; 24];
    match File::open(log).unwrap().read_exact_at(&mut head, 0) {
        Ok(()) => usize::try_from(number(&head, 16)).unwrap(),
        Err(_) => 0, // the head comes with the first entry
    }
}

/// The entries of the log. One that was being written when qemu was killed is not counted in its head, and left out.
pub fn read(log: &Path) -> Vec<Entry> {
    let bytes = fs::read(log).unwrap();
    assert_eq!((number(&bytes, 0), number(&bytes, 8)), (MAGIC, 1), "the log of another format");
    let sector = usize::try_from(number(&bytes, 24) & 0xffff_ffff).unwrap();
    let mut at = sector;
    let mut entries = Vec::new();
    for _ in 0..number(&bytes, 16) {
        let [first, sectors, flags] = [0, 8, 16].map(|field| number(&bytes, at + field));
        at += sector;
        assert_eq!(flags & DISCARD, 0, "the disk offers no discard");
        let length = usize::try_from(sectors).unwrap() * sector;
        if length > 0 {
            entries.push(Entry::Write { at: first * sector as u64, data: bytes[at..at + length].to_vec() });
            at += length;
        }
        if flags & FLUSH != 0 {
            entries.push(Entry::Flush);
        }
    }
    entries
}

/// How many of the entries a disk can no longer lose: all up to the last flush.
pub fn durable(entries: &[Entry]) -> usize {
    entries.iter().rposition(|entry| matches!(entry, Entry::Flush)).map_or(0, |at| at + 1)
}

/// Writes those of the entries, by their number, that `survives` names.
pub fn replay(entries: &[Entry], survives: impl Fn(usize) -> bool, image: &Path) {
    let image = File::options().write(true).open(image).unwrap();
    for (number, entry) in entries.iter().enumerate() {
        if let Entry::Write { at, data } = entry
            && survives(number)
        {
            image.write_all_at(data, *at).unwrap();
        }
    }
}
