//! A bundle in the file system: finds its appspec, checks the files that the appspec names, and lists its scripts.
//! Checking the host is left to other modules.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::super::problems::refusal;
use super::selinux::has_selinux;
use crate::appspec::acl::Whom;
use crate::appspec::{self, Appspec, At, Event, Place, Problem};
use crate::config::owner::Accounts;
use crate::error::{Context, Error, Result, plain};
use crate::sys::sort::sort;

/// The names of an appspec.
const NAMES: [&str; 2] = ["appspec.yml", "appspec.yaml"];
/// The largest number of bytes read of an appspec; the YAML reader has a lower limit.
const LARGEST: u64 = 2 << 20;
/// Timeout of a script found by its name, in seconds.
const TIMEOUT: u32 = 3600;

/// The message for links that are not followed.
const OUT: &str = "is a link that leads out of the bundle";

/// A directory with an appspec.
#[derive(Debug)]
pub struct Bundle {
    /// The directory that the appspec's paths are relative to: the top, or its single directory.
    pub root: PathBuf,
    /// The appspec, as a path below the top.
    pub name: PathBuf,
    /// Its content.
    pub text: Vec<u8>,
}

/// Finds the appspec of the directory `top`. `None`: it has none, so it is no bundle.
pub fn find(top: &Path) -> Result<Option<Bundle>> {
    let cannot = || format!("cannot look into {}", top.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(top).with_context(cannot)? {
        entries.push(entry.with_context(cannot)?);
        if entries.len() > 1 {
            break;
        }
    }
    let single = match &entries[..] {
        [one] if one.file_type().with_context(cannot)?.is_dir() => Some(one.file_name()),
        _ => None,
    };
    for below in [Some(PathBuf::new()), single.map(PathBuf::from)].into_iter().flatten() {
        let root = top.components().chain(below.components()).collect::<PathBuf>();
        let there = NAMES.map(|name| fs::symlink_metadata(root.join(name)).is_ok().then_some(name));
        let name = match there {
            [Some(one), Some(other)] => {
                let root = root.display();
                return Err(Error::refused(format!("{one} and {other} are both in {root}: leave one of them out")));
            }
            [None, None] => continue,
            [one, other] => below.join(one.or(other).unwrap_or_default()),
        };
        if leads_out(&root, &top.join(&name)) {
            return Err(Error::refused(format!("{} {OUT}", name.display())));
        }
        return Ok(Some(Bundle { text: read(&top.join(&name))?, root, name }));
    }
    Ok(None)
}

/// Whether `path` in the bundle at `root` leads outside, as symlinks = any permits.
fn leads_out(root: &Path, path: &Path) -> bool {
    match (path.canonicalize(), root.canonicalize()) {
        (Ok(real), Ok(root)) => !real.starts_with(root),
        _ => false, // it leads nowhere
    }
}

/// Reads an appspec.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    if !fs::metadata(path).with_context(cannot)?.is_file() {
        return Err(Error::refused(format!("{}: it is no file", cannot())));
    }
    let mut text = Vec::new();
    fs::File::open(path).with_context(cannot)?.take(LARGEST).read_to_end(&mut text).with_context(cannot)?;
    Ok(text)
}

/// Lists sources and scripts that are not in the bundle at `root`.
pub fn missing(appspec: &Appspec, root: &Path) -> Vec<Problem> {
    let sources = appspec.files.iter().map(|files| (&files.source, "source", false));
    let scripts = appspec.hooks.iter().flat_map(|(_, scripts)| scripts);
    let scripts = scripts.map(|script| (&script.location, "location", true));
    let problem = |(path, key, is_script): (&At<PathBuf>, &str, bool)| {
        let why = lacks(root, &path.it, is_script)?;
        Some(Problem { at: path.at, is_warning: false, text: format!("{key}: {}", why.escape_debug()) })
    };
    sources.chain(scripts).filter_map(problem).collect()
}

/// The reason why `path` is not usable from the bundle; a script must be a file. A link inside the bundle counts as its
/// target.
fn lacks(root: &Path, path: &Path, is_script: bool) -> Option<String> {
    let shown = path.display();
    let inside = |path: &Path| Ok::<_, std::io::Error>((path.canonicalize()?, root.canonicalize()?));
    if !is_script && fs::symlink_metadata(root.join(path)).is_ok_and(|meta| meta.is_symlink()) {
        return None; // it is copied as a link, wherever it leads
    }
    match inside(&root.join(path)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some(format!("{shown} is not in the bundle")),
        Err(e) => Some(format!("cannot look at {shown}: {}", plain(&e))),
        Ok((real, root)) if !real.starts_with(&root) => Some(format!("{shown} {OUT}")),
        Ok((real, _)) if is_script && !real.is_file() => Some(format!("{shown} is no file")),
        Ok(_) => None,
    }
}

/// Lists users and groups that this host does not have.
pub fn strangers(appspec: &Appspec, accounts: &Accounts) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut look = |at: Place, id: Result<u32, String>| {
        found.extend(id.err().map(|text| Problem { at, is_warning: true, text }));
    };
    for permission in &appspec.permissions {
        if let Some(owner) = &permission.owner {
            look(owner.at, accounts.uid(&owner.it));
        }
        if let Some(group) = &permission.group {
            look(group.at, accounts.gid(&group.it));
        }
        for entry in &permission.acls {
            let id = |name: &String| match entry.it.whom {
                Whom::User => accounts.uid(name),
                Whom::Group | Whom::Mask | Whom::Other => accounts.gid(name),
            };
            entry.it.name.iter().for_each(|name| look(entry.at, id(name)));
        }
    }
    for runas in appspec.hooks.iter().flat_map(|(_, scripts)| scripts).filter_map(|script| script.runas.as_ref()) {
        look(runas.at, accounts.user(&runas.it).map(|user| user.owner.uid));
    }
    found
}

/// A release that can be installed: its bundle and its parsed appspec.
#[derive(Debug)]
pub struct Installable {
    /// The directory that the appspec's paths are relative to.
    pub root: PathBuf,
    /// The parsed appspec.
    pub appspec: Appspec,
    /// The appspec's name, for messages.
    name: PathBuf,
    warnings: Vec<Problem>,
}

/// A script of an event.
#[derive(Debug)]
pub struct Job {
    /// In the bundle, relative.
    pub location: PathBuf,
    /// Seconds.
    pub timeout: u32,
    /// A user of this host.
    pub runas: Option<String>,
}

impl Installable {
    /// Reads the release at `release`.
    pub fn read(release: &Path) -> Result<Self> {
        let Some(Bundle { root, name, text }) = find(release)? else {
            let text = "the bundle has no appspec.yml, neither at its top nor in a single directory there";
            return Err(Error::refused(text));
        };
        let (appspec, warnings) = appspec::parse(&text);
        match appspec {
            Some(appspec) => Ok(Self { root, appspec, name, warnings }),
            None => Err(refusal(&warnings.iter().map(|p| format!("{}:{p}", name.display())).collect::<Vec<_>>())),
        }
    }

    /// Warnings about the appspec.
    pub(super) fn oddities(&self, idle: &[Problem]) -> Vec<String> {
        let name = self.name.display();
        let mut lines: Vec<String> = idle.iter().map(|problem| self.line(problem)).collect();
        lines.extend(self.warnings.iter().map(|warning| format!("{name}:{warning}")));
        let is_labelled = self.appspec.permissions.iter().any(|permission| permission.context.is_some());
        if is_labelled && !has_selinux() {
            lines.push(format!("{name}: context in permissions is left out: this kernel has no SELinux"));
        }
        lines
    }

    /// The destinations of its files, for the log.
    pub(super) fn destinations(&self) -> String {
        const MOST: usize = 3;
        let mut all: Vec<&Path> = self.appspec.files.iter().map(|files| &*files.destination.it).collect();
        sort(&mut all, &mut Ord::cmp);
        all.dedup();
        let shown: Vec<String> = all.iter().take(MOST).map(|path| path.display().to_string()).collect();
        let shown = shown.join(", ");
        match all.len().saturating_sub(MOST) {
            0 if all.is_empty() => "no files to install".to_owned(),
            0 => format!("installed to {shown}"),
            more => format!("installed to {shown} and {more} more"),
        }
    }

    /// A problem as a line, without its severity: a warning elsewhere may be an error for a deployment.
    pub(super) fn line(&self, problem: &Problem) -> String {
        let Problem { at: Place { line, column }, text, .. } = problem;
        format!("{}:{line}:{column}: {text}", self.name.display())
    }

    /// The path of the script at `location`; fails if it leads out of the bundle.
    pub fn script(&self, location: &Path) -> Result<PathBuf> {
        let path = self.root.join(location);
        if leads_out(&self.root, &path) {
            return Err(Error::refused(format!("{} {OUT}", location.display())));
        }
        Ok(path)
    }

    /// The scripts of an event: those of `hooks`, else `hooks/<event>.sh` if it exists.
    pub fn scripts(&self, event: Event) -> Vec<Job> {
        let hooks = self.appspec.hooks.iter().filter(|(of, _)| *of == event);
        let listed: Vec<Job> = hooks
            .flat_map(|(_, scripts)| scripts)
            .map(|script| Job {
                location: script.location.it.clone(),
                timeout: script.timeout,
                runas: script.runas.as_ref().map(|runas| runas.it.clone()),
            })
            .collect();
        let location = by_name(event);
        if listed.is_empty() && self.root.join(&location).is_file() {
            return vec![Job { location, timeout: TIMEOUT, runas: None }];
        }
        listed
    }
}

/// The bundle's directory in the release at `release`, without parsing the appspec.
pub fn root(release: &Path) -> PathBuf {
    match find(release) {
        Ok(Some(bundle)) => bundle.root,
        Ok(None) | Err(_) => release.to_owned(), // code that needs the appspec reports the error
    }
}

/// Makes the scripts of a bundle executable before it becomes a release: archives made on Windows lose that bit. An
/// unreadable appspec is left for the deployment to refuse.
pub fn make_scripts_executable(staging: &Path) -> Result<()> {
    let Ok(bundle) = find(staging) else { return Ok(()) };
    let Some(Bundle { root, text, .. }) = bundle else { return Ok(()) };
    let listed = appspec::parse(&text).0.into_iter().flat_map(|appspec| appspec.hooks);
    let listed = listed.flat_map(|(_, scripts)| scripts).map(|script| script.location.it);
    for location in listed.chain(Event::ALL.map(by_name)) {
        let path = root.join(&location);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 == 0 && !leads_out(&root, &path) => {
                let mode = fs::Permissions::from_mode(0o755);
                fs::set_permissions(&path, mode)
                    .with_context(|| format!("cannot make {} executable", location.display()))?;
            }
            _ => {} // missing, or a link, whose target is executable or not
        }
    }
    Ok(())
}

/// The script of an event that has no entry in `hooks`.
pub(super) fn by_name(event: Event) -> PathBuf {
    Path::new("hooks").join(format!("{}.sh", event.name()))
}
