//! A git repository. A poll is one `ls-remote` for one ref; a fetch gets one commit, without history, into a bare
//! repository in the cache. Its contents are read without a checkout: no work tree means no hooks, filters, attributes.
//!
//! The revision is the commit, but a release is identified by the tree at the path: a commit that does not touch the
//! path is not deployed. `command` starts git, `error_class` parses its errors, `access` finds credentials, `source`
//! opens the cache directory, `repository` is the cache, `fetching` fills it, `modules` finds submodules, `commit` adds
//! them to the commit, `objects` reads contents.

mod access;
mod command;
mod commit;
mod error_class;
mod fetching;
mod git_error;
mod modules;
mod objects;
mod refs;
mod repository;
mod source;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use self::fetching::Fetching;
use self::git_error::GitError;
use self::objects::GitTree;
use self::repository::{Purpose, Repository};
pub use self::source::GitSource;
use super::inspect::{self, Remark};
use super::offer::{Offer, Poll};
use crate::artifact::{Artifact, Content};
use crate::config::Settings;
use crate::config::keys::Name;
use crate::error::{Context, Error, Kind, Result, plain};
use crate::http::auth::{UserInfo, load};
use crate::http::retry::RetryBudget;
use crate::model::Known;
use crate::model::{Revision, Validators};
use crate::remote::place::Place;
use crate::remote::reference::Reference;
use crate::sys::clock::Deadline;
use crate::sys::log;
use crate::sys::resolve::untrusted_reason;
use crate::sys::trust::{Untrusted, Writer};

/// The largest answer of `ls-remote`; usually it is a few lines.
const ANSWER: u64 = 1 << 20;

/// The commit to fetch.
#[derive(Debug)]
pub struct GitOffer {
    commit: String,
}

impl GitSource {
    /// Asks for another revision than `known`.
    pub fn poll(&mut self, known: Option<Known<'_>>, deadline: Deadline) -> Result<Poll<GitOffer>> {
        let commit = self.commit(deadline).with_context(|| format!("cannot poll {}", self.name))?;
        let is_known = |known: Known<'_>| {
            let validator = |key| known.validators.get(key);
            validator("commit") == Some(commit.as_str()) && validator("asked") == Some(self.asked().as_str())
        };
        if known.is_some_and(is_known) {
            return Ok(Poll::Unchanged);
        }
        let validators = self.validators(&commit);
        Ok(Poll::Changed(Offer { revision: None, validators, kind: GitOffer { commit } }))
    }

    /// The revision and validators of a named commit. Its tree is unknown, so another commit with the same tree is a
    /// new release.
    pub(super) fn recall(&self, commit: String) -> (Revision, Validators) {
        let validators = self.validators(&commit);
        (Revision::new(commit), validators)
    }

    /// Fetches the offered commit. A broken cache is discarded, and made anew once.
    pub fn fetch(&mut self, offer: GitOffer, deadline: Deadline) -> Result<Artifact> {
        let what = || format!("cannot fetch {}", self.name);
        let remote = self.remote.place.to_string();
        let mut purpose = Purpose { remote: &remote, is_partial: false, commit: &offer.commit };
        let home = self.home().with_context(what)?;
        // If the server once did not send the missing objects, the whole repository is fetched as long as the cache
        // lasts.
        purpose.is_partial = !self.remote.path.is_empty() && !Repository::is_whole(home, purpose);
        loop {
            let repository = Repository::open(home, purpose).with_context(what)?;
            let is_fresh = repository.is_fresh;
            match Fetching::new(self, repository.clone(), deadline)?.run(&offer.commit) {
                Ok(fetched) => return Ok(self.artifact(&offer.commit, repository, fetched)),
                Err(GitError::Cache(e)) if !is_fresh && !deadline.has_passed() => {
                    log::warn!("{}: {e}; making the cache anew", self.name);
                    repository.discard().with_context(what)?;
                }
                Err(GitError::Parts(e)) if purpose.is_partial => {
                    log::debug!("{}: {e}; fetching everything", self.name);
                    purpose.is_partial = false;
                }
                Err(trouble) => return Err(trouble.error()).with_context(what),
            }
        }
    }

    fn artifact(&self, commit: &str, repository: Repository, fetched: commit::Fetched) -> Artifact {
        let commit::Fetched { members, identity } = fetched;
        let remote = self.name.clone();
        Artifact {
            revision: Revision::new(commit).with_content(Some(identity)),
            validators: self.validators(commit),
            content: Content::Tree(Box::new(GitTree { git: self.git.clone(), repository, members, remote })),
            crc: None,
            name: format!("{} at {commit}", self.name),
        }
    }

    /// Problems with the files that the source reads: see [`super::inspect`].
    pub(super) fn inspect(&self) -> Vec<Remark> {
        let Settings { http, git, .. } = &self.settings;
        let mut remarks = match &self.remote.place {
            Place::Http(url) => {
                let read = UserInfo::of(url).and_then(|user| load(&user, url.host_str().unwrap_or_default(), http));
                let mut remarks = inspect::credentials(http, read.map(|credentials| credentials.warnings));
                if url.scheme() == "https" {
                    remarks.extend(inspect::roots(http));
                }
                remarks
            }
            Place::Ssh(..) => {
                let key = if git.known_hosts.is_some() { Name::SshKnownHosts } else { Name::SshKey };
                access::ssh(&self.settings, true).err().map(|e| (key, false, e.to_string())).into_iter().collect()
            }
            Place::Local(path) => {
                let judged = check_local(path).with_context(|| format!("cannot poll {}", self.name));
                judged.err().map(|e| (Name::Remote, true, e.to_string())).into_iter().collect()
            }
            Place::Daemon(_) => Vec::new(),
        };
        let signers = git.signers.as_ref().map(|file| access::check(file, "verify-commit", true));
        remarks.extend(signers.and_then(Result::err).map(|e| (Name::VerifyCommit, false, e.to_string())));
        remarks
    }

    /// The commit that the remote has now.
    fn commit(&self, deadline: Deadline) -> Result<String> {
        if let Some(Reference::Commit(commit)) = &self.remote.reference {
            return Ok(commit.clone());
        }
        let mut patience = RetryBudget::new(deadline);
        loop {
            match self.ask(deadline) {
                Ok(commit) => return Ok(commit),
                Err(GitError::Request(fault)) => patience.after(fault, &self.name)?,
                Err(trouble) => return Err(trouble.error()),
            }
        }
    }

    /// Runs `ls-remote` once.
    fn ask(&self, deadline: Deadline) -> Result<String, GitError> {
        let (place, reference) = (&self.remote.place, self.remote.reference.as_ref());
        if let Place::Local(path) = place {
            check_local(path)?;
        }
        let access = access::to(place, place, &self.settings, || self.home())?;
        let (url, patterns) = (place.for_git(), refs::patterns(reference));
        let mut args = vec!["ls-remote", "-q", "--", &url];
        args.extend(patterns.iter().map(String::as_str));
        let limits = self.settings.http.connect_timeout + self.settings.http.stall_timeout;
        let answer = self.git.call(place.scheme(), access, &args).output(ANSWER, deadline, Some(limits))?;
        Ok(refs::choose(&answer, reference)?)
    }

    fn validators(&self, commit: &str) -> Validators {
        Validators::default().with("commit", commit).with("asked", self.asked())
    }

    /// The settings that make another release of the same commit.
    fn asked(&self) -> String {
        format!("{} submodules={}", self.name, self.settings.git.submodules)
    }
}

/// Git only reads repositories of root and of its own user; another user's could have configuration that runs programs.
fn check_local(path: &Path) -> Result<()> {
    let meta = fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::failed(format!("there is nothing at {}", path.display())),
        _ => Error::failed(format!("cannot examine {}: {}", path.display(), plain(&e))),
    })?;
    if !meta.is_dir() {
        return Err(Error::failed("it is no directory, and so no repository"));
    }
    let is_anothers = |untrusted: Untrusted| matches!(untrusted.writer, Writer::Owner(_) | Writer::Link(_));
    if untrusted_reason(path).is_ok_and(|untrusted| untrusted.is_some_and(is_anothers)) && meta.uid() != 0 {
        let owner = meta.uid();
        return Err(Error::new(
            Kind::Failed,
            format!("it belongs to user {owner}, and git reads only root's and our own: chown it, or use ssh://"),
        ));
    }
    Ok(())
}
