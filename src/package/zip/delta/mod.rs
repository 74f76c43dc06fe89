//! Assembles a new ZIP from an older one, the seed, and the parts that changed. [`Directory::read`] lists the members
//! of both, [`plan`] decides where each byte of the new archive comes from, and [`Plan::assemble`] puts them together.
//! Nothing is fetched here.
//!
//! # Why the result is the archive of the source
//!
//! Four kinds of bytes make a new archive:
//!
//! 1. The directory and the end come from the source, and so do all members that are not equal to one of the seed by
//!    name, method, CRC-32 and both sizes; and all bytes that belong to no member.
//! 2. The packed content of an equal member is copied from the seed.
//! 3. Its local header is predicted (`header`): each field follows the rule that it follows in the seed, for instance
//!    that the time is the one of the directory. A header that follows no rule is fetched.
//! 4. Its data descriptor repeats the directory: only a known form of it is copied.
//!
//! A digest of the whole archive (an ETag that is an MD5, a pinned or signed sum) proves all of this, and an archive
//! that does not have it is discarded and fetched whole. Where the source gives no digest, this is what holds:
//!
//! - **The tree is right.** Names, kinds, modes, sizes and checksums are those of the fetched directory, and the reader
//!   (`package::zip`) checks each content against its sizes and CRC-32, and each local header against the directory. An
//!   archive that it refuses is discarded and fetched whole, so a wrong guess cannot refuse a good archive either.
//! - **Header fields that the directory does not determine** (a time of last access, padding) are *guessed*: kept as in
//!   the seed. They do not change the tree; a sample of them is fetched all the same, and one wrong guess in it makes
//!   the archive be fetched whole.
//! - **The length of everything** is known: members, directory and end lie where the directory says, so a header of
//!   another length than predicted is noticed.
//!
//! A content that changed without a change of its CRC-32 and of both its sizes is not noticed without a digest: one in
//! four thousand million changes that keep both sizes. `verify` and `changed-files` have the same limit.

mod directory;
mod header;
mod ranges;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

pub use self::directory::Directory;
use self::directory::{Record, Spot};
use super::end;
use super::member::LOCAL_HEADER;
use super::window::{BufferedAt, ReadWindow};
use crate::error::{Context, Error, Result};

/// Parts that are fetched are joined across a gap that is smaller, in bytes: a request costs as much as it.
const GAP: u64 = 64 << 10;
/// The largest number of parts that are fetched.
const MOST_PARTS: usize = 64;
/// The largest share of an archive that is fetched in parts, in percent.
const MOST_PERCENT: u64 = 60;
/// The number of guessed headers that are fetched and compared.
const PROBES: usize = 8;
/// The number of bytes that are copied at once.
const COPIED: usize = 64 << 10;

/// The offset of the directory of a ZIP; `file` needs only its end. `None`: it has no end record.
pub fn directory_of(file: &File) -> Result<Option<u64>> {
    Ok(end::find(file)?.map(|end| end.directory))
}

/// Where each byte of a new archive comes from.
#[derive(Debug)]
pub struct Plan {
    /// In file order, without gaps.
    steps: Vec<Step>,
    /// Predicted headers, one after the other.
    made: Vec<u8>,
    /// Guessed headers that are fetched: their offset in the archive, and their place in `made`.
    probes: Vec<(u64, Range<usize>)>,
    /// Headers that are fetched without their content: offset and length.
    headers: Vec<(u64, u64)>,
    /// The number of bytes to fetch.
    pub fetch: u64,
    /// The number of parts to fetch.
    pub parts: usize,
    /// The number of members whose content is copied.
    pub copied: usize,
    /// The number of members.
    pub members: usize,
}

/// A piece of the new archive.
#[derive(Clone, Copy, Debug)]
struct Step {
    at: u64,
    length: u64,
    from: From,
}

/// The origin of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// It has to be fetched.
    Net,
    /// It is in the seed, at this offset.
    Seed(u64),
    /// It is predicted: its place in `made`.
    Made(usize),
    /// It was read before the plan was made.
    Read,
}

/// Takes the bytes of a new archive, in order.
pub trait Target {
    /// Fetches bytes, and appends them.
    fn fetch(&mut self, at: u64, length: u64) -> Result<()>;

    /// Appends bytes.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Plans the archive with the directory `new` from `seed`, which has the directory `old`. All bytes from `read` on are
/// there already. With `is_proven`, a digest of the whole archive is compared later, and no guess needs a test. `None`:
/// fetching the whole archive is better.
pub fn plan(seed: &File, old: &Directory, new: &Directory, read: u64, is_proven: bool) -> Result<Option<Plan>> {
    let (members, by_name) = (new.len(), old.by_name());
    let (steps, headers) = (Vec::with_capacity(3 * members), Vec::new());
    let empty = Plan { steps, made: Vec::new(), probes: Vec::new(), headers, fetch: 0, parts: 0, copied: 0, members };
    let seed = BufferedAt::new(seed).with_context(|| "cannot read the seed")?;
    let mut planner = Planner { seed, old, plan: empty, guesses: Vec::new(), end: 0 };
    for at in 0..members {
        let (spot, next) = (new.spot(at), new.next(at));
        let start = spot.start;
        if start < planner.end || next < start {
            return Ok(None); // members overlap
        }
        planner.push(start - planner.end, From::Net);
        let known = old.find(&by_name, new.record(at).name());
        let is_last = at + 1 == members;
        let piece = known.and_then(|known| planner.reuse(known, new.record(at), spot, next, is_last));
        match piece {
            Some(piece) => planner.take(piece),
            None => planner.push(next - start, From::Net),
        }
    }
    if !is_proven {
        planner.probe();
    }
    let mut plan = planner.plan;
    plan.cut(read);
    plan.join();
    let rest = new.total - read;
    plan.steps.push(Step { at: read, length: rest, from: From::Read });
    let is_worth_it = (plan.fetch + rest).saturating_mul(100) <= new.total.saturating_mul(MOST_PERCENT);
    Ok(is_worth_it.then_some(plan))
}

/// A plan in the making.
struct Planner<'a> {
    seed: BufferedAt<'a>,
    old: &'a Directory,
    plan: Plan,
    /// The steps whose headers are guessed.
    guesses: Vec<usize>,
    /// The end of the last step.
    end: u64,
}

/// The parts of a member whose content is in the seed.
struct Reused {
    /// The length of the header in the new archive.
    header: u64,
    /// The predicted header in `made`, and whether it is certain; `None`: it is fetched.
    made: Option<(usize, bool)>,
    /// The offset of content and descriptor in the seed, and their length.
    content: u64,
    length: u64,
}

impl Planner<'_> {
    fn push(&mut self, length: u64, from: From) {
        if length > 0 {
            self.plan.steps.push(Step { at: self.end, length, from });
            self.end += length;
        }
    }

    fn take(&mut self, piece: Reused) {
        self.plan.copied += 1;
        match piece.made {
            Some((made, is_certain)) => {
                if !is_certain {
                    self.guesses.push(self.plan.steps.len());
                }
                self.push(piece.header, From::Made(made));
            }
            None => {
                self.plan.headers.push((self.end, piece.header));
                self.push(piece.header, From::Net);
            }
        }
        self.push(piece.length, From::Seed(piece.content));
    }

    /// The member of the seed at `known`, if it can be used for the new member `record`, which ends at `next`.
    fn reuse(&mut self, known: usize, record: Record<'_>, spot: Spot, next: u64, is_last: bool) -> Option<Reused> {
        let (old, there) = (self.old.record(known), self.old.spot(known));
        if !record.has_content_of(old) || (spot.packed, spot.size) != (there.packed, there.size) {
            return None;
        }
        let local = self.local(there.start)?;
        let content = there.start + local.len() as u64;
        let behind = content.checked_add(there.packed)?;
        let gap = self.old.next(known).checked_sub(behind)?;
        let descriptor = if record.is_described() {
            let is_known = old.is_described() && matches!(gap, 12 | 16 | 20 | 24);
            let mut bytes = vec![0; usize::try_from(gap).ok().filter(|_| is_known)?];
            self.seed.exact(&mut bytes, behind).ok()?;
            record.is_descriptor(&bytes, &spot).then_some(gap)?
        } else {
            0
        };
        let length = there.packed + descriptor;
        let header = (next - spot.start).checked_sub(length)?;
        let start = self.plan.made.len();
        let certainty = header::predict(&local, old, record, &mut self.plan.made);
        let fits = (self.plan.made.len() - start) as u64 == header;
        let made = certainty.filter(|_| fits).map(|is_certain| (start, is_certain));
        if made.is_none() {
            self.plan.made.truncate(start);
            // Other bytes may follow the last member.
            let is_header = header >= (LOCAL_HEADER + record.name().len()) as u64;
            if is_last || !is_header || there.packed < GAP {
                return None;
            }
        }
        Some(Reused { header, made, content, length })
    }

    /// The local header at an offset of the seed.
    fn local(&mut self, start: u64) -> Option<Vec<u8>> {
        let mut raw = vec![0; LOCAL_HEADER];
        self.seed.exact(&mut raw, start).ok()?;
        if !raw.starts_with(b"PK\x03\x04") {
            return None;
        }
        raw.resize(header::length(&raw), 0);
        self.seed.exact(&mut raw[LOCAL_HEADER..], start + LOCAL_HEADER as u64).ok()?;
        Some(raw)
    }

    /// Fetches some of the guessed headers, spread over all of them.
    fn probe(&mut self) {
        let Plan { steps, probes, .. } = &mut self.plan;
        let count = self.guesses.len().min(PROBES);
        for probe in 0..count {
            let step = &mut steps[self.guesses[probe * self.guesses.len() / count]];
            if let (From::Made(made), Ok(length)) = (step.from, usize::try_from(step.length)) {
                probes.push((step.at, made..made + length));
                step.from = From::Net;
            }
        }
    }
}

impl Plan {
    /// Drops the steps beyond `end`.
    fn cut(&mut self, end: u64) {
        while self.steps.last().is_some_and(|step| step.at >= end) {
            self.steps.pop();
        }
        if let Some(last) = self.steps.last_mut() {
            last.length = last.length.min(end - last.at);
        }
    }

    /// Joins parts that are fetched across small gaps, and across more of them if the parts are too many.
    fn join(&mut self) {
        let parts = self.steps.iter().filter(|step| step.from == From::Net);
        let parts = ranges::join(parts.map(|step| step.at..step.at + step.length).collect(), GAP, MOST_PARTS);
        (self.fetch, self.parts) = (parts.iter().map(|part| part.end - part.start).sum(), parts.len());
        let mut parts = parts.into_iter().peekable();
        let mut joined = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            while parts.peek().is_some_and(|part| part.end <= step.at) {
                parts.next();
            }
            match parts.peek().filter(|part| part.contains(&step.at)) {
                Some(part) if part.start == step.at => {
                    joined.push(Step { at: part.start, length: part.end - part.start, from: From::Net });
                }
                Some(_) => {}
                None => joined.push(*step),
            }
        }
        self.steps = joined;
    }

    /// Passes the new archive to `target`. `read` has the bytes that were read before the plan was made, in their
    /// places.
    pub fn assemble(&self, seed: &File, read: &File, target: &mut dyn Target) -> Result<()> {
        let mut window = ReadWindow::new(COPIED);
        for step in &self.steps {
            match step.from {
                From::Net => target.fetch(step.at, step.length)?,
                From::Seed(at) => copy(&mut window, seed, at, step.length, target)?,
                From::Read => copy(&mut ReadWindow::new(COPIED), read, step.at, step.length, target)?,
                From::Made(at) => {
                    let length = usize::try_from(step.length).unwrap_or(usize::MAX);
                    target.append(self.made.get(at..).and_then(|made| made.get(..length)).unwrap_or_default())?;
                }
            }
        }
        Ok(())
    }

    /// Checks the predictions that can be compared with bytes of the source.
    pub fn check(&self, assembled: &File) -> Result<()> {
        let read = |at: u64, length: usize| -> Result<Vec<u8>> {
            let mut bytes = vec![0; length];
            assembled.read_exact_at(&mut bytes, at).with_context(|| "cannot read it")?;
            Ok(bytes)
        };
        let wrong = || Error::failed("a header is not as predicted");
        for (at, made) in &self.probes {
            if read(*at, made.len())? != self.made[made.clone()] {
                return Err(wrong());
            }
        }
        for (at, length) in &self.headers {
            let header = read(*at, LOCAL_HEADER)?;
            if !header.starts_with(b"PK\x03\x04") || header::length(&header) as u64 != *length {
                return Err(wrong());
            }
        }
        Ok(())
    }
}

/// Passes `length` bytes of `file` to `target`.
fn copy(window: &mut ReadWindow, file: &File, mut at: u64, mut length: u64, target: &mut dyn Target) -> Result<()> {
    while length > 0 {
        let bytes = window.at(file, at).with_context(|| "cannot read the seed")?;
        let count = usize::try_from(length).map_or(bytes.len(), |length| length.min(bytes.len()));
        if count == 0 {
            return Err(Error::failed("the seed ends too early"));
        }
        target.append(&bytes[..count])?;
        (at, length) = (at + count as u64, length - count as u64);
    }
    Ok(())
}
