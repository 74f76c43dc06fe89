//! One header of a tar: 512 bytes of ustar, as POSIX or GNU write it, and the records of a pax header. Pure. Where readers
//! of tar are known to disagree, it is refused.

use crate::error::{Error, Result};
use crate::package::names::shown;

/// Bytes of a header, and what everything is padded to.
pub(super) const BLOCK: usize = 512;
/// One of them.
pub(super) type Block = [u8; BLOCK];

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    /// What it links to.
    pub(super) target: Vec<u8>,
    pub(super) mode: u32,
    /// Bytes that follow.
    pub(super) size: u64,
    /// The letter of its kind.
    pub(super) kind: u8,
}

/// Reads a header. `None`: it is all zeros, which is how the end begins.
pub(super) fn parse(block: &Block) -> Result<Option<Header>> {
    if block.iter().all(|b| *b == 0) {
        return Ok(None);
    }
    let gnu = match &block[257..265] {
        b"ustar\x0000" => false,
        b"ustar  \0" => true,
        _ => return Err(Error::refused("there is no tar header where one should be (ustar, pax and GNU are read)")),
    };
    let field = |from: usize, length: usize| &block[from..from + length];
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    let own: u64 = field(148, 8).iter().map(|b| u64::from(*b)).sum();
    // Its own field counts as blanks.
    if octal(field(148, 8)) != Some(sum - own + 8 * u64::from(b' ')) {
        return Err(Error::refused("a header does not match its checksum"));
    }
    let (prefix, name) = (text(field(345, 155)), text(field(0, 100)));
    let name = match (gnu, prefix.is_empty()) {
        (_, true) => name.to_vec(),
        (false, false) => [prefix, b"/", name].concat(),
        (true, false) => return Err(Error::refused(format!("member {}: readers differ about its name", shown(name)))),
    };
    let bad = |what: &str| Error::refused(format!("member {}: its {what} is no number", shown(&name)));
    let size = number(field(124, 12)).ok_or_else(|| bad("size"))?;
    let mode = octal(field(100, 8)).and_then(|mode| u32::try_from(mode).ok()).ok_or_else(|| bad("mode"))?;
    Ok(Some(Header { target: text(field(157, 100)).to_vec(), mode, size, kind: block[156], name }))
}

/// What pax headers, or GNU's long names, say in the place of the header that follows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Instead {
    pub(super) name: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
}

impl Instead {
    /// Reads the records of a pax header: `LENGTH KEY=VALUE\n` each. What does not change the tree is passed over.
    pub(super) fn read(&mut self, mut records: &[u8]) -> Result<()> {
        while !records.is_empty() {
            let broken = || Error::refused("a pax header is damaged");
            let blank = records.iter().take(20).position(|b| *b == b' ').ok_or_else(broken)?;
            let length = digits(&records[..blank], 10).and_then(|n| usize::try_from(n).ok()).ok_or_else(broken)?;
            let record = records.get(blank + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(broken)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(broken)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            records = &records[length..];
            let is_new = match key {
                b"path" => self.name.replace(value.to_vec()).is_none(),
                b"linkpath" => self.target.replace(value.to_vec()).is_none(),
                b"size" => self.size.replace(digits(value, 10).ok_or_else(broken)?).is_none(),
                b"hdrcharset" if value != b"ISO-IR 10646 2000 UTF-8" && value != b"BINARY" => {
                    return Err(Error::refused("its names are in another character set than UTF-8"));
                }
                sparse if sparse.starts_with(b"GNU.sparse.") || sparse == b"SCHILY.realsize" => {
                    return Err(Error::refused("a member is a sparse file: pack it without --sparse"));
                }
                _ => true,
            };
            if !is_new {
                return Err(Error::refused(format!("a pax header says {} twice", shown(key))));
            }
        }
        Ok(())
    }

    /// Takes one of GNU's long names.
    pub(super) fn read_gnu(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let place = if kind == b'L' { &mut self.name } else { &mut self.target };
        if place.replace(text(body).to_vec()).is_some() {
            return Err(Error::refused("a member has two long names"));
        }
        Ok(())
    }
}

/// A text up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// An octal number with blanks in front and blanks or NULs behind it.
fn octal(field: &[u8]) -> Option<u64> {
    let digit = field.iter().position(|b| *b != b' ')?;
    let end = field[digit..].iter().position(|b| matches!(b, b' ' | 0)).map_or(field.len(), |n| digit + n);
    let is_blank = field[end..].iter().all(|b| matches!(b, b' ' | 0));
    digits(&field[digit..end], 8).filter(|_| is_blank)
}

/// Octal, or GNU's way for large ones: a first byte of 0x80 and the rest a number of base 256.
fn number(field: &[u8]) -> Option<u64> {
    match field {
        [0x80, rest @ ..] => {
            let (high, low) = rest.split_at(rest.len() - 8);
            high.iter().all(|b| *b == 0).then(|| low.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
        }
        _ => octal(field),
    }
}

fn digits(text: &[u8], radix: u64) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        if digit < radix { number.checked_mul(radix)?.checked_add(digit) } else { None }
    })
}
