//! Reads `~/.aws/credentials` and `~/.aws/config`, or the files in AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE:
//! profiles with their values, like the AWS command line. `profile` interprets them. Errors have the file and the line,
//! but never its text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::files::is_there;
use super::profile_file::{self, Values};
use crate::error::{Error, Result};
use crate::http::{secret_file, warn_once};
use crate::sys::sort::sort;

/// The default profile.
const DEFAULT: &str = "default";

/// Both files.
#[derive(Debug, Default)]
pub(super) struct SharedFiles {
    credentials: File,
    config: File,
}

#[derive(Default)]
struct File {
    /// `None` without a home directory.
    path: Option<PathBuf>,
    profiles: BTreeMap<String, Values>,
    /// `[services NAME]`.
    services: BTreeMap<String, Values>,
}

/// The kind of a section.
enum Section {
    Default(Spelling),
    Profile(String),
    Services(String),
    /// Ignored.
    Other,
}

/// The two spellings of a section for the profile `default`.
#[derive(Clone, Copy)]
enum Spelling {
    /// `[default]`.
    Short,
    /// `[profile default]`: if there is one, short ones are ignored.
    Long,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("File").field(&self.path).finish() // its values are secrets
    }
}

/// A profile, from both files. The credentials file takes precedence.
#[derive(Clone, Copy)]
pub(super) struct Profile<'a> {
    files: &'a SharedFiles,
    name: &'a str,
}

impl SharedFiles {
    /// Reads both files as they are now.
    pub(super) fn read(env: &Environment) -> Result<Self> {
        let place = |variable: &str, name: &str| {
            env.path(variable).or_else(|| env.home().map(|home| home.join(".aws").join(name)))
        };
        let plain = |section: &str| Section::Profile(section.to_owned());
        let credentials = File::read(place("AWS_SHARED_CREDENTIALS_FILE", "credentials"), "credentials", plain)?;
        let config = File::read(place("AWS_CONFIG_FILE", "config"), "config", |section| match section {
            DEFAULT => Section::Default(Spelling::Short),
            other => match (named("profile", other), named("services", other)) {
                (Some(name), _) if name == DEFAULT => Section::Default(Spelling::Long),
                (Some(name), _) => Section::Profile(name),
                (None, Some(name)) => Section::Services(name),
                (None, None) => Section::Other,
            },
        })?;
        Ok(Self { credentials, config })
    }

    /// The profile `name`, if one of the files has it.
    pub(super) fn profile<'a>(&'a self, name: &'a str) -> Option<Profile<'a>> {
        let has = |file: &File| file.profiles.contains_key(name);
        (has(&self.credentials) || has(&self.config)).then_some(Profile { files: self, name })
    }

    /// All profiles with their values, for tests: `name{key=value …}`.
    #[cfg(test)]
    pub(super) fn shown(&self) -> String {
        let names: std::collections::BTreeSet<&String> =
            self.credentials.profiles.keys().chain(self.config.profiles.keys()).collect();
        let one = |name: &&String| {
            let profile = self.profile(name)?;
            let keys: std::collections::BTreeSet<&String> =
                profile.places().flat_map(|(values, _)| values.keys()).collect();
            let values = keys.into_iter().filter_map(|key| Some(format!("{key}={}", profile.get(key)?)));
            Some(format!("{name}{{{}}}", values.collect::<Vec<_>>().join(" ")))
        };
        names.iter().filter_map(one).collect::<Vec<_>>().join(" ")
    }

    /// The error for a profile that is in neither file.
    pub(super) fn unknown(&self, name: &str) -> Error {
        let mut names: Vec<&String> = self.credentials.profiles.keys().chain(self.config.profiles.keys()).collect();
        sort(&mut names, &mut Ord::cmp);
        names.dedup();
        let names: Vec<String> = names.into_iter().map(|name| name.escape_debug().to_string()).collect();
        let there = if names.is_empty() { "which have no profile".to_owned() } else { names.join(", ") };
        let has = if names.is_empty() { "" } else { "which have " };
        let files: Vec<_> = [&self.credentials, &self.config].iter().filter_map(|f| f.path.as_deref()).collect();
        let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        Error::failed(format!("no profile {name:?} in {}, {has}{there}", files.join(" and ")))
    }
}

/// The name in `profile NAME` or `services NAME`; a name with blanks must be quoted.
fn named(kind: &str, section: &str) -> Option<String> {
    let rest = section.strip_prefix(kind).filter(|rest| rest.starts_with(char::is_whitespace))?.trim();
    let bare = rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let bare = bare.or_else(|| rest.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')));
    bare.or((!rest.contains(char::is_whitespace)).then_some(rest)).map(str::to_owned)
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

    /// A value, and the file that has it.
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

    /// The values of the first file that has one of `keys`; values that belong together are never taken from both
    /// files.
    pub(super) fn whole(self, keys: &[&str]) -> Option<(&'a Values, &'a Path)> {
        self.places().find(|(values, _)| keys.iter().any(|key| values.contains_key(*key)))
    }
}

impl File {
    fn read(path: Option<PathBuf>, kind: &str, section: fn(&str) -> Section) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        // A common setting for "no file".
        if path == Path::new("/dev/null") || !is_there(&path)? {
            return Ok(Self { path: Some(path), ..Self::default() });
        }
        let (text, warning) = secret_file::read_secret(kind, &path)?;
        let mut file = parse(&text, section)
            .map_err(|why| Error::failed(format!("cannot read {kind} {}: {why}", path.display())))?;
        let has_secret = file.profiles.values().any(|values| values.contains_key("aws_secret_access_key"));
        warn_once(warning.into_iter().filter(|_| has_secret).collect());
        file.path = Some(path);
        Ok(file)
    }
}

/// Sorts the sections of a file. Sections of other kinds are parsed too, and dropped.
fn parse(text: &str, section: fn(&str) -> Section) -> Result<File, String> {
    let mut file = File::default();
    let mut default: [Option<Values>; 2] = Default::default();
    for (name, values) in profile_file::parse(text)? {
        match section(&name) {
            Section::Default(spelling) => default[spelling as usize].get_or_insert_default().extend(values),
            Section::Profile(name) => file.profiles.entry(name).or_default().extend(values),
            Section::Services(name) => file.services.entry(name).or_default().extend(values),
            Section::Other => {}
        }
    }
    let [short, long] = default;
    if let Some(default) = long.or(short) {
        file.profiles.insert(DEFAULT.to_owned(), default);
    }
    for values in file.profiles.values_mut().chain(file.services.values_mut()) {
        values.retain(|_, value| !value.is_empty());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use crate::aws::shared_files::*;
    use crate::aws::tests::Place;

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
