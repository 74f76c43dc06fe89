//! Environment variables and home directories. The whole chain reads them here, so that a test can replace them. Homes
//! come from HOME and /etc/passwd, since a static binary has no NSS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variables and users.
#[derive(Clone)]
pub(super) struct Environment {
    /// `None`: the variables of this process.
    variables: Option<BTreeMap<String, String>>,
    passwd: PathBuf,
}

/// A line of /etc/passwd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    /// User ID and group ID.
    pub(super) ids: (u32, u32),
    /// The home directory, absolute.
    pub(super) home: PathBuf,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Environment") // its values are secrets
    }
}

impl Environment {
    /// The environment of this process.
    pub(super) fn of_process() -> Self {
        Self { variables: None, passwd: PathBuf::from("/etc/passwd") }
    }

    /// A variable, trimmed; `None` if it is empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let value = match &self.variables {
            None => std::env::var(name).ok(),
            Some(variables) => variables.get(name).cloned(),
        };
        value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Whether a variable is `true`, in any case, as AWS compares it.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The home directory of this process's user.
    pub(super) fn home(&self) -> Option<PathBuf> {
        let named = self.get("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        let uid = rustix::process::geteuid().as_raw();
        named.or_else(|| self.find_user(|_, ids| ids.0 == uid).map(|user| user.home))
    }

    /// The user `name`.
    pub(super) fn user(&self, name: &str) -> Option<User> {
        self.find_user(|found, _| found == name)
    }

    fn find_user(&self, is_wanted: impl Fn(&str, (u32, u32)) -> bool) -> Option<User> {
        // Without /etc/passwd (an empty image) there are no users.
        let text = std::fs::read(&self.passwd).ok()?;
        String::from_utf8_lossy(&text).lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
            let ids = (uid.parse().ok()?, gid.parse().ok()?);
            let is_found = Path::new(home).is_absolute() && is_wanted(name, ids);
            is_found.then(|| User { ids, home: PathBuf::from(home) })
        })
    }

    /// A path in a variable; `~/` is the home directory.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        let text = self.get(name)?;
        match (text.strip_prefix("~/"), self.home()) {
            (Some(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(PathBuf::from(text)),
        }
    }

    /// An environment for tests.
    #[cfg(test)]
    pub(super) fn given(variables: &[(&str, &str)], passwd: &Path) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { variables: Some(variables), passwd: passwd.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use crate::aws::environment::*;

    #[test]
    fn homes_are_found_without_nss() {
        let dir = super::super::tests::Place::new();
        let uid = rustix::process::geteuid().as_raw();
        let text = format!(
            "# comment\nnobody:x:65534:65534::relative:/bin/false\ndeploy:x:1234:1235:A:/srv/deploy:/bin/sh\n\
             broken:x:one:1::/b:\nshort:x:1\nme:x:{uid}:0::/home/me:/bin/sh\n"
        );
        let passwd = dir.write("passwd", &text);
        let env = |variables: &[(&str, &str)]| Environment::given(variables, &passwd);
        let deploy = User { ids: (1234, 1235), home: "/srv/deploy".into() };
        assert_eq!(env(&[]).user("deploy"), Some(deploy));
        for name in ["nobody", "broken", "short", "missing", ""] {
            assert_eq!(env(&[]).user(name), None, "{name}");
        }
        assert_eq!(env(&[]).home(), Some("/home/me".into()));
        assert_eq!(env(&[("HOME", "/other")]).home(), Some("/other".into()));
        assert_eq!(env(&[("HOME", "")]).home(), Some("/home/me".into()));
        assert_eq!(env(&[("HOME", "here")]).home(), Some("/home/me".into()));
        assert_eq!(Environment::given(&[], Path::new("/missing")).home(), None);
        assert_eq!(env(&[("F", "~/x"), ("HOME", "/h")]).path("F"), Some("/h/x".into()));
    }
}
