//! Whether the paths of a configuration conflict: a path that a deployment replaces, clears or writes must not contain
//! files that this or another section needs. One table says which two kinds of path may contain each other.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use super::keys::Name;
use super::seen::Seen;
use super::settings::Settings;
use crate::model::ActivationMode;
use crate::sys::fs::Spot;
use crate::sys::mounts::{self, Origin};

/// The use of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// The live tree: a link that is replaced.
    Link,
    /// The live tree: a directory from which files that the release lacks are removed.
    Directory,
    /// Releases and state of one deployment, filled and cleared.
    Store,
    /// The same, shared by several deployments, each with a part of its own.
    Shared,
    /// The origin of releases.
    Source,
    /// Read: hooks, keys, the configuration.
    Read,
    /// Written by appending or replacing.
    Written,
}

/// A path of the configuration.
#[derive(Clone, Debug)]
struct Item {
    section: usize,
    /// The key that names it; `None`: the configuration file itself.
    key: Option<Name>,
    path: PathBuf,
    at: Real,
    is: Use,
}

/// The real place of a path: without links, and with the inodes of the directories above it, itself first. A directory
/// may be mounted under several names.
#[derive(Clone, Debug)]
struct Real {
    path: PathBuf,
    /// Device and inode, from `path` up to `/`; `None`: it does not exist.
    inodes: Vec<Option<(u64, u64)>>,
    /// The mount that holds the last of its directories that exists; `None`: the kernel does not tell.
    mount: Option<u64>,
    /// The part of a file system that it is.
    origin: OnceCell<Option<Origin>>,
}

impl Real {
    /// The real place of `path`. A live tree is where its link is; any other path is where it leads.
    fn at(path: &Path, is: Use, seen: &Seen) -> Self {
        let path = match is {
            Use::Link | Use::Directory => seen.stands(path),
            Use::Store | Use::Shared | Use::Source | Use::Read | Use::Written => seen.resolve(path),
        };
        let spots: Vec<Option<Spot>> = path.ancestors().map(|path| seen.look(path)).collect();
        let mount = spots.iter().flatten().next().and_then(|spot| spot.mount);
        Self {
            path,
            inodes: spots.iter().map(|spot| spot.map(|spot| spot.inode)).collect(),
            mount,
            origin: OnceCell::new(),
        }
    }

    fn origin(&self, seen: &Seen) -> Option<&Origin> {
        self.origin.get_or_init(|| seen.mounts().origin(&self.path)).as_ref()
    }
}

/// Two paths that conflict.
#[derive(Debug)]
pub(super) struct Clash {
    /// The section to change, as an index into the list.
    pub(super) section: usize,
    /// The key of its path, and the reason of the conflict.
    pub(super) key: Name,
    pub(super) why: String,
}

/// The first two paths of these sections that conflict. `file` is the configuration. Sections from `running` on do not
/// run now: only their existing paths count.
pub(super) fn clash(sections: &[&Settings], running: usize, file: Option<&Path>, seen: &Seen) -> Option<Clash> {
    let mut items = Vec::new();
    for (section, settings) in sections.iter().enumerate() {
        let add = |key, path: &Path, is| {
            items.push(Item { section, key, path: path.to_owned(), at: Real::at(path, is, seen), is });
        };
        paths_of(settings, if section == 0 { file } else { None }, seen, add);
    }
    let is_at_work = |item: &Item| item.section < running || seen.look(&item.path).is_some();
    for (n, one) in items.iter().enumerate() {
        for other in &items[..n] {
            if one.section >= running && other.section >= running || !is_at_work(one) || !is_at_work(other) {
                continue;
            }
            // A conflict is reported for the running section.
            let (one, other) = if one.section < running { (one, other) } else { (other, one) };
            let found =
                of_two(one, other, sections, running, seen).or_else(|| of_two(other, one, sections, running, seen));
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

/// Passes every path of a section to `add`.
fn paths_of(settings: &Settings, file: Option<&Path>, seen: &Seen, mut add: impl FnMut(Option<Name>, &Path, Use)) {
    let mut some = |name: Name, path: Option<&Path>, is: Use| {
        if let Some(path) = path {
            add(Some(name), path, is);
        }
    };
    let live = live(settings, seen);
    some(Name::Local, live.map(|_| settings.local.as_path()), live.unwrap_or(Use::Link));
    let beside = settings
        .local
        .file_name()
        .map(|name| settings.local.with_file_name(format!(".{}.deploy", name.to_string_lossy())));
    match (&settings.store, live) {
        (Some(store), _) => some(Name::Store, Some(store), Use::Store),
        (None, Some(Use::Link)) => some(Name::Local, beside.as_deref(), Use::Store),
        (None, _) => some(Name::StateDir, settings.state_dir.path.as_deref(), Use::Shared),
    }
    some(Name::Cache, settings.cache.path.as_deref(), Use::Shared);
    some(Name::Remote, settings.remote.local_path(), Use::Source);
    some(Name::PreHooks, Some(&settings.pre_hooks), Use::Read);
    some(Name::PostHooks, Some(&settings.post_hooks), Use::Read);
    let Settings { http, git, trust, .. } = settings;
    for (name, path) in [
        (Name::HttpPasswordFile, &http.password_file),
        (Name::Netrc, &http.netrc),
        (Name::CaFile, &http.ca_file),
        (Name::SshKey, &git.key),
        (Name::SshKnownHosts, &git.known_hosts),
        (Name::VerifyCommit, &git.signers),
    ] {
        some(name, path.as_deref(), Use::Read);
    }
    trust.key_files().for_each(|path| some(Name::VerifyKey, Some(path), Use::Read));
    for (name, path) in [
        (Name::LogFile, &settings.log_file),
        (Name::StatusFile, &settings.status_file),
        (Name::MetricsFile, &settings.metrics_file),
    ] {
        let is_device = |path: &Path| path.starts_with("/dev") && !path.starts_with("/dev/shm");
        some(name, path.as_deref().filter(|path| !is_device(path)), Use::Written);
    }
    if let Some(file) = file {
        add(None, file, Use::Read);
    }
}

/// The kind of live tree, as far as it is known before the store is opened; `None`: there is none.
fn live(settings: &Settings, seen: &Seen) -> Option<Use> {
    match settings.activation {
        Some(ActivationMode::Install) => None,
        Some(ActivationMode::InPlace) => Some(Use::Directory),
        Some(ActivationMode::Symlink) => Some(Use::Link),
        None if seen.look(&settings.local).is_some_and(|spot| spot.is_dir) => Some(Use::Directory),
        None => Some(Use::Link),
    }
}

/// The conflict of `one`, which has to change, with `other`.
fn of_two(one: &Item, other: &Item, sections: &[&Settings], running: usize, seen: &Seen) -> Option<Clash> {
    let key = one.key?;
    let how = how(&one.at, &other.at, seen)?;
    let is_same_section = one.section == other.section;
    let settings = sections[one.section];
    let is_kept = |other: &Real| {
        let below = below(&one.at, other, seen);
        below.is_some_and(|below| settings.preserve.iter().any(|kept| below.starts_with(kept)))
    };
    let is_bad = match (one.is, other.is) {
        // One section for each host may name the same live tree, as long as they do not run together.
        (Use::Link | Use::Directory, Use::Link | Use::Directory) => {
            !is_same_section && (how != How::Same || one.section < running && other.section < running)
        }
        (Use::Link | Use::Directory, Use::Store | Use::Shared | Use::Source) => true,
        (Use::Directory, Use::Read | Use::Written) => how == How::Inside || !is_kept(&other.at),
        // Files of the release may be read through the link.
        (Use::Link, Use::Read) => how == How::Inside,
        (Use::Link, Use::Written) => true,
        (Use::Store, Use::Store) => !is_same_section,
        // The same: the link exists, and leads into the store.
        (Use::Store, Use::Read) if is_same_section && other.path.starts_with(&settings.local) => false,
        (Use::Store, Use::Read | Use::Written) => how != How::Inside,
        (Use::Store | Use::Shared, Use::Source) => how != How::Contains,
        // A line in the log of each check would be a change of the source.
        (Use::Written, Use::Source) => how != How::Contains,
        (Use::Written, Use::Read) => how != How::Contains,
        // Several sections may share a file for the same purpose.
        (Use::Written, Use::Written) => how == How::Same && one.key != other.key,
        (Use::Store, Use::Link | Use::Directory | Use::Shared)
        | (Use::Shared, _)
        | (Use::Source | Use::Read, _)
        | (Use::Written, Use::Link | Use::Directory | Use::Store | Use::Shared) => false, // the other way round says it
    };
    is_bad.then(|| {
        let what = other.key.map_or("configuration", |key| key.key().text);
        let whose = if is_same_section { String::new() } else { format!(" of [{}]", sections[other.section].id) };
        let path = other.path.display();
        let advice = match (one.is, other.is, how) {
            (Use::Directory, Use::Read | Use::Written, How::Contains) => {
                "what no release has is removed there: move it, or name it in preserve"
            }
            _ => "keep the two apart",
        };
        Clash { section: one.section, key, why: format!("{} the {what}{whose} {path}: {advice}", how.words()) }
    })
}

/// The relation of one path to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Same,
    Inside,
    Contains,
}

impl How {
    fn words(self) -> &'static str {
        match self {
            Self::Same => "it is",
            Self::Inside => "it is inside",
            Self::Contains => "it contains",
        }
    }
}

fn how(one: &Real, other: &Real, seen: &Seen) -> Option<How> {
    match (below(other, one, seen), below(one, other, seen)) {
        (Some(_), Some(_)) => Some(How::Same),
        (Some(_), None) => Some(How::Inside),
        (None, Some(_)) => Some(How::Contains),
        (None, None) => None,
    }
}

/// The path of `inner` relative to `outer`; empty: the same. `None`: it is not inside.
fn below<'a>(outer: &Real, inner: &'a Real, seen: &Seen) -> Option<&'a Path> {
    if let Some(below) = mounts::below(&outer.path, &inner.path) {
        return Some(below);
    }
    // In one mount, the paths say it all.
    let is_one_mount = outer.mount.is_some() && outer.mount == inner.mount;
    if !is_one_mount
        && let (Some(inner), Some(outer)) = (inner.origin(seen), outer.origin(seen))
        && let Some(below) = inner.below(outer)
    {
        return Some(below);
    }
    let itself = outer.inodes.first().copied().flatten()?;
    let up = inner.inodes.iter().position(|inode| *inode == Some(itself))?;
    mounts::below(inner.path.ancestors().nth(up)?, &inner.path)
}

/// The path of the live tree `inner` relative to the live tree `outer`, if it is inside.
pub fn lies_in(outer: &Path, inner: &Path) -> Option<PathBuf> {
    let seen = Seen::default();
    let (outer, inner) = (Real::at(outer, Use::Directory, &seen), Real::at(inner, Use::Directory, &seen));
    below(&outer, &inner, &seen).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::build;
    use crate::config::keys::Name::*;
    use crate::config::layers::RawSettings;

    fn section(id: &str, values: &[(Name, &str)]) -> Settings {
        let mut given = RawSettings::default();
        let defaults = [(Id, id), (PreHooks, "/none/pre"), (PostHooks, "/none/post")];
        let all = defaults.into_iter().chain(values.iter().copied());
        let arguments: Vec<_> = all.map(|(n, v)| (format!("--{}", n.key().text), n, v.into())).collect();
        given.add_arguments(&arguments).unwrap();
        build::settings(&given, None, None, &[]).unwrap()
    }

    fn why(sections: &[&Settings], running: usize, file: &str) -> Option<String> {
        let clash = clash(sections, running, Some(Path::new(file)), &Seen::default())?;
        Some(format!("{} {}: {}", sections[clash.section].id, clash.key.key().text, clash.why))
    }

    const SOURCE: (Name, &str) = (Remote, "https://h/a.zip");
    const IN_PLACE: (Name, &str) = (Activation, "in-place");
    const SYMLINK: (Name, &str) = (Activation, "symlink");

    #[test]
    fn what_a_live_directory_clears_is_nobodys_hooks_keys_configuration_or_log() {
        let live = (Local, "/l");
        for (key, path, what) in [
            (PreHooks, "/l/hooks", "it contains the pre-hooks /l/hooks: what no release has is removed there"),
            (PostHooks, "/l", "it is the post-hooks"),
            (LogFile, "/l/log", "it contains the log-file"),
            (StatusFile, "/l/x/status", "it contains the status-file"),
            (CaFile, "/l/ca.pem", "it contains the ca-file"),
            (SshKey, "/l/key", "it contains the ssh-key"),
            (VerifyKey, "/l/key.pub", "it contains the verify-key"),
            (Netrc, "/l/netrc", "it contains the netrc"),
            (Cache, "/l/cache", "it contains the cache"),
            (StateDir, "/l/state", "it contains the state-dir"),
        ] {
            let error = build_error(&[SOURCE, IN_PLACE, live, (key, path)]);
            assert!(error.contains(what), "{error}");
        }
        assert!(
            why(&[&section("a", &[SOURCE, IN_PLACE, live])], 1, "/l/conf/cfg")
                .unwrap()
                .contains("the configuration /l/conf/cfg")
        );
        // Preserved files stay, and files of the release may be read through the link.
        section("a", &[SOURCE, IN_PLACE, live, (LogFile, "/l/var/log"), (Preserve, "var")]);
        assert_eq!(why(&[&section("a", &[SOURCE, SYMLINK, live])], 1, "/l/conf/cfg"), None);
        assert!(build_error(&[SOURCE, SYMLINK, live, (LogFile, "/l/log")]).contains("it contains the log-file"));
    }

    fn build_error(values: &[(Name, &str)]) -> String {
        let mut given = RawSettings::default();
        let arguments: Vec<_> = values.iter().map(|(n, v)| (format!("--{}", n.key().text), *n, (*v).into())).collect();
        given.add_arguments(&arguments).unwrap();
        build::settings(&given, None, None, &[]).unwrap_err().to_string()
    }

    #[test]
    fn sections_keep_away_from_each_other() {
        let outer = section("outer", &[SOURCE, IN_PLACE, (Local, "/w")]);
        for (inner, clashes) in [
            (section("inner", &[SOURCE, SYMLINK, (Local, "/w/batch/current")]), true),
            (section("inner", &[SOURCE, IN_PLACE, (Local, "/w/batch")]), true),
            (section("inner", &[SOURCE, SYMLINK, (Local, "/x"), (Store, "/w/store")]), true),
            (section("inner", &[SOURCE, SYMLINK, (Local, "/x"), (PostHooks, "/w/hooks")]), true),
            (section("inner", &[SOURCE, SYMLINK, (Local, "/x"), (LogFile, "/w/log")]), true),
            (section("inner", &[(Remote, "/w/app.zip"), SYMLINK, (Local, "/x")]), true),
            (section("inner", &[SOURCE, SYMLINK, (Local, "/ww")]), false),
            (section("inner", &[SOURCE, (Activation, "install"), (Local, "/w")]), false),
        ] {
            for order in [[&outer, &inner], [&inner, &outer]] {
                assert_eq!(why(&order, 2, "/cfg").is_some(), clashes, "{inner:?}");
                // No path of the other section exists on this host.
                assert_eq!(why(&order, 1, "/cfg"), None, "{inner:?}");
            }
        }
        // One section for each host.
        let twin = section("twin", &[SOURCE, IN_PLACE, (Local, "/w")]);
        assert_eq!(why(&[&outer, &twin], 1, "/cfg"), None);
    }

    #[test]
    fn what_is_written_is_one_thing_and_no_news_of_the_source() {
        for (values, what) in [
            ([(LogFile, "/v/f"), (StatusFile, "/v/f")], "status-file = /v/f: it is the log-file /v/f"),
            ([(MetricsFile, "/v/f"), (StatusFile, "/v/f")], "it is the"),
            ([(StatusFile, "/v/hooks/status"), (PostHooks, "/v/hooks")], "it is inside the post-hooks"),
            ([(LogFile, "/src/log"), (Remote, "/src/")], "it is inside the remote"),
            ([(Store, "/v/s"), (PreHooks, "/v/s/hooks")], "it contains the pre-hooks"),
        ] {
            let mut all = vec![SYMLINK, (Local, "/l")];
            if values.iter().all(|(name, _)| *name != Remote) {
                all.push(SOURCE);
            }
            all.extend(values);
            let error = build_error(&all);
            assert!(error.contains(what), "{error}");
        }
        let one = section("a", &[SOURCE, SYMLINK, (Local, "/a"), (LogFile, "/v/log"), (StatusFile, "/v/status")]);
        let other = section("b", &[SOURCE, SYMLINK, (Local, "/b"), (LogFile, "/v/log"), (StatusFile, "/v/status")]);
        assert_eq!(why(&[&one, &other], 2, "/cfg"), None, "a file for all");
        let mixed = section("b", &[SOURCE, SYMLINK, (Local, "/b"), (LogFile, "/v/status")]);
        assert!(why(&[&one, &mixed], 2, "/cfg").is_some());
        assert!(
            build_error(&[SOURCE, SYMLINK, (Local, "/l"), (LogFile, "/cfg/x"), (PreHooks, "/cfg")])
                .contains("inside the pre-hooks")
        );
    }
}
