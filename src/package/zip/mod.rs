//! ZIP archives. All of the structure and the whole policy is checked before the first byte is written: `end` finds the
//! directory, `central` reads it, `seams` sees that members neither overlap nor leave anything between them. Then
//! `content` inflates one member after the other, exact to the byte. The `zip` crate's `extract()` is never called.

mod central;
mod content;
pub(super) mod end;
mod record;
mod seams;
pub(super) mod window;

use std::fs::File;
use std::os::unix::ffi::OsStringExt;

use flate2::Crc;

use self::content::Contents;
use self::end::End;
use super::names::{by_component, shown};
use super::policy::Kind;
use super::writer::{self, Writer};
use super::{Unpacked, is_something};
use crate::error::{Context, Result};
use crate::model::Layout;
use crate::store::manifest::{Manifest, What};
use crate::sys::clock::Deadline;
use crate::sys::fs::Dir;

/// Where a member lies, and what its content must come to.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Its local header.
    start: u64,
    /// Its compressed data.
    data: u64,
    packed: u64,
    size: u64,
    crc: u32,
    /// Its place in the plan; `None`: `strip-components` leaves nothing of it.
    index: Option<u32>,
    deflated: bool,
    described: bool,
}

/// Lays the archive out in `staging`.
pub(super) fn unpack(
    file: &File,
    end: &End,
    staging: Option<&Dir>,
    layout: &Layout,
    deadline: Deadline,
) -> Result<Unpacked> {
    let (plan, members) = central::list(file, end, layout, true, deadline)?;
    is_something(&plan, layout)?;
    let mut writer = Writer::new(&plan, staging, layout, deadline)?;
    let mut contents = Contents::new(file);
    let named = |index: u32| format!("member {}", shown(plan.name(index)));
    let mut links = Vec::new();
    for member in &members {
        let Some(index) = member.index else { continue };
        match plan.kind(index) {
            Kind::Link => links.push(member),
            Kind::Dir => {
                contents.read(member, &mut |_| Ok(())).context(|| named(index))?;
                writer.dir(index)?;
            }
            Kind::File | Kind::Program => writer.file(index, |write| contents.read(member, write))?,
        }
    }
    for member in links {
        let Some(index) = member.index else { continue };
        let mut text = Vec::new();
        let mut keep = |bytes: &[u8]| {
            text.extend_from_slice(bytes);
            Ok(())
        };
        contents.read(member, &mut keep).context(|| named(index))?;
        writer.link(index, &text)?;
    }
    writer.finish()
}

/// What `file` would be laid out as, of which only the end and the directory are there. What a link says is not among
/// them: it is what `live` has there when that has the same size and checksum.
pub(super) fn survey(file: &File, end: &End, layout: &Layout, live: &Manifest, deadline: Deadline) -> Result<Unpacked> {
    let (plan, members) = central::list(file, end, layout, false, deadline)?;
    is_something(&plan, layout)?;
    let (mut bytes, mut sums, mut texts) = (0, vec![(0, 0); plan.len()], Vec::new());
    for member in &members {
        let Some(index) = member.index else { continue };
        sums[index as usize] = (member.size, member.crc);
        bytes += if plan.kind(index) == Kind::Link { 0 } else { member.size };
    }
    let mut links = live.items().filter_map(|item| match item.what {
        What::Link { target } => Some((item.path.into_os_string().into_vec(), target.into_vec())),
        _ => None,
    });
    let mut known = links.next();
    for index in plan.in_order().filter(|index| plan.kind(*index) == Kind::Link) {
        // Both are in the same order.
        while known.as_ref().is_some_and(|(path, _)| by_component(path, plan.path(index)).is_lt()) {
            known = links.next();
        }
        let Some((_, text)) = known.as_ref().filter(|(path, _)| path == plan.path(index)) else { continue };
        let mut crc = Crc::new();
        crc.update(text);
        if sums[index as usize] == (text.len() as u64, crc.sum()) {
            texts.push((index, text.clone()));
        }
    }
    texts.sort_unstable();
    let manifest = writer::manifest(&plan, &sums, &texts);
    Ok(Unpacked { entries: plan.count, bytes, space: plan.space, manifest })
}
