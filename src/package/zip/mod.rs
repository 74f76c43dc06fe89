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

use self::content::Contents;
use self::end::End;
use super::names::shown;
use super::policy::Kind;
use super::writer::Writer;
use super::{Unpacked, is_something};
use crate::error::{Context, Result};
use crate::model::Layout;
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
pub(super) fn unpack(file: &File, end: &End, staging: &Dir, layout: &Layout, deadline: Deadline) -> Result<Unpacked> {
    let (plan, members) = central::list(file, end, layout, deadline)?;
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
