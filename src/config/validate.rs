//! Finds all errors of a configuration, section by section, before it is used. Continues where loading would stop: a
//! value that cannot be used is reported and removed, and the rest is checked again.

use std::ffi::OsString;
use std::path::Path;

use super::file::Configuration;
use super::keys::Name;
use super::layers::{RawSettings, Warning};
use super::request::Request;
use super::settings::Settings;
use super::{build, bundle, file};
use crate::error::{Error, Result};

/// An error or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `FILE:LINE:COLUMN`, or the variable, option or file.
    pub place: String,
    /// Whether the configuration works all the same.
    pub is_warning: bool,
    /// The message.
    pub text: String,
}

/// The findings so far, and the usable sections.
#[derive(Default)]
pub struct Looked {
    /// In order of discovery.
    pub findings: Vec<Finding>,
    /// The usable sections, with their raw values.
    pub usable: Vec<(RawSettings, Settings)>,
    /// The name of the file.
    name: String,
    file: Option<Configuration>,
}

/// Checks the file (else the default one) with the environment: one section, or all that can be selected.
pub fn look(request: &Request, environment: &[(OsString, OsString)]) -> Looked {
    let name = request.file.as_deref().unwrap_or(Path::new(file::DEFAULT)).display().to_string();
    let mut looked = Looked { name, ..Looked::default() };
    if let Err(e) = looked.look(request, environment) {
        looked.note(false, e.origin(), e.cause());
    }
    looked
}

impl Looked {
    /// Adds a finding about the value of a key in one of the usable sections.
    pub fn note_of(&mut self, section: usize, key: Name, is_warning: bool, text: &str) {
        let origin = self.usable.get(section).and_then(|(given, _)| given.get(key).ok().flatten());
        let origin = origin.filter(|value| value.is_given()).map(|value| value.origin);
        self.note(is_warning, origin.as_deref(), text);
    }

    /// Adds a finding. An error of a common key is reported once, not once for each section.
    fn note(&mut self, is_warning: bool, origin: Option<&str>, text: &str) {
        // A line of the file gets the column of the value.
        let place = origin.unwrap_or(&self.name);
        let line = place.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix(':')?.parse().ok());
        let column = line.map(|line| self.file.as_ref().map_or(1, |file| file.doc.column(line)));
        let place = column.map_or_else(|| place.to_owned(), |column| format!("{place}:{column}"));
        let finding = Finding { place, is_warning, text: text.to_owned() };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn look(&mut self, request: &Request, environment: &[(OsString, OsString)]) -> Result<()> {
        let Some(file) = file::read(request.file.as_deref())? else {
            // The whole configuration of a container may be its environment.
            if has_remote(request, environment) {
                self.name = "the configuration".to_owned();
                file::no_section(&request.sections)?;
                return self.look_at(None, request, environment);
            }
            return Err(Error::config("there is no such file: give one with --config FILE or behind validate"));
        };
        let sections: Vec<Option<String>> = match (file.choose(&request.sections)?, file.doc.sections()) {
            (_, all @ [_, ..]) if request.sections.is_empty() => all.iter().cloned().map(Some).collect(),
            (chosen, _) => chosen.into_iter().map(|section| section.map(str::to_owned)).collect(),
        };
        let exposed = file.exposed_secrets();
        self.name.clone_from(&file.name);
        self.file = Some(file);
        exposed.into_iter().for_each(|text| self.note(true, None, &text));
        for section in sections {
            self.look_at(section.as_deref(), request, environment)?;
        }
        self.look_at_them_together();
        Ok(())
    }

    /// Checks one section, and goes on without each value that cannot be used.
    fn look_at(
        &mut self,
        section: Option<&str>,
        request: &Request,
        environment: &[(OsString, OsString)],
    ) -> Result<()> {
        let file = self.file.as_ref();
        let (mut given, mut warnings) = (RawSettings::default(), Vec::new());
        given.add_arguments(&request.arguments)?;
        if let Some(file) = file {
            given.add_file(&file.name, &file.doc, section, &mut warnings);
        }
        let added = given.add_environment(environment, &mut warnings);
        let mut found: Vec<(bool, Option<String>, String)> = added.err().iter().map(fault).collect();
        let remark = |warning: Warning| (!warning.is_unknown_key, warning.origin, warning.text);
        found.extend(warnings.into_iter().map(remark));
        let check = |given: &RawSettings| {
            let settings = build::settings(given, section, file, environment)?;
            if bundle::remote(given)?.is_some() {
                bundle::notes(given, request, file, section)?;
            }
            settings.timing.schedule().map(|schedule| (settings, schedule.oddity()))
        };
        loop {
            match check(&given) {
                Ok((settings, oddity)) if given.is_whole() => {
                    found.extend(oddity.map(|why| remark(settings.timing.remark(&why))));
                    self.usable.push((given, settings));
                }
                Ok(_) => {}
                Err(e) => {
                    found.push(fault(&e));
                    if given.forget(&e) || given.do_without(Name::Remote) {
                        continue;
                    }
                }
            }
            break;
        }
        found.iter().for_each(|(is_warning, origin, text)| self.note(*is_warning, origin.as_deref(), text));
        Ok(())
    }

    /// A conflict with existing paths of another section is an error, even if run apart; any other is a warning.
    fn look_at_them_together(&mut self) {
        let all: Vec<&Settings> = self.usable.iter().map(|(_, settings)| settings).collect();
        let mut found = Vec::new();
        for (n, one) in all.iter().enumerate() {
            let others = all.iter().enumerate().filter(|(other, _)| *other != n).map(|(_, other)| *other);
            let with_others: Vec<&Settings> = std::iter::once(*one).chain(others).collect();
            found.extend(build::keep_each_other_apart(&with_others, 1).err().map(|e| (false, e)));
        }
        if found.is_empty() {
            found.extend(build::keep_each_other_apart(&all, all.len()).err().map(|e| (true, e)));
        }
        found.iter().for_each(|(is_warning, e)| self.note(*is_warning, e.origin(), e.cause()));
    }
}

/// Whether options or the environment name a remote.
fn has_remote(request: &Request, environment: &[(OsString, OsString)]) -> bool {
    let mut given = RawSettings::default();
    given.add_arguments(&request.arguments).is_ok()
        && given.add_environment(environment, &mut Vec::new()).is_ok()
        && (given.is_given(Name::Remote) || given.is_given(Name::S3Bucket))
}

/// An error as a finding.
fn fault(e: &Error) -> (bool, Option<String>, String) {
    (false, e.origin().map(str::to_owned), e.cause().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings in a file of this text, without its name.
    fn found(text: &str, section: Option<&str>, environment: &[(&str, &str)]) -> Vec<String> {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(crate::sys::fs::unique_name("repo-deploy-validate-").unwrap());
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let environment: Vec<(OsString, OsString)> =
            environment.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
        let request = Request {
            file: Some(path.clone()),
            sections: section.map(str::to_owned).into_iter().collect(),
            arguments: vec![],
        };
        let found = look(&request, &environment).findings;
        std::fs::remove_file(&path).unwrap();
        let name = path.display().to_string();
        let line =
            |f: Finding| format!("{} {} {}", f.place.replace(&name, "f"), if f.is_warning { "w" } else { "e" }, f.text);
        found.into_iter().map(line).collect()
    }

    #[track_caller]
    fn finds(text: &str, expected: &[&str]) {
        let found = found(text, None, &[]);
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found} should say {expected}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_found_at_once() {
        finds("remote = https://host/a.zip\n", &[]);
        finds(
            "remote = ftp://host/a.zip\nkeep = 1\n  schedule   =  0 0 30 2 *\nkeeep = 3\nsymlinks = maybe\nid = \"x\"\n",
            &[
                "f:4:9 e unknown key keeep; did you mean keep?",
                "f:6:6 w id: the quotes are part",
                "f:6:6 e cannot use id",
                "f:1:10 e the scheme ftp is unknown",
                "f:2:8 e cannot use keep = 1",
                "f:5:12 e cannot use symlinks = maybe",
                "f:3:17 e cannot use schedule",
            ],
        );
        finds("keep = 3\n", &["f e cannot find a remote"]);
        finds("a line\n", &["f:1:1 e cannot read the line"]);
    }

    #[test]
    fn every_section_is_looked_at_and_what_holds_for_all_once() {
        let text = "keep = 0\n[web]\nremote = https://host/a.zip\n[batch]\nremote = nothing\n";
        finds(text, &["f:1:8 e cannot use keep = 0", "f:5:10 e "]);
        assert_eq!(found(text, Some("web"), &[]).len(), 1);
        assert!(found(text, Some("wen"), &[])[0].starts_with("f e cannot find the section wen"));
        let environment = [("REPO_DEPLOY_TIMEOUT", "x")];
        assert!(
            found(text, Some("web"), &environment).iter().any(|f| f.starts_with("REPO_DEPLOY_TIMEOUT e cannot use"))
        );
    }
}
