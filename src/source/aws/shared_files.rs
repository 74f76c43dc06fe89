//! `~/.aws/credentials` and `~/.aws/config`, or what AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE name: profiles with
//! their values, as the AWS command line reads them. What a profile means is `profile`'s. Errors name the file and the
//! line, and never what stands there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::files::is_there;
use crate::error::{Error, Result};
use crate::source::http::{keyfile, warn_once};

type Values = BTreeMap<String, String>;

/// Both files.
#[derive(Debug, Default)]
pub(super) struct SharedFiles {
    credentials: File,
    config: File,
}

#[derive(Default)]
struct File {
    /// `None`: no home to look in.
    path: Option<PathBuf>,
    profiles: BTreeMap<String, Values>,
    /// `[services NAME]`.
    services: BTreeMap<String, Values>,
}

/// What a section is to us.
enum Section {
    Profile(String),
    Services(String),
    /// Nothing.
    Other,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("File").field(&self.path).finish() // its values are secrets
    }
}

/// One profile of both files: the credentials file comes first.
#[derive(Clone, Copy)]
pub(super) struct Profile<'a> {
    files: &'a SharedFiles,
    name: &'a str,
}

impl SharedFiles {
    /// Reads what is there now.
    pub(super) fn read(env: &Environment) -> Result<Self> {
        let place = |variable: &str, name: &str| {
            env.path(variable).or_else(|| env.home().map(|home| home.join(".aws").join(name)))
        };
        let credentials = File::read(place("AWS_SHARED_CREDENTIALS_FILE", "credentials"), "credentials", |section| {
            // Written for the other file, and understood all the same.
            Section::Profile(named("profile", section).unwrap_or_else(|| section.to_owned()))
        })?;
        let config = File::read(place("AWS_CONFIG_FILE", "config"), "config", |section| match section {
            "default" => Section::Profile(section.to_owned()),
            other => match (named("profile", other), named("services", other)) {
                (Some(name), _) => Section::Profile(name),
                (None, Some(name)) => Section::Services(name),
                (None, None) => Section::Other,
            },
        })?;
        Ok(Self { credentials, config })
    }

    /// The profile called `name`, when one of both files has it.
    pub(super) fn profile<'a>(&'a self, name: &'a str) -> Option<Profile<'a>> {
        let has = |file: &File| file.profiles.contains_key(name);
        (has(&self.credentials) || has(&self.config)).then_some(Profile { files: self, name })
    }

    /// An error for a profile that neither file has.
    pub(super) fn unknown(&self, name: &str) -> Error {
        let names: BTreeSet<&String> = self.credentials.profiles.keys().chain(self.config.profiles.keys()).collect();
        let names: Vec<String> = names.into_iter().map(|name| name.escape_debug().to_string()).collect();
        let there = if names.is_empty() { "which have no profile".to_owned() } else { names.join(", ") };
        let has = if names.is_empty() { "" } else { "which have " };
        let files: Vec<_> = [&self.credentials, &self.config].iter().filter_map(|f| f.path.as_deref()).collect();
        let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        Error::failed(format!("no profile {name:?} in {}, {has}{there}", files.join(" and ")))
    }
}

/// The name in `profile NAME` or `services NAME`, with or without quotes.
fn named(kind: &str, section: &str) -> Option<String> {
    let rest = section.strip_prefix(kind).filter(|rest| rest.starts_with(char::is_whitespace))?.trim();
    let bare = rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let bare = bare.or_else(|| rest.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')));
    Some(bare.unwrap_or(rest).to_owned())
}

impl<'a> Profile<'a> {
    /// For messages: `profile web`.
    pub(super) fn called(self) -> String {
        format!("profile {}", self.name)
    }

    fn of(self, file: &'a File) -> Option<(&'a Values, &'a Path)> {
        Some((file.profiles.get(self.name)?, file.path.as_deref()?))
    }

    fn places(self) -> impl Iterator<Item = (&'a Values, &'a Path)> {
        [&self.files.credentials, &self.files.config].into_iter().filter_map(move |file| self.of(file))
    }

    /// A value and the file it stands in.
    pub(super) fn find(self, key: &str) -> Option<(&'a str, &'a Path)> {
        self.places().find_map(|(values, path)| Some((values.get(key)?.as_str(), path)))
    }

    /// A value.
    pub(super) fn get(self, key: &str) -> Option<&'a str> {
        self.find(key).map(|(value, _)| value)
    }

    /// A value of the services section that the profile names: `s3.endpoint_url`.
    pub(super) fn service(self, key: &str) -> Result<Option<&'a str>> {
        let Some((name, _)) = self.find("services") else { return Ok(None) };
        let section = self.files.config.services.get(name).ok_or_else(|| {
            let called = self.called();
            Error::config(format!("{called} has services = {name}, and there is no [services {name}]"))
        })?;
        Ok(section.get(key).map(String::as_str))
    }

    /// The values of the first file that has one of `keys`: what belongs together is not mixed from both.
    pub(super) fn whole(self, keys: &[&str]) -> Option<(&'a Values, &'a Path)> {
        self.places().find(|(values, _)| keys.iter().any(|key| values.contains_key(*key)))
    }
}

impl File {
    fn read(path: Option<PathBuf>, kind: &str, section: fn(&str) -> Section) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        // A usual way to say "no file".
        if path == Path::new("/dev/null") || !is_there(&path)? {
            return Ok(Self { path: Some(path), ..Self::default() });
        }
        let (text, warning) = keyfile::read_secret(kind, &path)?;
        let mut file = parse(&text, section)
            .map_err(|why| Error::failed(format!("cannot read {kind} {}: {why}", path.display())))?;
        let has_secret = file.profiles.values().any(|values| values.contains_key("aws_secret_access_key"));
        warn_once(warning.into_iter().filter(|_| has_secret).collect());
        file.path = Some(path);
        Ok(file)
    }
}

/// Sections and values. A line that is indented deeper than the key above it belongs to that one: what stands below `s3 =`
/// is called `s3.endpoint_url`. Sections that are nothing to us are checked like others, and dropped.
fn parse(text: &str, section: fn(&str) -> Section) -> Result<File, String> {
    let mut sections: Vec<(Section, Values)> = Vec::new();
    let mut above: Option<(usize, String)> = None;
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let bad = |why: &str| format!("line {}: {why}", number + 1);
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let outer = above.as_ref().filter(|(depth, _)| indent > *depth).map(|(_, key)| key);
        if let Some(rest) = bare.strip_prefix('[').filter(|_| outer.is_none()) {
            let (name, _) = rest.split_once(']').ok_or_else(|| bad("a section without ]"))?;
            sections.push((section(name.trim()), Values::new()));
            above = None;
            continue;
        }
        let (key, value) = match bare.split_once('=') {
            Some((key, value)) => (key.trim().to_ascii_lowercase(), without_comment(value).trim()),
            None if outer.is_some() => continue,
            None => return Err(bad("neither key = value nor [section]")),
        };
        let (_, values) = sections.last_mut().ok_or_else(|| bad("a value before the first [section]"))?;
        let name = outer.map_or_else(|| key.clone(), |outer| format!("{outer}.{key}"));
        if outer.is_none() {
            above = Some((indent, key));
        }
        if !value.is_empty() {
            values.insert(name, value.to_owned());
        }
    }
    let mut file = File::default();
    for (section, values) in sections {
        match section {
            Section::Profile(name) => file.profiles.entry(name).or_default().extend(values),
            Section::Services(name) => file.services.entry(name).or_default().extend(values),
            Section::Other => {}
        }
    }
    Ok(file)
}

/// A `#` or `;` after a blank begins a comment.
fn without_comment(value: &str) -> &str {
    let is_comment = |at: &usize| value[..*at].ends_with(char::is_whitespace);
    let end = value.match_indices(['#', ';']).map(|(at, _)| at).find(is_comment);
    &value[..end.unwrap_or(value.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::aws::tests::Place;

    #[test]
    fn profiles_of_both_files() {
        let place = Place::new();
        place.write(
            ".aws/credentials",
            "\u{feff}[default]\naws_access_key_id=AK\nAWS_Secret_Access_Key = s/+=x\n\n; comment\n[web]\n\
             aws_access_key_id = WEB # inline\naws_secret_access_key = a#b;c\n",
        );
        place.write(
            ".aws/config",
            "[default]\nregion = eu-west-1\ns3 =\n  addressing_style = path\n  region = nested\noutput=json\n\
             [profile web]\n  region = eu-central-1\n  role_arn = r\n[profile \"with blank\"]\nregion=x\n\
             [other]\nregion = y\n[sso-session s]\nsso_region = z\n[ profile web ]\nduration_seconds = 900\n",
        );
        let env = place.env(&[]);
        let files = SharedFiles::read(&env).unwrap();
        for (name, key, expected) in [
            ("default", "aws_secret_access_key", Some("s/+=x")),
            ("default", "region", Some("eu-west-1")),
            ("default", "s3", None),
            ("default", "addressing_style", None),
            ("default", "s3.addressing_style", Some("path")),
            ("default", "output", Some("json")),
            ("web", "aws_access_key_id", Some("WEB")),
            ("web", "aws_secret_access_key", Some("a#b;c")),
            ("web", "region", Some("eu-central-1")),
            ("web", "role_arn", Some("r")),
            ("web", "duration_seconds", Some("900")),
            ("with blank", "region", Some("x")),
        ] {
            assert_eq!(files.profile(name).unwrap().get(key), expected, "{name} {key}");
        }
        for name in ["other", "s", "sso-session s", "profile web", "Default", ""] {
            assert!(files.profile(name).is_none(), "{name}");
        }
        let error = files.unknown("wep").to_string();
        for words in ["no profile \"wep\"", ".aws/credentials and ", ".aws/config, ", "default, web, with blank"] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn variables_name_other_files_and_missing_ones_are_empty() {
        let place = Place::new();
        let other = place.write("other", "[p]\nregion = here\n");
        let env =
            place.env(&[("AWS_SHARED_CREDENTIALS_FILE", other.to_str().unwrap()), ("AWS_CONFIG_FILE", "/dev/null")]);
        let files = SharedFiles::read(&env).unwrap();
        assert_eq!(files.profile("p").unwrap().get("region"), Some("here"));
        let none = SharedFiles::read(&place.env(&[])).unwrap();
        assert!(none.unknown("p").to_string().contains("which have no profile"));
    }

    #[test]
    fn nonsense_is_named_by_file_and_line_and_never_shown() {
        let place = Place::new();
        for (text, words) in [
            ("aws_secret_access_key = hunter2", "line 1: a value before the first [section]"),
            ("[default]\nhunter2\n", "line 2: neither key = value nor [section]"),
            ("[default]\n\n[hunter2\n", "line 3: a section without ]"),
        ] {
            place.write(".aws/credentials", text);
            let error = SharedFiles::read(&place.env(&[])).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(".aws/credentials"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
