//! Expands the `files` section of an appspec: every path that a deployment creates, with its source. Reads the bundle
//! only, not the host. Two sources for one path, and a file where a directory is needed, are problems of the appspec,
//! reported with their places.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};

use crate::appspec::{Appspec, Place, Problem};
use crate::error::{Context, Result};

/// A path that a deployment creates on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its source, relative to the bundle's root; `None`: a parent directory of a destination.
    pub source: Option<PathBuf>,
    /// A directory, not a file or a link.
    pub is_directory: bool,
    /// The place of the source of its entry in `files`.
    pub at: Place,
}

/// All copies by their paths on the host, and the clashes among them; of clashing copies, the first is kept.
pub fn copies(appspec: &Appspec, root: &Path) -> Result<(BTreeMap<PathBuf, Copy>, Vec<Problem>)> {
    let mut copies = Copies::default();
    for files in &appspec.files {
        let (source, at) = (&files.source.it, files.source.at);
        copies.clashes = 0;
        for above in files.destination.it.ancestors().collect::<Vec<_>>().into_iter().rev() {
            copies.add(above.to_owned(), Copy { source: None, is_directory: true, at });
        }
        let cannot = || format!("cannot look into {}", root.join(source).display());
        match fs::symlink_metadata(root.join(source)).with_context(cannot)?.is_dir() {
            true => copies.walk(root, source, &files.destination.it, at)?,
            false => {
                let path = files.destination.it.join(source.file_name().unwrap_or_default());
                copies.add(path, Copy { source: Some(source.clone()), is_directory: false, at });
            }
        }
        copies.count(at);
    }
    Ok((copies.made, copies.problems))
}

#[derive(Default)]
struct Copies {
    made: BTreeMap<PathBuf, Copy>,
    problems: Vec<Problem>,
    /// Number of clashes of the current entry.
    clashes: usize,
}

impl Copies {
    /// Adds the content of the directory `source` of the bundle, to be created in `destination`.
    fn walk(&mut self, root: &Path, source: &Path, destination: &Path, at: Place) -> Result<()> {
        let mut open = vec![(source.to_owned(), destination.to_owned())];
        while let Some((source, destination)) = open.pop() {
            let cannot = || format!("cannot look into {}", root.join(&source).display());
            for entry in fs::read_dir(root.join(&source)).with_context(cannot)? {
                let entry = entry.with_context(cannot)?;
                let is_directory = entry.file_type().with_context(cannot)?.is_dir();
                let (source, path) = (source.join(entry.file_name()), destination.join(entry.file_name()));
                if is_directory {
                    open.push((source.clone(), path.clone()));
                }
                self.add(path, Copy { source: Some(source), is_directory, at });
            }
        }
        Ok(())
    }

    /// Adds a path. Only a directory may be added twice.
    fn add(&mut self, path: PathBuf, copy: Copy) {
        let mut before = match self.made.entry(path) {
            Entry::Vacant(place) => {
                place.insert(copy);
                return;
            }
            Entry::Occupied(before) => before,
        };
        if before.get().is_directory && copy.is_directory {
            if before.get().source.is_none() {
                before.insert(copy);
            }
            return;
        }
        self.clashes += 1;
        if self.clashes == 1 {
            let (line, path) = (before.get().at.line, before.key().display().to_string());
            let path = path.escape_debug();
            let text = match before.get().is_directory || copy.is_directory {
                true => {
                    format!("{path} would be a file and a directory, with the source of line {line}: leave out one")
                }
                false => format!("{path} would be copied twice, from the source of line {line} too: leave out one"),
            };
            self.problems.push(Problem { at: copy.at, is_warning: false, text });
        }
    }

    /// Adds the number of further clashes to an entry's problem: a line each would hide the rest.
    fn count(&mut self, at: Place) {
        if let Some(problem) = self.problems.last_mut().filter(|problem| problem.at == at && self.clashes > 1) {
            problem.text += &format!(" (and {} more paths)", self.clashes - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The copies from a small bundle with these entries of `files`, and the problems.
    fn of(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let root = std::env::temp_dir().join(crate::sys::fs::unique_name("repo-deploy-copies-").unwrap());
        fs::create_dir_all(root.join("conf/d")).unwrap();
        for name in ["app", "conf/a", "conf/d/b", "d"] {
            fs::write(root.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("conf", root.join("link")).unwrap();
        let files: String = files.iter().map(|(s, d)| format!("- source: {s}\n  destination: {d}\n")).collect();
        let (appspec, problems) = crate::appspec::parse(format!("version: 0.0\nos: linux\nfiles:\n{files}").as_bytes());
        assert_eq!(problems, []);
        let (made, problems) = copies(&appspec.unwrap(), &root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let line = |(path, copy): (PathBuf, Copy)| {
            let end = if copy.is_directory { "/" } else { "" };
            Some(format!("{}{end} <- {}", path.display(), copy.source?.display()))
        };
        (made.into_iter().filter_map(line).collect(), problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn directories_bring_what_is_in_them_files_and_links_their_names() {
        let (made, problems) = of(&[("conf", "/etc/app"), ("app", "/opt/bin"), ("link", "/opt")]);
        assert_eq!(problems, [""; 0]);
        let expected = [
            "/etc/app/a <- conf/a",
            "/etc/app/d/ <- conf/d",
            "/etc/app/d/b <- conf/d/b",
            "/opt/bin/app <- app",
            "/opt/link <- link",
        ];
        assert_eq!(made, expected);
        let (made, problems) = of(&[("/", "/srv"), ("conf", "/srv/more")]);
        assert_eq!((made.len(), problems.len()), (10, 0));
    }

    #[test]
    fn two_sources_for_one_path_and_files_for_directories_are_problems() {
        let (_, problems) = of(&[("conf/a", "/srv"), ("app", "/x"), ("conf", "/srv")]);
        assert_eq!(
            problems,
            ["8:11: error: /srv/a would be copied twice, from the source of line 4 too: leave out one"]
        );
        for files in
            [[("d", "/srv"), ("conf", "/srv")], [("conf", "/srv"), ("d", "/srv")], [("d", "/srv"), ("app", "/srv/d")]]
        {
            let (_, problems) = of(&files);
            assert_eq!(
                problems,
                ["6:11: error: /srv/d would be a file and a directory, with the source of line 4: leave out one"]
            );
        }
        let (_, problems) = of(&[("/", "/srv"), ("conf", "/srv/conf")]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].ends_with("(and 1 more paths)"), "{problems:?}");
        let (made, problems) = of(&[("conf/d", "/srv/d"), ("conf/a", "/srv")]);
        assert_eq!((made.len(), problems.len()), (2, 0));
    }
}
