//! How members join: no byte belongs to two of them, nor to the directory too. That leaves no room for members that share
//! data (a bomb). What lies between them, in front of the first and behind the last, is never read: the directory decides
//! what is a member, for every reader.

use super::Member;
use super::end::End;
use crate::error::{Error, Result};
use crate::package::names::shown;
use crate::package::policy::Plan;

/// Checks `members`, which are in the order of the file, against each other and against where the directory begins.
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
