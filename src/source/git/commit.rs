//! Fetches the part of a commit that is deployed, with its submodules.

use super::fetching::Fetching;
use super::git_error::GitError;
use super::modules::{self, Level};
use super::objects::Members;
use super::source::GitSource;
use crate::remote::reference::Reference;

/// The result of a fetch.
pub(super) struct Fetched {
    pub(super) members: Members,
    /// Identifies the content, independent of the commit.
    pub(super) identity: String,
}

impl Fetching<'_> {
    /// Fetches and lists the part of `commit` that is deployed.
    pub(super) fn run(mut self, commit: &str) -> Result<Fetched, GitError> {
        let GitSource { remote, settings, .. } = self.source;
        let is_pinned = matches!(remote.reference, Some(Reference::Commit(_)));
        self.fetch_missing(&remote.place, commit, self.repository.is_partial, is_pinned)?;
        self.verify(commit)?;
        let tree = self.tree(commit, &remote.path)?;
        if self.repository.is_partial {
            self.complete(&tree)?;
        }
        let level = Level { place: &remote.place, commit, tree: &tree, path: &remote.path, prefix: &[], depth: 0 };
        let has_modules = modules::collect(&mut self, level)?;
        let with = if has_modules && settings.git.submodules { " with submodules" } else { "" };
        Ok(Fetched { members: self.members, identity: format!("tree {tree}{with}") })
    }
}
