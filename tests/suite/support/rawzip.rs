//! ZIPs written byte by byte: valid ones of every kind, and the offsets of every record in them, so that a test can make
//! any field lie. Shared by the suite and the unit tests of unpacking.

#![allow(dead_code, reason = "the two that share it use different parts")]

use std::io::Write;

/// How a member ends: nothing, or a data descriptor of so many bytes (12 and 20 have no signature, 20 and 24 are wide).
pub type Descriptor = usize;

/// One member. What the headers say follows from this; lies are put in afterwards.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: Vec<u8>,
    pub content: Vec<u8>,
    /// The bytes between local header and descriptor, when they are not what `method` makes of `content`.
    pub packed: Option<Vec<u8>>,
    pub method: u16,
    pub flags: u16,
    pub host: u8,
    pub mode: u32,
    pub extra: Vec<u8>,
    pub comment: Vec<u8>,
    pub descriptor: Descriptor,
    /// Sizes in a ZIP64 field, in both headers.
    pub wide: bool,
}

impl Member {
    /// A stored file, as `git archive` writes them.
    pub fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            content: content.as_ref().to_vec(),
            packed: None,
            method: 0,
            flags: 0,
            host: 3,
            mode: 0o100_644,
            extra: Vec::new(),
            comment: Vec::new(),
            descriptor: 0,
            wide: false,
        }
    }

    pub fn deflated(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self { method: 8, ..Self::file(name, content) }
    }

    /// `name` with its slash.
    pub fn dir(name: impl AsRef<[u8]>) -> Self {
        Self { mode: 0o40_755, ..Self::file(name, "") }
    }

    pub fn link(name: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> Self {
        Self { mode: 0o120_777, ..Self::file(name, text) }
    }

    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub fn described(self, descriptor: Descriptor) -> Self {
        Self { descriptor, flags: self.flags | 8, ..self }
    }
}

/// The bytes, and where each record begins in them.
#[derive(Clone, Debug)]
pub struct Raw {
    pub bytes: Vec<u8>,
    pub local: Vec<usize>,
    pub data: Vec<usize>,
    pub central: Vec<usize>,
    pub end: usize,
}

impl Raw {
    pub fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn put16(self, at: usize, value: u16) -> Self {
        self.put(at, &value.to_le_bytes())
    }

    pub fn put32(self, at: usize, value: u32) -> Self {
        self.put(at, &value.to_le_bytes())
    }

    /// The same lie in the local and the central header of a member: offsets of a field in each.
    pub fn both16(self, member: usize, (local, central): (usize, usize), value: u16) -> Self {
        let (l, c) = (self.local[member] + local, self.central[member] + central);
        self.put16(l, value).put16(c, value)
    }

    pub fn both32(self, member: usize, (local, central): (usize, usize), value: u32) -> Self {
        let (l, c) = (self.local[member] + local, self.central[member] + central);
        self.put32(l, value).put32(c, value)
    }
}

/// Where fields lie: (local header, central header).
pub const FLAGS: (usize, usize) = (6, 8);
pub const METHOD: (usize, usize) = (8, 10);
pub const CRC: (usize, usize) = (14, 16);
pub const PACKED: (usize, usize) = (18, 20);
pub const SIZE: (usize, usize) = (22, 24);

pub fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A field of the extra area.
pub fn extra(id: u16, content: &[u8]) -> Vec<u8> {
    let mut out = id.to_le_bytes().to_vec();
    out.extend_from_slice(&u16::try_from(content.len()).unwrap().to_le_bytes());
    out.extend_from_slice(content);
    out
}

fn narrow(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap().to_le_bytes()
}

fn short(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap().to_le_bytes()
}

fn wide(value: usize) -> [u8; 8] {
    (value as u64).to_le_bytes()
}

/// Writes an archive. With a wide member in it, its end is in ZIP64 too.
pub fn archive(members: &[Member], comment: &[u8]) -> Raw {
    let mut raw = Raw { bytes: Vec::new(), local: Vec::new(), data: Vec::new(), central: Vec::new(), end: 0 };
    let mut directory = Vec::new();
    for member in members {
        let packed = member.packed.clone().unwrap_or_else(|| match member.method {
            8 => deflate(&member.content),
            _ => member.content.clone(),
        });
        let (crc, size) = (crc(&member.content), member.content.len());
        let mut common = short(member.flags.into()).to_vec();
        common.extend_from_slice(&short(member.method.into()));
        common.extend_from_slice(&[0x21, 0x6a, 0x76, 0x5b]); // a moment in November 2025
        let sizes = |later: bool| {
            let mut out = Vec::new();
            out.extend_from_slice(&if later { 0 } else { crc }.to_le_bytes());
            match (member.wide, later) {
                (true, _) => out.extend_from_slice(&[0xff; 8]),
                (false, true) => out.extend_from_slice(&[0; 8]),
                (false, false) => out.extend([narrow(packed.len()), narrow(size)].concat()),
            }
            out
        };
        let mut fields = member.extra.clone();
        if member.wide {
            fields.extend(extra(1, &[wide(size), wide(packed.len())].concat()));
        }
        let start = raw.bytes.len();
        raw.local.push(start);
        raw.bytes.extend_from_slice(b"PK\x03\x04\x14\0");
        raw.bytes.extend_from_slice(&common);
        raw.bytes.extend(sizes(member.descriptor > 0));
        raw.bytes.extend([short(member.name.len()), short(fields.len())].concat());
        raw.bytes.extend_from_slice(&member.name);
        raw.bytes.extend_from_slice(&fields);
        raw.data.push(raw.bytes.len());
        raw.bytes.extend_from_slice(&packed);
        if matches!(member.descriptor, 16 | 24) {
            raw.bytes.extend_from_slice(b"PK\x07\x08");
        }
        match member.descriptor {
            12 | 16 => raw.bytes.extend([crc.to_le_bytes(), narrow(packed.len()), narrow(size)].concat()),
            20 | 24 => {
                raw.bytes.extend_from_slice(&crc.to_le_bytes());
                raw.bytes.extend([wide(packed.len()), wide(size)].concat());
            }
            _ => {}
        }
        raw.central.push(directory.len());
        directory.extend_from_slice(b"PK\x01\x02\x14");
        directory.extend_from_slice(&[member.host, 0x14, 0]);
        directory.extend_from_slice(&common);
        directory.extend(sizes(false));
        directory.extend([short(member.name.len()), short(fields.len()), short(member.comment.len())].concat());
        directory.extend_from_slice(&[0; 4]);
        directory.extend_from_slice(&(member.mode << 16).to_le_bytes());
        directory.extend_from_slice(&narrow(start));
        directory.extend_from_slice(&member.name);
        directory.extend_from_slice(&fields);
        directory.extend_from_slice(&member.comment);
    }
    let start = raw.bytes.len();
    raw.central.iter_mut().for_each(|at| *at += start);
    raw.bytes.extend_from_slice(&directory);
    let in_64_bits = members.iter().any(|m| m.wide);
    if in_64_bits {
        let at = raw.bytes.len();
        raw.bytes.extend_from_slice(b"PK\x06\x06");
        raw.bytes.extend_from_slice(&wide(44));
        raw.bytes.extend_from_slice(&[45, 3, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        raw.bytes.extend([wide(members.len()), wide(members.len()), wide(directory.len()), wide(start)].concat());
        raw.bytes.extend_from_slice(b"PK\x06\x07\0\0\0\0");
        raw.bytes.extend_from_slice(&wide(at));
        raw.bytes.extend_from_slice(&[1, 0, 0, 0]);
    }
    raw.end = raw.bytes.len();
    raw.bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    if in_64_bits {
        raw.bytes.extend_from_slice(&[0xff; 12]);
    } else {
        raw.bytes.extend([short(members.len()), short(members.len())].concat());
        raw.bytes.extend([narrow(directory.len()), narrow(start)].concat());
    }
    raw.bytes.extend_from_slice(&short(comment.len()));
    raw.bytes.extend_from_slice(comment);
    raw
}
