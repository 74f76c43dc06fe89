//! The raw values of the keys and their origins: argument > file (the section > common keys) > environment > default.
//! Reports unknown keys. The meaning of a value is not known here.

use std::ffi::OsString;
use std::fmt::Display;

use super::keys::{self, ALIASES, KEYS, Key, Name};
use super::suggest::hint;
use super::syntax::{Document, Entry};
use crate::error::{Error, Result};
use crate::sys::sort::sort;

/// A value and its origin.
#[derive(Clone)]
pub struct Value {
    pub key: &'static Key,
    pub text: String,
    /// The origin in messages: `/etc/x.cfg:3`, `--local`, `REPO_DEPLOY_KEEP`, `default`.
    pub origin: String,
    rank: Precedence,
}

/// The strongest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precedence {
    Argument,
    Section,
    File,
    Environment,
    Default,
}

impl Value {
    /// Whether it was given, and is not a default.
    pub fn is_given(&self) -> bool {
        self.rank != Precedence::Default
    }

    /// Whether its origin takes precedence over that of `other`.
    pub fn is_nearer_than(&self, other: &Self) -> bool {
        self.rank < other.rank
    }

    /// The error for a value that cannot be used: origin, value, and a right value. A secret is not repeated.
    pub fn bad(&self, why: impl Display) -> Error {
        let Key { text: key, secret, .. } = self.key;
        let shown = match self.text.char_indices().nth(100) {
            // A remote may hold credentials, and so may a user written as user:password.
            _ if *secret || matches!(self.key.name, Name::Remote | Name::HttpUser) => String::new(),
            _ if self.key.name == Name::S3Endpoint && self.text.contains('@') => String::new(),
            // A secret key by mistake, or a URL with a token.
            _ if matches!(self.key.name, Name::VerifyKey | Name::SignatureUrl | Name::Sha256Url) => String::new(),
            _ if self.text.is_empty() => " = (empty)".to_owned(),
            Some((end, _)) => format!(" = {}…", &self.text[..end]),
            None => format!(" = {}", self.text),
        };
        Error::value(&self.origin, format_args!("cannot use {key}{shown}: {why}"))
    }
}

/// An argument: the option as written, its key, its value.
pub type Argument = (String, Name, OsString);

/// All given values.
#[derive(Clone, Default)]
pub struct RawSettings {
    values: Vec<Value>,
    /// Keys without their values: see [`RawSettings::forget`].
    forgotten: Vec<Name>,
}

impl RawSettings {
    /// The value in force for `name`, or its default; `None` if there is none or it is empty.
    pub fn get(&self, name: Name) -> Result<Option<Value>> {
        let key = name.key();
        let Some(value) = self.values.iter().filter(|v| v.key.name == name).min_by_key(|v| v.rank) else {
            let (text, origin) = (key.default.to_owned(), "default".to_owned());
            return Ok((!text.is_empty()).then_some(Value { key, text, origin, rank: Precedence::Default }));
        };
        match (value.text.is_empty(), key.default.is_empty()) {
            (false, _) => Ok(Some(value.clone())),
            (true, true) => Ok(None), // `owner =` in a section cancels the common value
            (true, false) => Err(value.bad(format!("it takes a value; without the key it is {}", key.default))),
        }
    }

    /// Whether `name` is given at all, even as empty.
    pub fn is_given(&self, name: Name) -> bool {
        self.values.iter().any(|v| v.key.name == name)
    }

    /// The values in force for a repeatable key: all of the strongest origin, in order.
    pub fn all(&self, name: Name) -> Vec<&Value> {
        let of = || self.values.iter().filter(|v| v.key.name == name);
        let strongest = of().map(|v| v.rank).min();
        // Within an origin the last one comes first (see `add_file`).
        let mut values: Vec<&Value> = of().filter(|v| Some(v.rank) == strongest && !v.text.is_empty()).collect();
        values.reverse();
        values
    }

    /// Removes the value that an error names, if it names one. Its key then counts as unknown: errors that would come
    /// from using the default instead are not reported.
    pub fn forget(&mut self, error: &Error) -> bool {
        let is_meant = |v: &Value| error.origin() == Some(&v.origin);
        let Some(at) = self.values.iter().position(is_meant) else { return false };
        self.forgotten.push(self.values.remove(at).key.name);
        true
    }

    /// The same for a required key without a value. False: its value is given, or it is forgotten already.
    pub fn do_without(&mut self, name: Name) -> bool {
        let is_new = !self.forgotten.contains(&name) && !self.is_given(name);
        self.forgotten.extend(is_new.then_some(name));
        is_new
    }

    /// Adds the remembered value of a key that is not given.
    pub fn remember(&mut self, name: Name, text: String) {
        self.values.push(Value { key: name.key(), text, origin: "the store".to_owned(), rank: Precedence::Default });
    }

    /// Whether none of these keys is forgotten, so that they can be checked against each other.
    pub fn knows(&self, names: &[Name]) -> bool {
        !names.iter().any(|name| self.forgotten.contains(name))
    }

    /// Whether no key is forgotten.
    pub fn is_whole(&self) -> bool {
        self.forgotten.is_empty()
    }

    /// Adds the options of the command line.
    pub fn add_arguments(&mut self, arguments: &[Argument]) -> Result<()> {
        for (option, name, text) in arguments.iter().rev() {
            self.add(name.key(), text.clone(), option.clone(), Precedence::Argument)?;
        }
        Ok(())
    }

    /// Adds the keys of the file `file` for `section` and the common ones.
    pub fn add_file(&mut self, file: &str, doc: &Document, section: Option<&str>, warnings: &mut Vec<Warning>) {
        if section.is_some() {
            self.add_entries(file, doc, section, Precedence::Section, warnings);
        }
        self.add_entries(file, doc, None, Precedence::File, warnings);
    }

    fn add_entries(
        &mut self,
        file: &str,
        doc: &Document,
        section: Option<&str>,
        rank: Precedence,
        warnings: &mut Vec<Warning>,
    ) {
        let mut seen: Vec<(Name, usize)> = Vec::new();
        let mut values = Vec::new();
        for entry in doc.entries(section) {
            let origin = format!("{file}:{}", entry.line);
            let mut warn = |is_unknown_key, text| {
                warnings.push(Warning { origin: Some(origin.clone()), text, is_unknown_key });
            };
            let Some(key) = keys::find(&entry.key) else {
                warn(true, unknown(entry));
                continue;
            };
            if let Some((_, line)) = seen.iter().find(|(n, _)| *n == key.name && !key.repeated) {
                warn(false, format!("{} stands in line {line} already: this value is used", key.text));
            }
            seen.push((key.name, entry.line));
            let text = doc.value(entry);
            if let Some(what) = likely_mistake(key, text) {
                warn(false, format!("{}: {what}", key.text));
            }
            values.push(Value { key, text: text.to_owned(), origin, rank });
        }
        self.values.extend(values.into_iter().rev());
    }

    /// Adds the variables of the environment; an empty one is ignored. Inside a hook (`REPO_DEPLOY_PHASE` is set)
    /// `REPO_DEPLOY_ID` and `REPO_DEPLOY_REMOTE` are skipped too: they inform the hook, and are no configuration.
    pub fn add_environment(&mut self, environment: &[(OsString, OsString)], warnings: &mut Vec<Warning>) -> Result<()> {
        let in_hook = environment.iter().any(|(name, _)| name == "REPO_DEPLOY_PHASE");
        let mut ours = Vec::new();
        for (name, text) in environment {
            let Some(name) = name.to_str().filter(|_| !text.is_empty()) else { continue };
            match keys::of_variable(name) {
                Some(_) if in_hook && matches!(name, "REPO_DEPLOY_ID" | "REPO_DEPLOY_REMOTE") => {}
                Some(key) => ours.push((!name.starts_with(keys::PREFIX), name, key, text)),
                None => warnings.extend(misspelt(name)),
            }
        }
        // The names of today are stronger than the old ones.
        sort(&mut ours, &mut |a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        for (_, name, key, text) in ours {
            let lines = if key.repeated { text.to_str() } else { None };
            match lines {
                Some(lines) => {
                    for line in lines.lines().rev() {
                        self.add(key, line.into(), name.to_owned(), Precedence::Environment)?;
                    }
                }
                None => self.add(key, text.clone(), name.to_owned(), Precedence::Environment)?,
            }
        }
        Ok(())
    }

    fn add(&mut self, key: &'static Key, text: OsString, origin: String, rank: Precedence) -> Result<()> {
        let (text, readable) = match text.into_string() {
            Ok(text) => (text, true),
            Err(text) => (text.to_string_lossy().into_owned(), false),
        };
        let value = Value { key, text: text.trim().to_owned(), origin, rank };
        if !readable {
            return Err(value.bad("it is not UTF-8"));
        }
        if value.text.bytes().any(|b| b.is_ascii_control()) {
            return Err(value.bad("it has a control character"));
        }
        self.values.push(value);
        Ok(())
    }
}

/// A remark about a configuration that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The place in the file.
    pub origin: Option<String>,
    /// The remark.
    pub text: String,
    /// Whether it is about a key that does not exist: `validate` takes it for an error.
    pub is_unknown_key: bool,
}

impl Warning {
    /// The line for the log.
    pub fn into_text(self) -> String {
        self.origin.map_or_else(String::new, |origin| origin + ": ") + &self.text
    }
}

fn unknown(entry: &Entry) -> String {
    let known = KEYS.iter().map(|key| key.text).chain(ALIASES.iter().map(|(alias, _)| *alias));
    format!("unknown key {}{}", entry.key, hint(&entry.key, known))
}

/// A hint for a variable that is close to a known one. Other variables with the prefix are not reported: Kubernetes
/// sets REPO_DEPLOY_PORT for a service named repo-deploy, and hooks get some from this program.
fn misspelt(variable: &str) -> Option<Warning> {
    const FOR_HOOKS: [&str; 7] =
        ["REVISION", "PREVIOUS_REVISION", "RELEASE", "PHASE", "REASON", "ATTEMPT", "CHANGED_FILES"];
    let name = variable.strip_prefix(keys::PREFIX).filter(|n| !FOR_HOOKS.contains(n))?;
    let known: Vec<String> = KEYS.iter().map(|k| k.text.to_uppercase().replace('-', "_")).collect();
    let near = super::suggest::nearest(name, known.iter().map(String::as_str))?;
    let text = format!("unknown variable {variable}; did you mean {}{near}?", keys::PREFIX);
    Some(Warning { origin: None, text, is_unknown_key: false })
}

/// A part of a value that other programs would strip, and this one does not.
fn likely_mistake(key: &Key, text: &str) -> Option<&'static str> {
    let quoted = text.len() >= 2
        && (text.starts_with('"') && text.ends_with('"') || text.starts_with('\'') && text.ends_with('\''));
    if key.secret {
        None
    } else if quoted {
        Some("the quotes are part of the value: leave them out")
    } else if text.contains(" #") || text.contains(" ;") {
        Some("what looks like a comment is part of the value: a comment stands on a line of its own")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::config::layers::*;

    fn file(given: &mut RawSettings, text: &str, section: Option<&str>) -> Vec<String> {
        let mut warnings = Vec::new();
        let doc = Document::parse("f", text.into()).unwrap();
        given.add_file("f", &doc, section, &mut warnings);
        warnings.into_iter().map(Warning::into_text).collect()
    }

    fn environment(given: &mut RawSettings, variables: &[(&str, &str)]) -> Vec<String> {
        let mut warnings = Vec::new();
        let variables: Vec<_> = variables.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect();
        given.add_environment(&variables, &mut warnings).unwrap();
        warnings.into_iter().map(Warning::into_text).collect()
    }

    fn got(given: &RawSettings, name: Name) -> Option<(String, String)> {
        given.get(name).unwrap().map(|v| (v.text, v.origin))
    }

    fn some(text: &str, origin: &str) -> Option<(String, String)> {
        Some((text.to_owned(), origin.to_owned()))
    }

    #[test]
    fn the_stronger_place_counts() {
        const FILE: &str = "keep = 2\nid = all\n[s]\nkeep = 3\nkeep = 4\n[t]\nkeep = 5\n";
        let mut given = RawSettings::default();
        assert_eq!(got(&given, Name::Keep), some("5", "default"));
        assert_eq!(got(&given, Name::Id), None);
        environment(
            &mut given,
            &[("REPO_DEPLOY_KEEP", "9"), ("REMOTE_REPOSITORY", "/old"), ("REPO_DEPLOY_REMOTE", "/new")],
        );
        assert_eq!(got(&given, Name::Keep), some("9", "REPO_DEPLOY_KEEP"));
        assert_eq!(got(&given, Name::Remote), some("/new", "REPO_DEPLOY_REMOTE"));
        file(&mut given, FILE, None);
        assert_eq!(got(&given, Name::Keep), some("2", "f:1"));
        file(&mut given, FILE, Some("s"));
        assert_eq!(got(&given, Name::Keep), some("4", "f:5"));
        assert_eq!(got(&given, Name::Id), some("all", "f:2"));
        let option = |text: &str| ("--keep".to_owned(), Name::Keep, OsString::from(text));
        given.add_arguments(&[option("7"), option("8")]).unwrap();
        assert_eq!(got(&given, Name::Keep), some("8", "--keep"));
    }

    #[test]
    fn an_empty_value_takes_back_or_is_refused() {
        let mut given = RawSettings::default();
        file(&mut given, "http-user = me\nkeep = 3\n[s]\nhttp-user =\nkeep =\n", Some("s"));
        assert_eq!(got(&given, Name::HttpUser), None);
        let error = given.get(Name::Keep).err().unwrap().to_string();
        assert_eq!(error, "f:5: cannot use keep = (empty): it takes a value; without the key it is 5");
        let mut given = RawSettings::default();
        environment(&mut given, &[("REPO_DEPLOY_KEEP", "")]);
        assert_eq!(got(&given, Name::Keep), some("5", "default"));
    }

    #[test]
    fn repeated_keys_are_those_of_the_strongest_place_in_order() {
        let headers =
            |given: &RawSettings| given.all(Name::HttpHeader).iter().map(|v| v.text.clone()).collect::<Vec<_>>();
        let mut given = RawSettings::default();
        environment(&mut given, &[("REPO_DEPLOY_HTTP_HEADER", "A: 1\nB: 2\n")]);
        assert_eq!(headers(&given), ["A: 1", "B: 2"]);
        let text =
            "http-header = C: 3\nhttp_header = D: 4\n[s]\nhttp-header = E: 5\nhttp-header = F: 6\n[t]\nhttp-header =\n";
        assert_eq!(file(&mut given, text, None), [""; 0]);
        assert_eq!(headers(&given), ["C: 3", "D: 4"]);
        file(&mut given, text, Some("s"));
        assert_eq!(headers(&given), ["E: 5", "F: 6"]);
        let mut given = RawSettings::default();
        file(&mut given, text, Some("t"));
        assert_eq!(headers(&given), [""; 0]);
    }

    #[test]
    fn what_is_probably_a_mistake_is_a_warning() {
        for (text, expected) in [
            ("keep = 2\nkeep = 3", "f:2: keep stands in line 1 already: this value is used"),
            ("remote = /a\nrepository = /b", "f:2: remote stands in line 1 already: this value is used"),
            ("remot = /a", "f:1: unknown key remot; did you mean remote?"),
            ("frobnicate = 1", "f:1: unknown key frobnicate"),
            ("local = \"/a\"", "f:1: local: the quotes are part of the value: leave them out"),
            (
                "keep = 5 # five",
                "f:1: keep: what looks like a comment is part of the value: a comment stands on a line of its own",
            ),
        ] {
            assert_eq!(file(&mut RawSettings::default(), text, None), [expected]);
        }
        assert_eq!(file(&mut RawSettings::default(), "http-password = a #b\nremote = git@h:a.git#main", None), [""; 0]);
    }

    #[test]
    fn variables_near_to_ours_are_warned_of_and_others_are_not_ours() {
        let mut given = RawSettings::default();
        let warnings = environment(
            &mut given,
            &[
                ("REPO_DEPLOY_MAX_FILE", "1"),
                ("REPO_DEPLOY_PORT", "tcp://10.0.0.1:80"),
                ("REPO_DEPLOY_SERVICE_HOST", "10.0.0.1"),
                ("REPO_DEPLOY_RELEASE", "x"),
                ("REMOTE", "x"),
            ],
        );
        assert_eq!(warnings, ["unknown variable REPO_DEPLOY_MAX_FILE; did you mean REPO_DEPLOY_MAX_FILES?"]);
    }

    #[test]
    fn what_a_hook_is_told_is_no_configuration() {
        let told = [
            ("REPO_DEPLOY_ID", "x"),
            ("REPO_DEPLOY_REMOTE", "/x"),
            ("REPO_DEPLOY_KEEP", "7"),
            ("REPO_DEPLOY_PHASE", "post"),
        ];
        let mut given = RawSettings::default();
        environment(&mut given, &told);
        assert_eq!((got(&given, Name::Id), got(&given, Name::Remote)), (None, None));
        assert_eq!(got(&given, Name::Keep), some("7", "REPO_DEPLOY_KEEP"));
        let mut given = RawSettings::default();
        environment(&mut given, &told[..3]);
        assert_eq!(got(&given, Name::Id), some("x", "REPO_DEPLOY_ID"));
    }

    #[test]
    fn values_that_cannot_be_shown_are_not() {
        let mut given = RawSettings::default();
        for (name, text) in
            [(Name::HttpPassword, "hunter2"), (Name::Remote, "https://u:hunter2@h/"), (Name::HttpHeader, "hunter2")]
        {
            given.add_arguments(&[("--x".into(), name, text.into())]).unwrap();
            let error = given.all(name)[0].bad("why").to_string();
            assert_eq!(error, format!("--x: cannot use {}: why", name.key().text));
        }
        use std::os::unix::ffi::OsStringExt;
        let raw = |bytes: &[u8]| [("--local".to_owned(), Name::Local, OsString::from_vec(bytes.to_vec()))];
        let error = given.add_arguments(&raw(b"/a\xff")).unwrap_err();
        assert_eq!(error.to_string(), "--local: cannot use local = /a\u{fffd}: it is not UTF-8");
        let error = given.add_arguments(&raw(b"/a\nb")).unwrap_err();
        assert!(error.to_string().ends_with("it has a control character"), "{error}");
        given.add_arguments(&raw("ä".repeat(500).as_bytes())).unwrap();
        assert!(given.get(Name::Local).unwrap().unwrap().bad("why").to_string().chars().count() < 150);
    }
}
