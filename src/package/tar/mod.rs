//! tar archives, plain or gzipped. There is no directory in a tar, so it is read twice: once to the very end, which checks
//! the structure, every checksum and the whole policy before the first byte is written; then once more to write. Hard
//! links, devices, FIFOs and sparse files are refused. `./` in front of a name, as `tar -C dir .` writes it, is not part
//! of the name.

mod header;
mod stream;

use std::fs::File;

use self::header::{BLOCK, Block, Header, Instead};
use self::stream::{Stream, ends_early};
use super::names::{shown, stripped};
use super::policy::{Kind, Listing, Plan};
use super::writer::Writer;
use super::{Unpacked, is_something};
use crate::error::{Context, Error, Kind as Cause, Result};
use crate::model::Layout;
use crate::sys::clock::Deadline;
use crate::sys::fs::Dir;

/// Longest pax header or long name. Extended attributes make them long.
const MAX_EXTENDED: u64 = 1 << 20;
/// Most zeros behind the end: tapes were written in blocks.
const MAX_PADDING: u64 = 1 << 20;

/// Lays the archive out in `staging`.
pub(super) fn unpack(
    file: &File,
    gzipped: bool,
    staging: Option<&Dir>,
    layout: &Layout,
    deadline: Deadline,
) -> Result<Unpacked> {
    let plan = list(Walk::new(file, gzipped, deadline)?, layout)?;
    is_something(&plan, layout)?;
    let writer = Writer::new(&plan, staging, layout, deadline)?;
    write(Walk::new(file, gzipped, deadline)?, &plan, layout, writer)
}

fn list(mut walk: Walk<'_>, layout: &Layout) -> Result<Plan> {
    let mut listing = Listing::new(layout, 0);
    while let Some(member) = walk.next()? {
        let size = if member.kind == Kind::Link { member.target.len() as u64 } else { member.size };
        listing.add(&member.name, member.kind, size)?;
        walk.stream.skip(member.size).and_then(|()| walk.pad(member.size)).context(|| member.named())?;
    }
    listing.check()
}

fn write(mut walk: Walk<'_>, plan: &Plan, layout: &Layout, mut writer: Writer<'_>) -> Result<Unpacked> {
    let (mut index, mut left) = (0, plan.bytes);
    while let Some(member) = walk.next()? {
        if stripped(&member.name, layout.strip_components).is_none() {
            walk.stream.skip(member.size).and_then(|()| walk.pad(member.size))?;
            continue;
        }
        let is_same =
            (index as usize) < plan.len() && plan.name(index) == member.name && plan.kind(index) == member.kind;
        left = left.checked_sub(member.size).filter(|_| is_same).ok_or_else(changed)?;
        match member.kind {
            Kind::Dir => writer.dir(index)?,
            Kind::Link => writer.link(index, |keep| keep(&member.target))?,
            Kind::File | Kind::Program => writer.file(index, |write| walk.body(member.size, write))?,
        }
        index += 1;
    }
    if index as usize != plan.len() {
        return Err(changed());
    }
    writer.finish()
}

fn changed() -> Error {
    Error::new(Cause::Superseded, "it changed while it was read")
}

/// A file, a directory or a link. Its content comes next.
struct Member {
    name: Vec<u8>,
    kind: Kind,
    size: u64,
    target: Vec<u8>,
}

impl Member {
    fn named(&self) -> String {
        format!("member {}", shown(&self.name))
    }
}

/// Goes from member to member.
struct Walk<'a> {
    stream: Stream<'a>,
    /// Bytes of global headers so far: they belong to no member, so no other limit counts them.
    global: u64,
}

impl<'a> Walk<'a> {
    fn new(file: &'a File, gzipped: bool, deadline: Deadline) -> Result<Self> {
        Ok(Self { stream: Stream::new(file, gzipped, deadline)?, global: 0 })
    }

    /// The next member. After the last one the end is checked too.
    fn next(&mut self) -> Result<Option<Member>> {
        let (mut pax, mut long) = (None, None);
        while let Some(mut header) = header::parse(&self.block()?)? {
            let is_extension = matches!(header.kind, b'x' | b'g' | b'L' | b'K');
            if is_extension && header.size > MAX_EXTENDED {
                return Err(Error::refused(format!("a pax header or long name has more than {MAX_EXTENDED} bytes")));
            }
            match header.kind {
                b'g' => self.global_header(header.size)?,
                b'x' if pax.is_none() => pax.insert(Instead::default()).read(&self.extension(header.size)?)?,
                b'x' => return Err(Error::refused("two pax headers stand in front of one member")),
                kind @ (b'L' | b'K') => {
                    let body = self.extension(header.size)?;
                    long.get_or_insert_with(Instead::default).read_gnu(kind, &body)?;
                }
                _ => {
                    if pax.is_some() && long.is_some() {
                        return Err(Error::refused(format!(
                            "member {}: it has a name of pax and one of GNU: readers do not agree which counts",
                            shown(&header.name)
                        )));
                    }
                    let instead = pax.take().or(long.take()).unwrap_or_default();
                    header.name = instead.name.unwrap_or(header.name);
                    header.target = instead.target.unwrap_or(header.target);
                    header.size = instead.size.unwrap_or(header.size);
                    match member(header)? {
                        Some(member) => return Ok(Some(member)),
                        None => continue,
                    }
                }
            }
        }
        if pax.is_some() || long.is_some() {
            return Err(Error::refused("its last header has no member"));
        }
        self.end().map(|()| None)
    }

    /// A global pax header may comment on the archive (git's names the commit), but not rename or resize its members.
    fn global_header(&mut self, size: u64) -> Result<()> {
        self.global += size + BLOCK as u64;
        if self.global > MAX_EXTENDED {
            return Err(Error::refused(format!("its global headers have more than {MAX_EXTENDED} bytes together")));
        }
        let mut global = Instead::default();
        global.read(&self.extension(size)?)?;
        if global != Instead::default() {
            return Err(Error::refused("a global header gives a name or a size to every member"));
        }
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let mut keep = |bytes: &[u8]| {
            body.extend_from_slice(bytes);
            Ok(())
        };
        self.body(size, &mut keep)?;
        Ok(body)
    }

    /// Passes `size` bytes to `write`, and goes on to the next header.
    fn body(&mut self, size: u64, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let bytes = self.stream.some(left)?;
            if bytes.is_empty() {
                return Err(ends_early());
            }
            left -= bytes.len() as u64;
            write(bytes)?;
        }
        self.pad(size)
    }

    /// Goes over what fills the last block of `size` bytes.
    fn pad(&mut self, size: u64) -> Result<()> {
        let rest = size % BLOCK as u64;
        self.stream.skip(if rest == 0 { 0 } else { BLOCK as u64 - rest })
    }

    fn block(&mut self) -> Result<Block> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = self.stream.some((BLOCK - filled) as u64)?;
            if bytes.is_empty() {
                return Err(ends_early());
            }
            block[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        }
        Ok(block)
    }

    /// After the first block of zeros comes a second one, and then zeros at most.
    fn end(&mut self) -> Result<()> {
        let (first, mut padding) = (self.block()?, 0);
        let mut zeros = first.iter().all(|b| *b == 0);
        while zeros && padding <= MAX_PADDING {
            let bytes = self.stream.some(BLOCK as u64)?;
            if bytes.is_empty() {
                return Ok(());
            }
            zeros = bytes.iter().all(|b| *b == 0);
            padding += bytes.len() as u64;
        }
        Err(Error::refused("something follows its end: it is not what was packed"))
    }
}

/// What a header stands for. `None`: the top of the tree, which is there already.
fn member(header: Header) -> Result<Option<Member>> {
    let Header { name, mode, size, kind, target } = header;
    let wrong = |why: &str| Err(Error::refused(format!("member {}: {why}", shown(&name))));
    let kind = match kind {
        b'0' | 0 if name.ends_with(b"/") => return wrong("its name ends in /, but by its kind it is a file"),
        b'0' | 0 => Kind::file(mode),
        b'5' if size > 0 => return wrong("it is a directory with content"),
        b'5' => Kind::Dir,
        b'2' if size > 0 => return wrong("it is a link with content"),
        b'2' => Kind::Link,
        b'1' => {
            return wrong(&format!("it is a hard link to {}: pack it with --hard-dereference", shown(&target)));
        }
        b'3' | b'4' | b'6' => return wrong("it is a FIFO or a device"),
        b'S' => return wrong("it is a sparse file: pack it without --sparse"),
        other => {
            let letter = char::from(other).escape_default();
            return wrong(&format!("it is neither file nor directory nor link (kind {letter})"));
        }
    };
    let mut bare = name.strip_prefix(b"./").unwrap_or(&name);
    if kind == Kind::Dir {
        bare = bare.strip_suffix(b"/").unwrap_or(bare);
        if name == b"." || name == b"./" {
            return Ok(None);
        }
    }
    let name = bare.to_vec();
    Ok(Some(Member { name, kind, size, target: if kind == Kind::Link { target } else { Vec::new() } }))
}
