//! Applies `permissions` of an appspec to the plan: owner, group, mode, ACLs and labels become part of each image, so
//! that a file has them before it has its name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::bundle::Installable;
use super::path_name::shown;
use super::plan::{Plan, resolved};
use super::selinux::{LABEL, has_selinux, label};
use crate::appspec::acl::{self, Entry, Resolved, Whom};
use crate::appspec::{At, Permission, Problem};
use crate::config::owner::Accounts;
use crate::store::ledger::Image;
use crate::sys::fs::Kind;
use crate::sys::sort::sort;
use crate::sys::xattr;

/// An entry of `permissions` with its names looked up.
struct Grant<'a> {
    permission: &'a Permission,
    /// Its object as a path, and as that path resolves.
    objects: [Permission; 2],
    uid: Option<u32>,
    gid: Option<u32>,
    acl: Vec<Resolved>,
    default_acl: Vec<Resolved>,
    label: Option<Vec<u8>>,
}

/// Applies the bundle's permissions to `plan`, which holds only the paths that this deployment installs. Returns a
/// warning for each entry that matches none of them.
pub(super) fn apply(
    bundle: &Installable,
    accounts: &Accounts,
    plan: &mut Plan,
    problems: &mut Vec<String>,
) -> Vec<Problem> {
    let has_selinux = has_selinux();
    let permissions = &bundle.appspec.permissions;
    let grants: Vec<Grant<'_>> =
        permissions.iter().map(|permission| Grant::look_up(permission, accounts, has_selinux)).collect();
    let by_object = by_object(&grants);
    let mut is_used = vec![false; grants.len()];
    for (path, image) in plan {
        let host = Path::new("/").join(path);
        let is_directory = image.kind == Kind::Dir;
        let is_meant = |n: &usize| grants[*n].objects.iter().any(|p| p.is_for(&host, is_directory));
        // An entry applies to its object and everything below it.
        let mut near: Vec<usize> =
            host.ancestors().filter_map(|above| by_object.get(above)).flatten().copied().collect();
        sort(&mut near, &mut Ord::cmp);
        near.dedup();
        let mut hits = near.into_iter().filter(is_meant).inspect(|n| is_used[*n] = true).map(|n| &grants[n]);
        let Some(grant) = hits.next() else { continue };
        if let Some(other) = hits.next() {
            let line = grant.permission.object.at.line;
            let text = format!("{} is meant by this entry and by the one of line {line}", shown(path));
            problems.push(bundle.line(&Problem { at: other.permission.object.at, is_warning: false, text }));
            continue;
        }
        grant.give(image);
    }
    permissions.iter().zip(is_used).filter(|(_, is_used)| !is_used).map(|(permission, _)| permission.idle()).collect()
}

/// The numbers of the entries by both paths of their objects, indexed because there may be as many entries as files.
fn by_object<'g>(grants: &'g [Grant<'_>]) -> HashMap<&'g Path, Vec<usize>> {
    let mut by_object: HashMap<&Path, Vec<usize>> = HashMap::new();
    for (n, grant) in grants.iter().enumerate() {
        for object in &grant.objects {
            by_object.entry(&object.object.it).or_default().push(n);
        }
    }
    by_object
}

impl<'a> Grant<'a> {
    /// Users and groups that this host does not have are left out: they are reported as problems.
    fn look_up(permission: &'a Permission, accounts: &Accounts, has_selinux: bool) -> Self {
        let uid = permission.owner.as_ref().and_then(|owner| accounts.uid(&owner.it).ok());
        let gid = permission.group.as_ref().and_then(|group| accounts.gid(&group.it).ok());
        let (mut acl, mut default_acl) = (Vec::new(), Vec::new());
        for At { it: Entry { default, whom, name, perm }, .. } in &permission.acls {
            let id = name.as_ref().map(|name| match whom {
                Whom::User => accounts.uid(name),
                Whom::Group | Whom::Mask | Whom::Other => accounts.gid(name),
            });
            let Ok(id) = id.transpose() else { continue };
            let entry = Resolved { whom: *whom, id, perm: *perm };
            if *default { default_acl.push(entry) } else { acl.push(entry) }
        }
        let label = permission.context.as_ref().filter(|_| has_selinux).map(|context| label(&context.it));
        let leads_to = |object: PathBuf| {
            let object = At { it: object, at: permission.object.at };
            Permission { object, ..permission.clone() }
        };
        let object = &permission.object.it;
        let stands = match (object.parent(), object.file_name()) {
            (Some(parent), Some(name)) => resolved(parent).join(name),
            _ => resolved(object),
        };
        Self { permission, objects: [leads_to(stands), leads_to(resolved(object))], uid, gid, acl, default_acl, label }
    }

    /// Applies the entry to an image. A link has an owner and nothing else.
    fn give(&self, image: &mut Image) {
        image.uid = self.uid.unwrap_or(image.uid);
        image.gid = self.gid.unwrap_or(image.gid);
        if image.kind == Kind::Link {
            return;
        }
        let mode = self.permission.mode.unwrap_or(image.mode);
        image.mode = mode;
        if let Some(label) = &self.label {
            xattr::put(&mut image.attributes, LABEL.as_ref(), label.clone());
        }
        if !self.default_acl.is_empty() && image.kind == Kind::Dir {
            let bytes = acl::attribute(&self.default_acl, mode);
            xattr::put(&mut image.attributes, xattr::DEFAULT_ACL.as_ref(), bytes);
        }
        if !self.acl.is_empty() {
            let bytes = acl::attribute(&self.acl, mode);
            let (bits, is_more) = bits(&bytes);
            image.mode = mode & 0o7000 | bits;
            // The kernel drops an ACL that says no more than the mode.
            if is_more {
                xattr::put(&mut image.attributes, xattr::ACL.as_ref(), bytes);
            }
        }
    }
}

/// The permission bits that a file with this ACL shows, and whether the ACL says more. A mask takes the place of the
/// group bits (acl(5)).
pub(super) fn bits(acl: &[u8]) -> (u32, bool) {
    let (mut user, mut group, mut other, mut mask) = (0, 0, 0, None);
    for entry in acl.get(4..).unwrap_or_default().chunks_exact(8) {
        let perm = u32::from(entry[2] & 7);
        match entry[0] {
            0x01 => user = perm,
            0x04 => group = perm,
            0x10 => mask = Some(perm),
            0x20 => other = perm,
            _ => {}
        }
    }
    (user << 6 | mask.unwrap_or(group) << 3 | other, mask.is_some())
}
