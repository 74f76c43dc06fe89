//! `repo-deploy validate [PATH]`: all problems of a bundle (a directory or an archive), an appspec or a configuration,
//! a line each: `FILE:LINE:COLUMN: error|warning: problem, and the fix`. The host is not changed: an archive is
//! unpacked into a temporary directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::inspect;
use super::scratch::Scratch;
use crate::activate::install::{bundle, copies, scripts};
use crate::appspec::{self, Problem};
use crate::artifact::{Artifact, Content, Sidecars};
use crate::config::owner::Accounts;
use crate::config::{Request, validate as configuration};
use crate::error::{Context, Error, Result};
use crate::model::{Layout, Revision, Validators};
use crate::package::{self, Demands};
use crate::sys::clock::Deadline;
use crate::sys::fs::{self as sysfs, Dir};

/// The problems that were found.
#[derive(Debug, Default)]
pub struct Report {
    /// A line for each problem.
    pub text: String,
    /// Whether a deployment would refuse it.
    pub is_bad: bool,
}

impl Report {
    fn add(&mut self, place: &str, is_warning: bool, text: &str) {
        let word = if is_warning { "warning" } else { "error" };
        self.text += &format!("{place}: {word}: {text}\n");
        self.is_bad |= !is_warning;
    }

    fn problems(&mut self, file: &str, mut problems: Vec<Problem>) {
        appspec::in_order(&mut problems);
        for problem in problems {
            self.text += &format!("{file}:{problem}\n");
            self.is_bad |= !problem.is_warning;
        }
    }
}

/// Validates `path`, or else the configuration that `request` selects.
pub fn validate(path: Option<&Path>, request: &Request, environment: &[(OsString, OsString)]) -> Report {
    let mut report = Report::default();
    match path {
        Some(path) => {
            if let Err(e) = look(path, request, environment, &mut report) {
                report.add(&path.display().to_string(), false, e.cause());
            }
        }
        None => look_at_configuration(request, environment, &mut report),
    }
    if report.text.is_empty() {
        let path = path
            .or(request.file.as_deref())
            .map_or_else(|| "the configuration".to_owned(), |path| path.display().to_string());
        report.text = format!("{path}: nothing is wrong with it\n");
    }
    report
}

fn look(path: &Path, request: &Request, environment: &[(OsString, OsString)], report: &mut Report) -> Result<()> {
    let name = path.display().to_string();
    if fs::metadata(path).with_context(|| "cannot look at it")?.is_dir() {
        return look_at_bundle(path, &name, report);
    }
    let is_regular = fs::metadata(path).is_ok_and(|meta| meta.is_file());
    if !is_regular {
        return Err(Error::config("it is no regular file and no directory: validate takes a file or a bundle"));
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let file = sysfs::open_file(path).with_context(|| "cannot open it")?;
    if matches!(&*extension, "yml" | "yaml") {
        let (appspec, mut problems) = appspec::look(&bundle::read(path)?);
        problems.extend(appspec.iter().flat_map(strangers));
        report.problems(&name, problems);
        return Ok(());
    }
    if package::EXTENSIONS.contains(&&*extension) || package::is_archive(&file)? {
        return look_at_archive(file, &name, report);
    }
    let sections = request.sections.clone();
    let request = Request { file: Some(path.to_owned()), sections, arguments: Vec::new() };
    look_at_configuration(&request, environment, report);
    Ok(())
}

fn look_at_configuration(request: &Request, environment: &[(OsString, OsString)], report: &mut Report) {
    let mut looked = configuration::look(request, environment);
    for section in 0..looked.usable.len() {
        for (key, is_warning, text) in inspect::inspect(&looked.usable[section].1) {
            looked.note_of(section, key, is_warning, &text);
        }
    }
    for finding in looked.findings {
        report.add(&finding.place, finding.is_warning, &finding.text);
    }
}

fn look_at_bundle(top: &Path, name: &str, report: &mut Report) -> Result<()> {
    let Some(bundle) = bundle::find(top)? else {
        return Err(Error::config("there is no appspec.yml or appspec.yaml at its top or in its single directory"));
    };
    let (appspec, mut problems) = appspec::look(&bundle.text);
    if let Some(appspec) = &appspec {
        problems.extend(bundle::missing(appspec, &bundle.root));
        problems.extend(scripts::faults(appspec, &bundle.root));
        if problems.iter().all(|problem| problem.is_warning) {
            let (copies, clashes) = copies::copies(appspec, &bundle.root)?;
            problems.extend(clashes);
            problems.extend(matches(appspec, &copies));
        }
        problems.extend(strangers(appspec));
    }
    report.problems(&format!("{}/{}", name.trim_end_matches('/'), bundle.name.display()), problems);
    Ok(())
}

/// The problems with the paths of `permissions`: a path that two entries match, an entry that matches none.
fn matches(appspec: &appspec::Appspec, copies: &BTreeMap<PathBuf, copies::Copy>) -> Vec<Problem> {
    let (mut problems, mut used) = (Vec::new(), vec![false; appspec.permissions.len()]);
    for (path, copy) in copies {
        let is_hit = |(_, entry): &(usize, &appspec::Permission)| entry.is_for(path, copy.is_directory);
        let hits: Vec<_> = appspec.permissions.iter().enumerate().filter(is_hit).collect();
        hits.iter().for_each(|(n, _)| used[*n] = true);
        // A directory that only has to exist gets no permissions if it exists already.
        if let ([(_, one), (_, other), ..], true) = (&*hits, copy.source.is_some()) {
            let text =
                format!("{} is meant by this entry and by the one of line {}", path.display(), one.object.at.line);
            problems.push(Problem { at: other.object.at, is_warning: false, text });
        }
    }
    problems.extend(appspec.permissions.iter().zip(used).filter(|(_, used)| !used).map(|(entry, _)| entry.idle()));
    problems
}

fn strangers(appspec: &appspec::Appspec) -> Vec<Problem> {
    // Without the account files every user is unknown, and the warnings name the users.
    bundle::strangers(appspec, &Accounts::read().unwrap_or_default())
}

fn look_at_archive(file: File, name: &str, report: &mut Report) -> Result<()> {
    let place = Scratch::new("validate")?;
    unpacked(file, name, place.dir()).and_then(|()| look_at_bundle(place.path(), name, report))
}

fn unpacked(file: File, name: &str, place: &Dir) -> Result<()> {
    let content = Content::Archive(file);
    let (revision, validators) = (Revision::new(""), Validators::default());
    let artifact = Artifact { revision, validators, content, crc: None, name: name.to_owned() };
    let deadline = Deadline::after(std::time::Duration::from_secs(600));
    // An archive at hand only needs to be unpackable.
    let artifact = package::verify(artifact, &Sidecars::default(), &Demands::default(), None, deadline)?;
    // The default layout; stripping nothing, because a single top directory is looked into.
    package::unpack(&artifact, Some(place), None, &Layout::default(), deadline).map(|_| ())
}
