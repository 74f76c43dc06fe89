//! What the files section of an appspec comes to: every path that a deployment makes, and where it comes from. It looks into
//! the bundle only; what the host has at those paths is for others. Two sources for one path, and a file where a directory
//! is needed, are problems of the appspec, named by their places.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};

use crate::appspec::{Appspec, Place, Problem};
use crate::error::{Context, Result};

/// Something that is made on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Where it comes from, below the bundle's root; `None`: a directory that must be there for others.
    pub source: Option<PathBuf>,
    /// A file or a link would be in the way of what is in a directory.
    pub is_directory: bool,
    /// The entry of `files`, by its source.
    pub at: Place,
}

/// All copies by their paths on the host, and what is wrong among them: then some are left out.
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
    /// Of the entry at hand.
    clashes: usize,
}

impl Copies {
    /// Adds what is in the directory `source` of the bundle as what will be in `destination`.
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

    /// Adds one path. Only directories may be there before.
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

    /// Says how many more of an entry's paths clash: a line each would hide the rest.
    fn count(&mut self, at: Place) {
        if let Some(problem) = self.problems.last_mut().filter(|problem| problem.at == at && self.clashes > 1) {
            problem.text += &format!(" (and {} more paths)", self.clashes - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The copies of an appspec with these entries of `files`, from a small bundle, and the problems.
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
