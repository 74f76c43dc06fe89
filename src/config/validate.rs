//! Everything that is wrong with a configuration, section by section, for who asks before it is used. It goes on where
//! loading would stop: a value that cannot be used is named, taken away, and the rest is looked at again.

use std::ffi::OsString;
use std::path::Path;

use super::given::Given;
use super::keys::Name;
use super::{Request, Settings, build, file, places};
use crate::error::{Error, Result};
use crate::sys::resolve::{self, Fault, Last, Way};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `FILE:LINE:COLUMN`, or the variable, option or file.
    pub place: String,
    /// Whether it works all the same.
    pub is_warning: bool,
    /// What.
    pub text: String,
}

/// Looks at the file (else the default one) with the environment: at one section, or at all that can be chosen.
pub fn findings(request: &Request, environment: &[(OsString, OsString)]) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Err(e) = look(request, environment, &mut found) {
        let name = request.file.as_deref().unwrap_or(Path::new(file::DEFAULT)).display().to_string();
        let (place, text) = split(&name, |_| 1, &e.to_string());
        found.push(Finding { place, is_warning: false, text });
    }
    found
}

fn look(request: &Request, environment: &[(OsString, OsString)], found: &mut Vec<Finding>) -> Result<()> {
    let Some(file) = file::read(request.file.as_deref())? else {
        return Err(Error::config("there is no such file: give one with --config FILE or behind validate"));
    };
    let sections = match (file.choose(&request.sections)?, file.doc.sections()) {
        (_, all @ [_, ..]) if request.sections.is_empty() => all.iter().map(|name| Some(name.as_str())).collect(),
        (chosen, _) => chosen,
    };
    let mut note = |is_warning: bool, text: String| {
        let (place, text) = split(&file.name, |line| file.doc.column(line), &text);
        // A key that holds for all is wrong once, not once for each section.
        let finding = Finding { place, is_warning, text };
        if !found.contains(&finding) {
            found.push(finding);
        }
    };
    file.exposed_secrets().into_iter().for_each(|text| note(true, text));
    let mut usable = Vec::new();
    for section in sections {
        let (mut given, mut warnings) = (Given::default(), Vec::new());
        given.add_arguments(&request.arguments)?;
        given.add_file(&file.name, &file.doc, section, &mut warnings);
        if let Err(e) = given.add_environment(environment, &mut warnings) {
            note(false, e.to_string());
        }
        for text in warnings {
            note(!text.contains(": unknown key "), text);
        }
        let check = |given: &Given| {
            let settings = build::settings(given, section, Some(&file), environment)?;
            settings.timing.schedule().map(|_| settings)
        };
        let mut is_good = true;
        loop {
            match check(&given) {
                Ok(settings) if is_good => {
                    for (is_warning, text) in links_of_others(&given, &settings)? {
                        note(is_warning, text);
                    }
                    usable.push(settings);
                }
                Ok(_) => {}
                Err(e) => {
                    let text = e.to_string();
                    is_good = false;
                    let goes_on = given.forget(&text);
                    note(false, text);
                    if goes_on {
                        continue;
                    }
                }
            }
            break;
        }
    }
    // They may never run together: then it is no mistake.
    if let Err(e) = build::keep_each_other_apart(&usable.iter().collect::<Vec<_>>(), usable.len()) {
        note(true, e.to_string());
    }
    Ok(())
}

/// Paths that lead through a link of somebody else, so that they are not used; without a log or a report it works all the
/// same.
fn links_of_others(given: &Given, settings: &Settings) -> Result<Vec<(bool, String)>> {
    let mut found = Vec::new();
    for (name, path, last, is_warning) in [
        (Name::Local, Some(settings.local.as_path()).filter(|_| !settings.is_installed()), Last::Stay, false),
        (Name::Remote, places::of_remote(&settings.remote), Last::Follow, false),
        (Name::LogFile, settings.log_file.as_deref(), Last::Written, true),
        (Name::StatusFile, settings.status_file.as_deref(), Last::Stay, true),
        (Name::MetricsFile, settings.metrics_file.as_deref(), Last::Stay, true),
    ] {
        if let Some(Err(Fault::Untrusted(why))) = path.map(|path| resolve::find(path, Way::Any, last)) {
            found.push((is_warning, build::complaint(given, name, why)?.to_string()));
        }
    }
    Ok(found)
}

/// Divides `FILE:LINE: text`, and adds the column of the value.
fn split(name: &str, column: impl Fn(usize) -> usize, text: &str) -> (String, String) {
    let in_file = text.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')).and_then(|rest| {
        let (line, text) = rest.split_once(": ")?;
        let line = line.parse().ok()?;
        Some((format!("{name}:{line}:{}", column(line)), text))
    });
    let elsewhere = || match text.split_once(": ") {
        Some((origin, text)) if !origin.contains(' ') => (origin.to_owned(), text),
        _ => (name.to_owned(), text),
    };
    let (place, text) = in_file.unwrap_or_else(elsewhere);
    (place, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a file of this text, without its name.
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
        let found = findings(&request, &environment);
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
