//! Fetches a commit and lists its contents: the commit itself, the missing objects of its directory, its submodules,
//! and theirs. After that all listed objects are in the repository. Objects that are there already are not fetched.

use std::io::{BufRead, BufReader, Read};

use super::access;
use super::command::{Access, Call};
use super::git_error::GitError;
use super::objects::{Line, MODULE, Members};
use super::repository::{Repository, reference};
use super::source::GitSource;
use crate::artifact::{MAX_NAME, Node};
use crate::error::{Error, Kind, Result};
use crate::http::retry::RetryBudget;
use crate::remote::place::Place;
use crate::remote::reference::is_object;
use crate::sys::clock::Deadline;

/// The longest line of a listing, in bytes.
const LONGEST: u64 = 70_000;
/// The output limit of short commands.
const LITTLE: u64 = 1 << 20;
/// The file size that git may always write, for refs and the like; below it, git could not report an error.
const SMALLEST: u64 = 4096;
/// Arguments of every fetch.
const FETCH: [&str; 7] = [
    "fetch",
    "-q",
    "--no-tags",
    "--force",
    "--no-write-fetch-head",
    "--no-recurse-submodules",
    "--no-show-forced-updates",
];

/// Name and commit of a submodule.
type Module = (Vec<u8>, String);

/// One fetch.
pub(super) struct Fetching<'a> {
    pub(super) source: &'a GitSource,
    pub(super) repository: Repository,
    pub(super) deadline: Deadline,
    pub(super) members: Members,
    /// Size of the repository's packs before the fetch, in bytes.
    packed: u64,
}

impl<'a> Fetching<'a> {
    pub(super) fn new(source: &'a GitSource, repository: Repository, deadline: Deadline) -> Result<Self> {
        let packed = repository.bytes()?;
        let members = Members::new(source.settings.layout.max_names);
        Ok(Self { source, repository, deadline, members, packed })
    }

    /// Fetches a commit unless the repository has it.
    pub(super) fn fetch_missing(
        &self,
        place: &Place,
        commit: &str,
        is_partial: bool,
        is_pinned: bool,
    ) -> Result<(), GitError> {
        if self.repository.has(commit) {
            return Ok(());
        }
        let here = format!("+{commit}:{}", reference(commit));
        let mut args = vec!["--depth=1"];
        args.extend(is_partial.then_some("--filter=blob:none"));
        match self.fetch(place, &args, &[&here], None) {
            Err(GitError::Request(fault)) if fault.error.kind() == Kind::Superseded && is_pinned => {
                Err(Error::failed(fault.error.to_string()).into())
            }
            Err(GitError::Unadvertised(_)) if is_pinned => {
                // The server only sends commits that a ref names: fetch all branches and tags.
                self.fetch(place, &[], &["+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*"], None)?;
                let found = self.local(&["update-ref", &reference(commit), commit]).output(LITTLE, self.deadline, None);
                found.map(|_| ()).map_err(|trouble| match trouble {
                    GitError::Cache(_) => Error::failed(format!("commit {commit} is in no branch and no tag")).into(),
                    other => other,
                })
            }
            result => result,
        }
    }

    /// Runs `git fetch`, with retries.
    fn fetch(&self, place: &Place, options: &[&str], names: &[&str], stdin: Option<&[u8]>) -> Result<(), GitError> {
        let GitSource { git, remote, settings, .. } = self.source;
        let url = place.for_git();
        // The URL of a partial repository's remote is set here, and is never on disk.
        let is_origin = options.iter().any(|option| option.starts_with("--filter"));
        let mut args: Vec<&str> = FETCH.iter().chain(options).copied().collect();
        args.extend(stdin.map(|_| "--stdin"));
        args.extend(["--", if is_origin { "origin" } else { &url }]);
        args.extend(names);
        let mut patience = RetryBudget::new(self.deadline);
        loop {
            let mut access = access::to(place, &remote.place, settings, || self.source.home())?;
            if is_origin {
                access.config.push(("remote.origin.url", url.clone()));
            }
            // A partial repository must not announce its commits: the server of a submodule, if it is also its
            // parent's, would assume that the contents of these commits are here, and leave them out.
            if stdin.is_some() || (self.repository.is_partial && !is_origin) {
                access.config.push(("fetch.negotiationAlgorithm", "noop".to_owned()));
            }
            let mut call = git.call(place.scheme(), access, &args);
            call.repository = Some(self.repository.path().to_owned());
            // All fetches of one check share one limit, since a repository may have any number of submodules.
            let fetched = self.repository.bytes()?.saturating_sub(self.packed);
            call.largest_file = Some(settings.max_download.saturating_sub(fetched).max(SMALLEST));
            call.input = stdin.map(|text| self.repository.input(text)).transpose()?;
            match call.output(LITTLE, self.deadline, None) {
                Ok(_) => return Ok(()),
                Err(GitError::Request(fault)) => patience.after(fault, &place.to_string())?,
                Err(trouble) => return Err(trouble),
            }
        }
    }

    fn local(&self, args: &[&str]) -> Call<'_> {
        self.source.git.local(self.repository.path(), args)
    }

    /// The output of a short command.
    pub(super) fn answer(&self, args: &[&str]) -> Result<Vec<u8>, GitError> {
        self.local(args).output(LITTLE, self.deadline, None)
    }

    /// Refuses a commit without a good signature of a signer in `verify-commit`.
    pub(super) fn verify(&self, commit: &str) -> Result<(), GitError> {
        let Some(signers) = &self.source.settings.git.signers else { return Ok(()) };
        access::check(signers, "verify-commit", true)?;
        let mut call = self.local(&["verify-commit", commit]);
        let file = signers.display().to_string();
        call.access = Access { config: vec![("gpg.ssh.allowedSignersFile", file)], ..Access::default() };
        match call.output(LITTLE, self.deadline, None).map_err(GitError::error) {
            Ok(_) => Ok(()),
            Err(e) if matches!(e.kind(), Kind::Stopped(_)) || self.deadline.has_passed() => Err(e.into()),
            Err(e) => {
                let signers = signers.display();
                Err(Error::refused(format!("commit {commit} has no good signature of anybody in {signers}: {e}"))
                    .into())
            }
        }
    }

    /// The tree at `path` of a commit.
    pub(super) fn tree(&self, commit: &str, path: &str) -> Result<String, GitError> {
        if path.is_empty() {
            let name = format!("{commit}^{{tree}}");
            let answer = self.answer(&["rev-parse", "--verify", &name])?;
            let tree = String::from_utf8_lossy(&answer).trim().to_owned();
            return if is_object(&tree) { Ok(tree) } else { Err(Error::failed("git rev-parse names no tree").into()) };
        }
        let wrong = |what: String| GitError::from(Error::failed(what));
        match self.entry(commit, path)? {
            Some((0o040_000, tree)) => Ok(tree),
            Some((MODULE, _)) => Err(wrong(format!("{path} is a submodule: name its own repository as the remote"))),
            Some(_) => Err(wrong(format!("{path} is no directory in commit {commit}"))),
            None => Err(wrong(format!("there is no directory {path} in commit {commit}"))),
        }
    }

    /// Mode and object of the entry at `path` in a commit.
    pub(super) fn entry(&self, commit: &str, path: &str) -> Result<Option<(u32, String)>, GitError> {
        let answer = self.answer(&["ls-tree", "-z", commit, "--", path])?;
        let Some(line) = answer.split(|b| *b == 0).find(|line| !line.is_empty()) else { return Ok(None) };
        let line = Line::parse(line)?;
        Ok(Some((line.mode, line.object.to_owned())))
    }

    /// Fetches all missing contents below `tree` in one call.
    pub(super) fn complete(&self, tree: &str) -> Result<(), GitError> {
        let mut missing = Vec::new();
        let args = ["rev-list", "--objects", "--no-object-names", "--missing=print", tree];
        self.lines(&args, b'\n', |line| {
            if let Some(object) = line.strip_prefix(b"?") {
                missing.extend_from_slice(object);
                missing.push(b'\n');
            }
            Ok(())
        })?;
        self.bring_contents(&missing)
    }

    /// Fetches contents from the remote itself; `objects` has one object name a line.
    pub(super) fn bring_contents(&self, objects: &[u8]) -> Result<(), GitError> {
        if objects.is_empty() {
            return Ok(());
        }
        let fetched = self.fetch(&self.source.remote.place, &["--filter=blob:none"], &[], Some(objects));
        fetched.map_err(|trouble| match trouble {
            GitError::Request(fault) if fault.error.kind() == Kind::Superseded => GitError::Parts(fault.error),
            GitError::Unadvertised(error) => GitError::Parts(error),
            other => other,
        })
    }

    /// Adds the entries of `tree` to the members, with `prefix` before their names. Submodules are returned if they are
    /// enabled, and otherwise added as empty directories; the flag says whether there are any in either case.
    pub(super) fn list(&mut self, tree: &str, prefix: &[u8]) -> Result<(bool, Vec<Module>), GitError> {
        let (mut has_modules, mut found) = (false, Vec::new());
        let (settings, most) = (&self.source.settings, self.source.settings.layout.max_files);
        let mut members = std::mem::replace(&mut self.members, Members::new(0));
        let listed = self.lines(&["ls-tree", "-r", "-z", "-l", tree], 0, |line| {
            let line = Line::parse(line)?;
            // Checked here, not at unpacking: a few directories with long names take gigabytes of memory.
            if prefix.len() + 1 + line.name.len() > MAX_NAME + usize::from(prefix.is_empty()) {
                return Err(Error::refused(format!("a name in it is longer than {MAX_NAME} bytes")));
            }
            let name = joined(prefix, line.name);
            match (line.node()?, line.size) {
                (None, _) => {
                    has_modules = true;
                    if settings.git.submodules {
                        members.make_room(&name)?;
                        found.push((line.name.to_owned(), line.object.to_owned()));
                    } else {
                        members.push(&name, "", Node::Dir, 0)?;
                    }
                }
                (Some(node), Some(size)) => members.push(&name, line.object, node, size)?,
                (Some(_), None) => return Err(Error::failed("git ls-tree tells no size")),
            }
            match members.len() as u64 + found.len() as u64 > most {
                true => {
                    Err(Error::refused(format!("it holds more files, directories and links than max-files = {most}")))
                }
                false => Ok(()),
            }
        });
        self.members = members;
        listed.map(|()| (has_modules, found))
    }

    /// Calls `take` for each part of the output that ends with `end`.
    fn lines(&self, args: &[&str], end: u8, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<(), GitError> {
        let mut reading = BufReader::new(self.local(args).stream(self.deadline)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A read error is reported by `finish`.
            match (&mut reading).take(LONGEST).read_until(end, &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) if line.last() == Some(&end) => line.truncate(line.len() - 1),
                Ok(_) if line.len() as u64 == LONGEST => return Err(Error::refused("a name in it is too long").into()),
                Ok(_) => break,
            }
            take(&line)?;
        }
        reading.into_inner().finish()
    }
}

/// The name of an entry in the directory `prefix`.
pub(super) fn joined(prefix: &[u8], name: &[u8]) -> Vec<u8> {
    match prefix.is_empty() {
        true => name.to_vec(),
        false => [prefix, b"/", name].concat(),
    }
}
