//! ZIP archives. The whole structure and policy is checked before the first byte is written: `end` finds the directory,
//! `central` reads it, `local` compares the header of each member with it, `gap_check` checks that members do not
//! overlap. Then `content` inflates one member after the other, exact to the byte.

mod central;
mod content;
pub mod delta;
pub(super) mod end;
mod extra;
mod gap_check;
mod local;
mod member;
mod record;
mod second;
pub(super) mod window;

use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use flate2::Crc;

use self::content::Contents;
use self::end::End;
use self::member::Member;
use super::policy::Kind;
use super::unchanged::Unchanged;
use super::unpacked::{Unpacked, is_something};
use super::writer::Writer;
use crate::artifact::Texts;
use crate::error::{Error, Result};
use crate::model::Layout;
use crate::store::Original;
use crate::store::manifest::{Entry, Manifest, What};
use crate::sys::clock::Deadline;
use crate::sys::fs::Dir;

/// Unpacks the archive into `staging`; unchanged files are cloned from `live`.
pub(super) fn unpack(
    file: &File,
    end: &End,
    staging: Option<&Dir>,
    live: Option<&Original>,
    layout: &Layout,
    deadline: Deadline,
) -> Result<Unpacked> {
    let (plan, members) = central::list(file, end, layout, true, deadline)?;
    is_something(&plan, layout)?;
    let mut writer = Writer::new(&plan, staging, layout, deadline)?;
    if let Some(live) = live {
        let mut sums = vec![(0, 0); plan.len()];
        for Member { size, crc, index, .. } in &members {
            index.iter().for_each(|index| sums[*index as usize] = (*size, *crc));
        }
        writer.clone_from(Unchanged::find(&plan, &sums, live)?);
    }
    let mut contents = Contents::new(file);
    for member in &members {
        let Some(index) = member.index else { continue };
        match plan.kind(index) {
            Kind::Dir => writer.dir(index)?,
            Kind::Link => writer.link(index, |keep| contents.read(member, keep))?,
            Kind::File | Kind::Program => {
                let known = Some((member.size, member.crc));
                writer.file(index, known, |write| contents.read(member, write))?;
            }
        }
    }
    writer.finish()
}

/// The tree that `file`, which has only the end and the directory, would be unpacked to. The directory lacks the texts
/// of links: a link has the text it has in `live`, if size and checksum match.
pub(super) fn survey(file: &File, end: &End, layout: &Layout, live: &Manifest, deadline: Deadline) -> Result<Unpacked> {
    let (plan, members) = central::list(file, end, layout, false, deadline)?;
    is_something(&plan, layout)?;
    let mut what = vec![Entry::Dir { mode: Kind::Dir.mode() }; plan.len()];
    let mut sums = vec![(0, 0); plan.len()];
    for member in &members {
        let Some(index) = member.index else { continue };
        let (Member { size, crc, .. }, kind) = (*member, plan.kind(index));
        match kind {
            Kind::Dir => {}
            Kind::Link => sums[index as usize] = (size, crc),
            Kind::File | Kind::Program => what[index as usize] = Entry::File { size, crc, mode: kind.mode() },
        }
    }
    let mut texts = Texts::default();
    let mut known = live.finder()?;
    for index in plan.in_order().filter(|index| plan.kind(*index) == Kind::Link) {
        let text = match known.at(plan.path(index))?.map(|item| &item.what) {
            Some(What::Link { target }) if sums[index as usize] == sum(target.as_bytes()) => target.as_bytes(),
            _ => &[],
        };
        let text = texts.push(text).ok_or_else(|| Error::failed("the texts of its links are too long"))?;
        what[index as usize] = Entry::Link { text };
    }
    let manifest = plan.manifest(&what, texts);
    Ok(Unpacked { entries: plan.count, bytes: plan.bytes, space: plan.space, manifest })
}

/// The length of a text, and its CRC-32.
fn sum(text: &[u8]) -> (u64, u32) {
    let mut crc = Crc::new();
    crc.update(text);
    (text.len() as u64, crc.sum())
}
