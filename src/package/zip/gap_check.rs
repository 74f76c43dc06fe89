//! Checks that members do not overlap each other or the directory, which rules out members that share data (a bomb).
//! Bytes between members, before the first or after the last, are never read: for every reader, the directory decides
//! on the members.

use super::end::End;
use super::member::Member;
use crate::error::{Error, Result};
use crate::package::names::shown;
use crate::package::policy::Plan;

/// Checks that `members`, which are in file order, overlap neither each other nor the directory.
pub(super) fn check(members: &[Member], plan: &Plan, end: &End) -> Result<()> {
    for (number, member) in members.iter().enumerate() {
        let next = members.get(number + 1).map_or(end.directory, |m| m.start);
        if member.data.checked_add(member.packed).is_none_or(|behind| behind > next) {
            let name =
                member.index.map_or_else(|| "one of its members".into(), |i| format!("member {}", shown(plan.name(i))));
            return Err(Error::refused(format!("{name}: it overlaps the next member or the directory")));
        }
    }
    Ok(())
}
