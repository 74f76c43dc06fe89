//! A tar header: 512 bytes as POSIX, GNU or Unix V7 write them. Pure. Headers about which readers of tar
//! are known to disagree are refused.

use crate::error::{Error, Result};
use crate::package::names::shown;

/// The size of a header, and the unit of padding.
pub(super) const BLOCK: usize = 512;
/// One block.
pub(super) type Block = [u8; BLOCK];

/// The fields of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    /// The target of a link.
    pub(super) target: Vec<u8>,
    pub(super) mode: u32,
    /// The number of bytes that follow.
    pub(super) size: u64,
    /// The letter of the member's kind.
    pub(super) kind: u8,
}

/// The format of a header, which determines the fields behind its first 257 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// Unix V7, or unknown.
    Old,
    /// POSIX.
    Ustar,
    /// GNU before POSIX.
    Gnu,
}

/// Parses a header. `None`: all zeros, which begins the end of a tar.
pub(super) fn parse(block: &Block) -> Result<Option<Header>> {
    if block.iter().all(|b| *b == 0) {
        return Ok(None);
    }
    let format = match &block[257..265] {
        b"ustar  \0" => Format::Gnu,
        ustar if ustar.starts_with(b"ustar\0") => Format::Ustar,
        _ => Format::Old,
    };
    if !matches_checksum(block) {
        return Err(Error::refused(match format {
            Format::Old => "there is no tar header where one should be",
            Format::Ustar | Format::Gnu => "a header does not match its checksum",
        }));
    }
    let (prefix, name) = (text(field(block, 345, 155)), text(field(block, 0, 100)));
    let name = match format {
        _ if prefix.is_empty() => name.to_vec(),
        Format::Ustar => [prefix, b"/", name].concat(),
        // An incremental backup stores times there.
        Format::Gnu if is_time(field(block, 345, 12)) && is_time(field(block, 357, 12)) => name.to_vec(),
        Format::Gnu | Format::Old => {
            return Err(Error::refused(format!("member {}: readers differ about its name", shown(name))));
        }
    };
    let bad = |what: &str| Error::refused(format!("member {}: its {what} is no number", shown(&name)));
    let size = number(field(block, 124, 12)).ok_or_else(|| bad("size"))?;
    let mode = number(field(block, 100, 8)).and_then(|mode| u32::try_from(mode).ok()).ok_or_else(|| bad("mode"))?;
    Ok(Some(Header { target: text(field(block, 157, 100)).to_vec(), mode, size, kind: block[156], name }))
}

/// Whether the checksum of `block` is right, as a sum of unsigned bytes or, as some tools write it, of signed ones.
pub(in crate::package) fn matches_checksum(block: &[u8]) -> bool {
    let Some(own) = block.get(148..156).filter(|_| block.len() >= BLOCK) else { return false };
    // The checksum field counts as blanks.
    let counted = || block[..BLOCK].iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { b' ' } else { *b });
    let plain: u64 = counted().map(u64::from).sum();
    let signed: i64 = counted().map(|b| i64::from(b.cast_signed())).sum();
    octal(own).is_some_and(|own| own == plain || i64::try_from(own) == Ok(signed))
}

fn is_time(field: &[u8]) -> bool {
    field[..11].iter().all(|b| (b'0'..=b'7').contains(b)) && matches!(field[11], 0 | b' ')
}

/// `length` bytes of a block.
pub(super) fn field(block: &Block, from: usize, length: usize) -> &[u8] {
    &block[from..from + length]
}

/// A text up to its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// Parses an octal number with blanks in front and blanks or NULs behind it.
fn octal(field: &[u8]) -> Option<u64> {
    let digit = field.iter().position(|b| *b != b' ')?;
    let end = field[digit..].iter().position(|b| matches!(b, b' ' | 0)).map_or(field.len(), |n| digit + n);
    let is_blank = field[end..].iter().all(|b| matches!(b, b' ' | 0));
    digits(&field[digit..end], 8).filter(|_| is_blank)
}

/// Parses octal, or GNU's format for large numbers: a first byte of 0x80, and the rest a number of base 256. NULs are
/// 0.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    match field {
        [0x80, rest @ ..] => {
            let (high, low) = rest.split_at(rest.len().saturating_sub(8));
            high.iter().all(|b| *b == 0).then(|| low.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
        }
        nothing if nothing.iter().all(|b| *b == 0) => Some(0),
        _ => octal(field),
    }
}

/// Parses a number without padding.
pub(super) fn digits(text: &[u8], radix: u64) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        if digit < radix { number.checked_mul(radix)?.checked_add(digit) } else { None }
    })
}
