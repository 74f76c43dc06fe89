//! The manifest as a file, written and read line by line, so that memory use does not grow with it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::item::{Item, What};
use crate::error::{Context, Error, Result};
use crate::store::key_value::{escape, unescape};

/// Its first line: the name and the version of the format.
pub(super) const FORMAT: &str = "manifest 1\n";
/// Its last line: a truncated copy is not mistaken for a complete one.
pub(super) const END: &str = "end\n";
/// The longest line: a path 200 directories deep and a link target, each byte escaped to four.
const LONGEST: u64 = 1 << 20;

/// Appends the line of `item` to `line`.
pub(super) fn write(item: &Item, line: &mut String) {
    // Writing to a String cannot fail. `escape` leaves no tab in a value.
    match &item.what {
        What::File { mode, size, crc } => write!(line, "f\t{mode:o}\t{size}\t{crc:08x}\t").unwrap_or(()),
        What::Dir { mode } => write!(line, "d\t{mode:o}\t").unwrap_or(()),
        What::Link { target } => {
            line.push_str("l\t");
            escape(target.as_bytes(), line);
            line.push('\t');
        }
    }
    escape(item.path.as_os_str().as_bytes(), line);
    line.push('\n');
}

/// Reads the items of a file from its start, independently of other readers.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    input: BufReader<At<'a>>,
    line: Vec<u8>,
    has_begun: bool,
}

impl<'a> Lines<'a> {
    pub(super) fn new(file: &'a File) -> Self {
        Self { input: BufReader::with_capacity(32 * 1024, At { file, at: 0 }), line: Vec::new(), has_begun: false }
    }

    /// The next item; `None` after the last one. Fails if the file is incomplete, or of another version.
    pub(super) fn next(&mut self) -> Result<Option<Item>> {
        let damaged = || Error::failed("the manifest of a release is damaged");
        if !self.has_begun {
            self.has_begun = true;
            if self.read_line()? != FORMAT.as_bytes() {
                return Err(damaged());
            }
        }
        match self.read_line()? {
            line if line == END.as_bytes() => {}
            line => return line.strip_suffix(b"\n").and_then(item).map(Some).ok_or_else(damaged),
        }
        if self.read_line()?.is_empty() { Ok(None) } else { Err(damaged()) }
    }

    fn read_line(&mut self) -> Result<&[u8]> {
        self.line.clear();
        let read = (&mut self.input).take(LONGEST).read_until(b'\n', &mut self.line);
        read.with_context(|| "cannot read the manifest of a release")?;
        Ok(&self.line)
    }
}

/// A file with an offset of its own; the file's offset is neither used nor moved.
#[derive(Debug)]
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn item(line: &[u8]) -> Option<Item> {
    let bytes = |text: &str| unescape(text.as_bytes()).map(OsString::from_vec);
    let mut fields = std::str::from_utf8(line).ok()?.split('\t');
    let kind = fields.next()?;
    let what = match kind {
        "f" => What::File {
            mode: u32::from_str_radix(fields.next()?, 8).ok()?,
            size: fields.next()?.parse().ok()?,
            crc: u32::from_str_radix(fields.next()?, 16).ok()?,
        },
        "d" => What::Dir { mode: u32::from_str_radix(fields.next()?, 8).ok()? },
        "l" => What::Link { target: bytes(fields.next()?)? },
        _ => return None,
    };
    let path = PathBuf::from(bytes(fields.next()?)?);
    fields.next().is_none().then_some(Item { path, what })
}
