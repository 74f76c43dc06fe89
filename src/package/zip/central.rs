//! The directory of a ZIP, read one member at a time, so that memory does not grow with the claims of an archive. A
//! second reader and the local header of each member must agree.

use std::fs::File;

use super::end::End;
use super::gap_check;
use super::local::Local;
use super::member::Member;
use super::record::Central;
use super::second::Second;
use super::window::BufferedAt;
use crate::error::{Context, Error, Result};
use crate::model::Layout;
use crate::package::names::shown;
use crate::package::policy::{Kind, Listing, Plan};
use crate::package::transfer::in_time;
use crate::sys::clock::Deadline;
use crate::sys::sort::sort;

/// Reads and checks everything but the contents; returns the plan, and the members in file order. Unless `is_whole`,
/// only the directory is read.
pub(super) fn list(
    file: &File,
    end: &End,
    layout: &Layout,
    is_whole: bool,
    deadline: Deadline,
) -> Result<(Plan, Vec<Member>)> {
    if end.members > layout.max_files {
        let (members, limit) = (end.members, layout.max_files);
        return Err(Error::refused(format!("it holds {members} members, more than max-files = {limit}")));
    }
    if end.members > (end.end - end.directory) / Central::SIZE as u64 {
        return Err(Error::refused("its directory is too short for the number of its members"));
    }
    // Limited by the size of the directory, so it fits.
    let expected = usize::try_from(end.members).unwrap_or(0);
    let mut listing = Listing::new(layout, expected);
    let mut members = Vec::with_capacity(expected);
    let open = || BufferedAt::new(file).with_context(|| "cannot read the directory");
    let (mut glass, mut second) = (open()?, Second::new(open()?, end.base));
    let mut second = second.pass();
    let mut at = end.directory;
    for _ in 0..end.members {
        in_time(deadline)?;
        let central = Central::read(&mut glass, at, end.end)?;
        let named = || format!("member {}", shown(&central.name));
        central.check().with_context(named)?;
        let mut member = central.member(end.base).with_context(named)?;
        second.agree(at, &central, &member).with_context(named)?;
        if is_whole {
            let local = Local::read(&mut glass, member.start, end.directory).with_context(named)?;
            local.check(&central, &member).with_context(named)?;
            member.data = local.next;
        }
        if let Some(kind) = kind_of(&central, &member).with_context(named)? {
            let size = if kind == Kind::Dir { 0 } else { member.size };
            member.index = listing.add(&central.bare_name(), kind, size)?;
        }
        members.push(member);
        at = central.next;
    }
    if at != end.end {
        return Err(Error::refused("its directory holds more than its members"));
    }
    sort(&mut members, &mut |a, b| a.start.cmp(&b.start));
    let plan = listing.check()?;
    gap_check::check(&members, &plan, end)?;
    Ok((plan, members))
}

/// The kind of a member by its name and its mode, which must not contradict each other. `None`: the top, which exists
/// already.
fn kind_of(central: &Central, member: &Member) -> Result<Option<Kind>> {
    const TYPE: u32 = 0o170_000;
    if central.is_volume_label() {
        return Err(Error::refused("it is a volume label"));
    }
    let is_top = central.bare_name().is_empty() || *central.bare_name() == *b".";
    let kind = match (central.mode & TYPE, central.is_dir()) {
        // Any content is ignored. Some tools that have no mode set all its bits.
        (0 | 0o040_000 | 0o100_000 | 0o170_000, true) => Kind::Dir,
        (0o040_000, false) if is_top => Kind::Dir,
        (0 | 0o100_000, false) => Kind::file(central.mode),
        (0o120_000, false) if !central.is_link() => {
            return Err(Error::refused("it is a link to some readers and a file to others: readers do not agree"));
        }
        (0o120_000, false) => Kind::Link,
        (0o040_000, false) => {
            return Err(Error::refused("it is a directory by its mode, but its name does not end in /"));
        }
        (0o120_000, true) => return Err(Error::refused("its name ends in /, but by its mode it is a link")),
        (mode, _) => return Err(Error::refused(format!("it is neither file nor directory nor link (mode {mode:o})"))),
    };
    if !member.deflated && member.packed != member.size && kind != Kind::Dir {
        return Err(Error::refused("it is stored, but its two sizes differ"));
    }
    Ok(if kind == Kind::Dir && is_top { None } else { Some(kind) })
}
