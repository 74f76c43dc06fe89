//! Goes through the members of a tar: the headers in front of a member, and its content.

use std::fs::File;

use super::header::{self, BLOCK, Block, Header};
use super::pax::PaxOverrides;
use super::sparse::{self, InFront, Map};
use super::stream::{Stream, ends_early};
use crate::error::{Context, Error, Result};
use crate::package::names::{bare, shown};
use crate::package::policy::Kind;
use crate::package::sniff::Compression;
use crate::sys::clock::Deadline;

/// Longest pax header, long name, or sparse map, in bytes. Extended attributes make them long.
const MAX_EXTENDED: u64 = 1 << 20;
/// Most zeros after the end: tapes were written in blocks.
const MAX_PADDING: u64 = 1 << 20;
/// The content of holes.
const ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// A file, a directory or a link, followed by its content.
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    pub(super) what: What,
    /// The size of the file that it becomes.
    pub(super) size: u64,
    /// The number of bytes that follow.
    stored: u64,
    map: Option<Map>,
    /// The target of a link.
    pub(super) target: Vec<u8>,
}

/// The kind of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A separate member.
    New(Kind),
    /// A further name of an earlier member.
    HardLink,
}

impl Member {
    pub(super) fn named(&self) -> String {
        format!("member {}", shown(&self.name))
    }
}

/// Goes from member to member.
pub(super) struct Walk<'a> {
    stream: Stream<'a>,
    /// Bytes of global headers so far: they belong to no member, so no other limit covers them.
    global: u64,
    /// Whether there was a member, and whether there was a pax header.
    has_begun: bool,
    is_pax: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(file: &'a File, compression: Compression, deadline: Deadline) -> Result<Self> {
        let stream = Stream::new(file, compression, deadline)?;
        Ok(Self { stream, global: 0, has_begun: false, is_pax: false })
    }

    /// Returns the next member. After the last one, checks the end too.
    pub(super) fn next(&mut self) -> Result<Option<Member>> {
        let (mut pax, mut long) = (None, None);
        while let Some(block) = self.header()? {
            let Some(header) = header::parse(&block)? else {
                self.end()?;
                break;
            };
            self.has_begun = true;
            match header.kind {
                b'g' => {
                    self.is_pax = true;
                    self.global_header(header.size)?;
                }
                b'x' | b'X' if pax.is_none() => {
                    self.is_pax = true;
                    pax.insert(PaxOverrides::default()).read(&self.extension(header.size)?)?;
                }
                b'x' | b'X' => return Err(Error::refused("two pax headers stand in front of one member")),
                kind @ (b'L' | b'K') => {
                    let body = self.extension(header.size)?;
                    long.get_or_insert_with(PaxOverrides::default).read_gnu(kind, &body)?;
                }
                _ => {
                    let instead = pax.take().unwrap_or_default().joined(long.take().unwrap_or_default());
                    let instead = instead.ok_or_else(|| {
                        let name = shown(&header.name);
                        Error::refused(format!(
                            "member {name}: it has a name of pax and one of GNU: readers do not agree which counts"
                        ))
                    })?;
                    match self.member(&block, header, instead)? {
                        Some(member) => return Ok(Some(member)),
                        None => continue,
                    }
                }
            }
        }
        if pax.is_some() || long.is_some() {
            return Err(Error::refused("its last header has no member"));
        }
        Ok(None)
    }

    /// The member that a header describes. `None`: a skipped member that makes no entry.
    fn member(&mut self, block: &Block, mut header: Header, instead: PaxOverrides) -> Result<Option<Member>> {
        let sparse = instead.sparse;
        let own = sparse.as_ref().and_then(|sparse| sparse.name.clone());
        header.name = own.or(instead.name).unwrap_or(header.name);
        header.target = instead.target.unwrap_or(header.target);
        header.size = instead.size.unwrap_or(header.size);
        let named = format!("member {}", shown(&header.name));
        let Some(what) = what(&header, self.is_pax).map_err(Error::refused).with_context(|| named.clone())? else {
            self.pass(header.size)?;
            return Ok(None);
        };
        let Header { name, size, target, kind, .. } = header;
        let is_file = matches!(what, What::New(Kind::File | Kind::Program));
        // Older tools wrote a size for members without content; no reader expects content there.
        let mut stored = if is_file || kind == b'D' { size } else { 0 };
        let Some(name) = own_name(&name, what) else {
            self.pass(stored)?;
            return Ok(None);
        };
        let map = match sparse {
            None if kind == b'S' => Some(self.map_of_old(block, stored)),
            None => None,
            Some(_) if !is_file || kind == b'S' => Some(Ok(None)),
            Some(sparse) if sparse.is_in_front() => Some(self.map_in_front(&mut stored, sparse.size)),
            Some(sparse) => Some(Ok(sparse.map(stored))),
        };
        let map = match map.transpose().with_context(|| named.clone())? {
            Some(None) => return Err(Error::refused(format!("{named}: its map is damaged, and it is a sparse file"))),
            map => map.flatten(),
        };
        let size = if is_file { map.as_ref().map_or(stored, |map| map.size) } else { 0 };
        let target = match what {
            What::HardLink => bare(&target).into_owned(),
            What::New(Kind::Link) => target,
            What::New(Kind::File | Kind::Program | Kind::Dir) => Vec::new(),
        };
        Ok(Some(Member { name, what, size, stored, map, target }))
    }

    /// The map of a file of kind S; `None`: it is damaged.
    fn map_of_old(&mut self, block: &Block, stored: u64) -> Result<Option<Map>> {
        let Some((mut pieces, size, mut goes_on)) = sparse::in_header(block) else { return Ok(None) };
        let mut blocks = 0;
        while goes_on {
            blocks += 1;
            match sparse::in_block(&self.block()?, &mut pieces) {
                Some(more) if blocks * BLOCK as u64 <= MAX_EXTENDED => goes_on = more,
                _ => return Ok(None),
            }
        }
        Ok(Map::new(pieces, size, stored))
    }

    /// Reads the map in front of `stored` bytes, and subtracts its size; `None`: it is damaged.
    fn map_in_front(&mut self, stored: &mut u64, size: Option<u64>) -> Result<Option<Map>> {
        let (mut map, whole) = (InFront::default(), *stored);
        loop {
            let Some(left) = stored.checked_sub(BLOCK as u64).filter(|left| whole - left <= MAX_EXTENDED) else {
                return Ok(None);
            };
            *stored = left;
            match map.take(&self.block()?) {
                Some(true) => break,
                Some(false) => {}
                None => return Ok(None),
            }
        }
        Ok(size.and_then(|size| Map::new(map.pieces(), size, *stored)))
    }

    /// A global pax header may comment on the archive (git's names the commit), but not rename or resize its members.
    fn global_header(&mut self, size: u64) -> Result<()> {
        self.global = self.global.saturating_add(size).saturating_add(BLOCK as u64);
        if self.global > MAX_EXTENDED {
            return Err(Error::refused(format!("its global headers have more than {MAX_EXTENDED} bytes together")));
        }
        let mut global = PaxOverrides::default();
        global.read(&self.extension(size)?)?;
        if global != PaxOverrides::default() {
            return Err(Error::refused("a global header gives a name or a size to every member"));
        }
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_EXTENDED {
            return Err(Error::refused(format!("a pax header or long name has more than {MAX_EXTENDED} bytes")));
        }
        let mut body = Vec::new();
        let mut keep = |bytes: &[u8]| {
            body.extend_from_slice(bytes);
            Ok(())
        };
        self.bytes(size, &mut keep)?;
        self.pad(size)?;
        Ok(body)
    }

    /// Passes the content of `member`, holes included, to `write`, and goes on to the next header.
    pub(super) fn content(&mut self, member: &Member, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match &member.map {
            None => self.bytes(member.stored, write)?,
            Some(map) => {
                let mut at = 0;
                for (offset, length) in &map.pieces {
                    hole(offset - at, write)?;
                    self.bytes(*length, write)?;
                    at = offset + length;
                }
                hole(map.size - at, write)?;
            }
        }
        self.pad(member.stored)
    }

    /// Skips the content of `member`.
    pub(super) fn skip(&mut self, member: &Member) -> Result<()> {
        self.pass(member.stored)
    }

    fn pass(&mut self, size: u64) -> Result<()> {
        self.stream.skip(size)?;
        self.pad(size)
    }

    fn bytes(&mut self, size: u64, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let bytes = self.stream.some(left)?;
            if bytes.is_empty() {
                return Err(ends_early());
            }
            left -= bytes.len() as u64;
            write(bytes)?;
        }
        Ok(())
    }

    /// Skips the padding after `size` bytes.
    fn pad(&mut self, size: u64) -> Result<()> {
        let rest = size % BLOCK as u64;
        self.stream.skip(if rest == 0 { 0 } else { BLOCK as u64 - rest })
    }

    /// The next block where a header should be. `None`: the archive ends without an end marker, which is accepted if
    /// its compression proves it complete; a plain tar may be truncated.
    fn header(&mut self) -> Result<Option<Block>> {
        let mut block = [0; BLOCK];
        match self.fill(&mut block)? {
            BLOCK => Ok(Some(block)),
            0 if self.stream.has_end() && self.has_begun => Ok(None),
            _ => Err(ends_early()),
        }
    }

    fn block(&mut self) -> Result<Block> {
        let mut block = [0; BLOCK];
        if self.fill(&mut block)? == BLOCK { Ok(block) } else { Err(ends_early()) }
    }

    /// Fills a block; returns the number of bytes in it.
    fn fill(&mut self, block: &mut Block) -> Result<usize> {
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = self.stream.some((BLOCK - filled) as u64)?;
            if bytes.is_empty() {
                break;
            }
            block[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        }
        Ok(filled)
    }

    /// Checks that only zeros follow the first block of zeros.
    fn end(&mut self) -> Result<()> {
        if !self.has_begun {
            return Err(Error::refused("there is nothing in it"));
        }
        let mut padding = 0;
        loop {
            let bytes = self.stream.some(BLOCK as u64)?;
            padding += bytes.len() as u64;
            if bytes.is_empty() {
                return Ok(());
            }
            if padding > MAX_PADDING || bytes.iter().any(|b| *b != 0) {
                return Err(Error::refused("something follows its end: it is not what was packed"));
            }
        }
    }
}

/// Passes `size` zeros to `write`.
fn hole(size: u64, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut left = size;
    while left > 0 {
        let zeros = &ZEROS[..usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()))];
        write(zeros)?;
        left -= zeros.len() as u64;
    }
    Ok(())
}

/// The kind that a header describes. `None`: no entry of the tree. An error gives the reason of a refusal.
fn what(header: &Header, is_pax: bool) -> Result<Option<What>, String> {
    let Header { name, mode, size, kind, target } = header;
    let is_slashed = name.ends_with(b"/");
    Ok(Some(match kind {
        // Unix V7 writes directories like this.
        0 if is_slashed => What::New(Kind::Dir),
        b'0' | 0 | b'7' | b'S' if is_slashed => return Err("its name ends in /, but by its kind it is a file".into()),
        b'0' | 0 | b'7' | b'S' => What::New(Kind::file(*mode)),
        // In an incremental backup, a directory has a list of names as its content.
        b'5' | b'D' => What::New(Kind::Dir),
        b'2' => What::New(Kind::Link),
        // In pax, content may follow a hard link.
        b'1' if *size > 0 && is_pax => {
            return Err(format!(
                "it is a hard link to {} with content: pack it with --hard-dereference",
                shown(target)
            ));
        }
        b'1' => What::HardLink,
        b'V' => return Ok(None),
        b'M' => return Err("it goes on from another volume: pack it without --multi-volume".into()),
        b'3' | b'4' | b'6' => return Err("it is a FIFO or a device".into()),
        other => {
            let letter = char::from(*other).escape_default();
            return Err(format!("it is neither file nor directory nor link (kind {letter})"));
        }
    }))
}

/// The name without redundant parts. `None`: it is the top of the tree, which exists already.
fn own_name(name: &[u8], what: What) -> Option<Vec<u8>> {
    let name = bare(name);
    let bare = match what {
        What::New(Kind::Dir | Kind::Link) => name.strip_suffix(b"/").unwrap_or(&name),
        What::New(Kind::File | Kind::Program) | What::HardLink => &name,
    };
    (what != What::New(Kind::Dir) || !matches!(bare, b"" | b".")).then(|| bare.to_vec())
}
