//! The configuration file: its place, whether it can be trusted, and which of its sections are used.

use std::path::Path;

use super::keys::{self, Name};
use super::suggest::hint;
use super::syntax::{Document, Entry};
use crate::error::{Error, Result, plain};
use crate::sys::fs::Meta;
use crate::sys::resolve::{self, Fault, Way};
use crate::sys::trust::Us;

/// The default configuration file.
pub const DEFAULT: &str = "/etc/repo-deploy/repo-deploy.cfg";

/// The default file for sections of deployer.py: in the working directory, as with deployer.py.
pub const HERE: &str = "config.ini";

/// The default section, if the file has it.
pub const SETTINGS: &str = "Settings";

/// The name that selects every section.
pub const ALL: &str = "all";

/// The largest file that is read: a configuration is a few hundred lines.
const LARGEST: u64 = 1 << 20;

/// A configuration file that was read.
#[derive(Debug)]
pub struct Configuration {
    /// Its name in messages.
    pub name: String,
    /// Its content.
    pub doc: Document,
    mode: u32,
}

/// Whether nothing exists at `path`.
pub fn is_missing(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
}

/// Reads `path`; by default the standard file, or `config.ini` in the working directory. `None`: both are missing.
pub fn read(path: Option<&Path>) -> Result<Option<Configuration>> {
    let given = path.is_some();
    let here = Path::new(HERE);
    let usual = || if is_missing(Path::new(DEFAULT)) && here.is_file() { here } else { Path::new(DEFAULT) };
    let path = path.unwrap_or_else(usual);
    let name = path.display().to_string();
    match content(path) {
        Err(fault) if fault.is_missing() && !given => Ok(None),
        Ok((content, meta)) => Ok(Some(Configuration { doc: Document::parse(&name, content)?, name, mode: meta.mode })),
        Err(fault) => Err(Error::config(format!("cannot read the configuration {name}: {}", plain(&fault.into())))),
    }
}

/// The content of a file that only root and this process's user can write.
pub(super) fn content(path: &Path) -> Result<(Vec<u8>, Meta), Fault> {
    resolve::read_file(path, Way::Trusted, Us::with(None), LARGEST)
}

impl Configuration {
    /// The sections to use, in the order of the file: the `wanted` ones, else `Settings` if it exists, else none, which
    /// means the keys before the first section.
    pub fn choose(&self, wanted: &[String]) -> Result<Vec<Option<&str>>> {
        let sections = self.doc.sections();
        if let Some(wanted) = wanted.iter().find(|wanted| *wanted != ALL && !sections.contains(wanted)) {
            return Err(Error::config(format!(
                "cannot find the section {wanted} in {}: {}{}",
                self.name,
                self.sections(),
                hint(wanted, sections.iter().map(String::as_str))
            )));
        }
        let is_wanted = |section: &&String| match wanted {
            [] => *section == SETTINGS,
            wanted => wanted.iter().any(|wanted| wanted == *section || wanted == ALL),
        };
        let chosen: Vec<_> = sections.iter().filter(is_wanted).map(|section| Some(section.as_str())).collect();
        Ok(if chosen.is_empty() { vec![None] } else { chosen })
    }

    /// Whether it has the section `wanted`.
    pub fn has(&self, wanted: &str) -> bool {
        self.doc.sections().iter().any(|section| section == wanted)
    }

    /// `it has the sections a, b`, for messages.
    pub fn sections(&self) -> String {
        match self.doc.sections() {
            [] => "it has no sections".to_owned(),
            [one] => format!("it has the section {one}"),
            many => format!("it has the sections {}", many.join(", ")),
        }
    }

    /// A warning if all its keys are in sections, and none is selected.
    pub fn unused_sections(&self) -> Option<String> {
        if self.doc.all().is_empty() || self.doc.entries(None).next().is_some() {
            return None;
        }
        let misspelt = self.doc.sections().iter().map(|name| hint(name, [SETTINGS])).find(|hint| !hint.is_empty());
        let what = misspelt.unwrap_or_else(|| ", and --config-section chooses one".to_owned());
        Some(format!("{}: no section of it is used: {}{what}", self.name, self.sections()))
    }

    /// A warning if it holds secrets and others may read it.
    pub fn exposed_secrets(&self) -> Option<String> {
        let secret = |entry: &&Entry| {
            keys::find(&entry.key).is_some_and(|key| {
                let value = self.doc.value(entry);
                (key.secret && !value.is_empty()) || (key.name == Name::Remote && has_password(value))
            })
        };
        let entry = self.doc.all().iter().find(secret).filter(|_| self.mode & 0o044 != 0)?;
        let Self { name, .. } = self;
        Some(format!("others may read {name}, and {} in line {} is a secret: chmod 600 {name}", entry.key, entry.line))
    }
}

/// The answer to `--config-section` without a file.
pub fn no_section(wanted: &[String]) -> Result<Vec<Option<&'static str>>> {
    match wanted.iter().find(|wanted| *wanted != ALL) {
        None => Ok(vec![None]),
        Some(wanted) => Err(Error::config(format!("cannot find the section {wanted}: there is no file {DEFAULT}"))),
    }
}

/// Whether a URL carries a password before its host.
fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(""));
    authority.rsplit_once('@').is_some_and(|(user, _)| !user.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(text: &str, mode: u32) -> Configuration {
        Configuration { name: "f".into(), doc: Document::parse("f", text.into()).unwrap(), mode }
    }

    #[test]
    fn settings_count_unless_another_section_is_asked_for() {
        let wanted = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let file = configuration("id = x\n[Settings]\n[site]\n[last]\n", 0o600);
        for (names, expected) in [
            (&[][..], vec![Some("Settings")]),
            (&["site"], vec![Some("site")]),
            (&["last", "site", "last"], vec![Some("site"), Some("last")]),
            (&["all"], vec![Some("Settings"), Some("site"), Some("last")]),
        ] {
            assert_eq!(file.choose(&wanted(names)).unwrap(), expected, "{names:?}");
        }
        let error = file.choose(&wanted(&["all", "sites"])).unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot find the section sites in f: it has the sections Settings, site, last; did you mean site?"
        );
        assert_eq!(configuration("[site]", 0o600).choose(&[]).unwrap(), [None]);
        assert_eq!(configuration("", 0o600).choose(&wanted(&["all"])).unwrap(), [None]);
        let error = configuration("", 0o600).choose(&wanted(&["a"])).unwrap_err().to_string();
        assert_eq!(error, "cannot find the section a in f: it has no sections");
        assert_eq!(no_section(&wanted(&["all"])).unwrap(), [None]);
        assert_eq!(no_section(&wanted(&["a"])).unwrap_err().exit_code(), 78);
    }

    #[test]
    fn secrets_that_others_may_read_are_warned_of() {
        for (text, mode, warned) in [
            ("http-password = x", 0o644, true),
            ("http-password = x", 0o640, true),
            ("http-password = x", 0o600, false),
            ("http-password =", 0o644, false),
            ("[s]\nHTTP_HEADER = a: b", 0o604, true),
            ("remote = https://u:p@h/", 0o644, true),
            ("repository = https://token@h/", 0o644, true),
            ("remote = https://h/@x", 0o644, false),
            ("remote = https://h?u:p@x", 0o644, false),
            ("http-user = x", 0o644, false),
        ] {
            assert_eq!(configuration(text, mode).exposed_secrets().is_some(), warned, "{text} {mode:o}");
        }
        let warning = configuration("http-password = hunter2", 0o644).exposed_secrets().unwrap();
        assert!(warning.ends_with("chmod 600 f") && !warning.contains("hunter2"), "{warning}");
    }
}
