//! Submodules: each is fetched from its URL in `.gitmodules` in the same way, into the same repository, and its members
//! follow those of its parent. The URLs are not trusted: each must be a valid remote, and use https, ssh or its
//! parent's transport. Submodules may be nested three deep.

use std::collections::BTreeMap;

use super::fetching::{Fetching, joined};
use super::git_error::GitError;
use super::objects::shown;
use crate::error::{Context, Error};
use crate::remote::place::Place;
use crate::sys::log;

/// How deep submodules may be nested.
const DEEPEST: u32 = 3;
/// The largest `.gitmodules`, in bytes.
const LARGEST: u64 = 1 << 20;
/// Modes of regular files.
const FILES: [u32; 2] = [0o100_644, 0o100_755];

/// The URLs of submodules, by their paths in the commit.
type Urls = BTreeMap<Vec<u8>, String>;

/// A tree to list.
#[derive(Clone, Copy)]
pub(super) struct Level<'a> {
    /// The repository of the tree.
    pub(super) place: &'a Place,
    /// The commit of the tree.
    pub(super) commit: &'a str,
    pub(super) tree: &'a str,
    /// The path of the tree in the commit.
    pub(super) path: &'a str,
    /// The path of the tree in the release.
    pub(super) prefix: &'a [u8],
    pub(super) depth: u32,
}

/// Lists a tree and its submodules. True if it has any submodule.
pub(super) fn collect(fetching: &mut Fetching<'_>, level: Level<'_>) -> Result<bool, GitError> {
    let (has_modules, modules) = fetching.list(level.tree, level.prefix)?;
    if modules.is_empty() {
        return Ok(has_modules);
    }
    let urls = urls(fetching, level)?;
    for (name, commit) in &modules {
        let shown = shown(&joined(level.prefix, name));
        let what = || format!("submodule {shown}");
        let place = place(&urls, level, name).with_context(what)?;
        log::debug!("submodule {shown} is commit {commit} of {place}");
        let brought = fetching.fetch_missing(&place, commit, false, true);
        brought.map_err(|trouble| in_module(trouble, &format!("{} from {place}", what())))?;
        let tree = fetching.tree(commit, "")?;
        let prefix = joined(level.prefix, name);
        let below = Level { place: &place, commit, tree: &tree, path: "", prefix: &prefix, depth: level.depth + 1 };
        collect(fetching, below)?;
    }
    Ok(true)
}

fn in_module(trouble: GitError, what: &str) -> GitError {
    match trouble {
        GitError::Request(fault) => GitError::Request(fault.at(what)),
        GitError::Parts(error) => GitError::Parts(error),
        GitError::Unadvertised(error) => GitError::Unadvertised(Error::new(error.kind(), format!("{what}: {error}"))),
        GitError::Cache(error) => GitError::Cache(Error::new(error.kind(), format!("{what}: {error}"))),
    }
}

/// The place of the submodule `name`.
fn place(urls: &Urls, level: Level<'_>, name: &[u8]) -> Result<Place, Error> {
    const WAY_OUT: &str = "submodules = no leaves submodules out";
    if level.depth >= DEEPEST {
        return Err(Error::refused(format!("submodules may lie {DEEPEST} deep in each other; {WAY_OUT}")));
    }
    let url = urls.get(&joined(level.path.as_bytes(), name));
    let url = url.ok_or_else(|| Error::refused(format!(".gitmodules has no URL for it; {WAY_OUT}")))?;
    let place = level.place.submodule(url).map_err(|why| {
        let shown: String = url.rsplit('@').next().unwrap_or_default().escape_debug().take(100).collect();
        Error::refused(format!("its URL {shown} is refused: {why}; {WAY_OUT}"))
    })?;
    let scheme = place.scheme();
    if !["https", "ssh", level.place.scheme()].contains(&scheme) {
        let own = level.place.scheme();
        return Err(Error::refused(format!(
            "its URL {place} uses {scheme}, and only https, ssh and its parent's {own} may be used; {WAY_OUT}"
        )));
    }
    Ok(place)
}

/// The URLs of the submodules in `.gitmodules` of the commit, by path.
fn urls(fetching: &Fetching<'_>, level: Level<'_>) -> Result<Urls, GitError> {
    let object = match fetching.entry(level.commit, ".gitmodules")? {
        Some((mode, object)) if FILES.contains(&mode) => object,
        Some(_) => return Err(Error::refused(".gitmodules is no file").into()),
        None => return Ok(Urls::new()),
    };
    // A partial repository may lack it if it is outside of the deployed path.
    if fetching.repository.is_partial && level.depth == 0 && fetching.answer(&["cat-file", "-e", &object]).is_err() {
        fetching.bring_contents(format!("{object}\n").as_bytes())?;
    }
    // Checked before git parses the file, as git keeps every line in memory.
    let size = fetching.answer(&["cat-file", "-s", &object])?;
    if String::from_utf8_lossy(&size).trim().parse().is_ok_and(|size: u64| size > LARGEST) {
        return Err(Error::refused(format!(".gitmodules is larger than {LARGEST} bytes")).into());
    }
    // Otherwise git would follow includes to any file of this host.
    let listing = fetching.answer(&["config", "-z", "--no-includes", "--blob", &object, "--list"]);
    let listing = listing.map_err(|trouble| match trouble {
        GitError::Cache(e) => Error::refused(format!(".gitmodules cannot be read: {e}")).into(),
        other => other,
    })?;
    Ok(pairs(&String::from_utf8_lossy(&listing)))
}

/// Parses `key\nvalue\0`. The last value of a key is used, and of two submodules with one path the first.
fn pairs(listing: &str) -> Urls {
    let (mut rows, mut known) = (Vec::<(Option<&str>, Option<&str>)>::new(), BTreeMap::new());
    for entry in listing.split('\0') {
        let Some((key, value)) = entry.split_once('\n') else { continue };
        let Some((name, variable)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.')) else {
            continue;
        };
        let at: usize = *known.entry(name).or_insert_with(|| {
            rows.push((None, None));
            rows.len() - 1
        });
        match variable {
            "path" => rows[at].0 = Some(value),
            "url" => rows[at].1 = Some(value),
            _ => {}
        }
    }
    let mut urls = Urls::new();
    for (path, url) in rows.into_iter().filter_map(|(path, url)| path.zip(url)) {
        urls.entry(path.trim_end_matches('/').as_bytes().to_owned()).or_insert_with(|| url.to_owned());
    }
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls_are_found_by_submodule() {
        let listing = "submodule.a.b.path\nlib/x/\0submodule.a.b.url\nold\0submodule.a.b.url\n../x.git\0core.sshcommand\nid\0\
                       submodule.c.url\nonly\0submodule.d.path\nonly\0submodule.e.path\nl\ni\0submodule.e.url\nu\0novalue\0";
        let expected = [("lib/x", "../x.git"), ("l\ni", "u")];
        assert_eq!(pairs(listing), expected.map(|(path, url)| (path.as_bytes().to_owned(), url.to_owned())).into());
    }

    #[test]
    fn urls_of_strangers_are_bounded() {
        let parent = Place::parse("https://h/org/app.git").unwrap();
        let level = |depth| Level { place: &parent, commit: "", tree: "", path: "web", prefix: &[], depth };
        let at = |url: &str| Urls::from([(b"web/lib".to_vec(), url.to_owned())]);
        assert_eq!(place(&at("../lib.git"), level(0), b"lib").unwrap().for_git(), "https://h/org/lib.git");
        assert_eq!(place(&at("git@h:x.git"), level(2), b"lib").unwrap().for_git(), "git@h:x.git");
        for (url, depth, words) in [
            ("https://h/x.git", 3, "3 deep"),
            ("http://h/x.git", 0, "only https, ssh"),
            ("file:///etc", 0, "only https, ssh"),
            ("/etc", 0, "only https, ssh"),
            ("git://h/x", 0, "only https, ssh"),
            ("ext::sh -c id", 0, "is refused"),
            ("-u./x", 0, "is refused"),
            ("ssh://-oProxyCommand=x/y", 0, "is refused"),
        ] {
            let error = place(&at(url), level(depth), b"lib").unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("submodules = no"), "{url}: {error}");
        }
        assert!(place(&at("https://h/x"), level(0), b"other").unwrap_err().to_string().contains("no URL"));
    }
}
