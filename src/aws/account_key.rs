//! `.amazon/account-key` in the home of the user `deploy` and of this process's user: two lines, `accessKey=` and
//! `secretKey=`. Other lines are ignored. Only root, this process's user, and `deploy` for its own file may write it.

use std::path::Path;

use super::credentials::Credentials;
use super::environment::Environment;
use super::files::is_there;
use crate::error::{Context, Error, Result};
use crate::http::{secret_file, warn_once};

/// The keys of the first of both files that exists.
pub(super) fn find(env: &Environment) -> Result<Option<Credentials>> {
    let deploy = env.user("deploy").map(|user| (user.home, Some(user.ids)));
    let own = env.home().map(|home| (home, None));
    for (home, friend) in [deploy, own].into_iter().flatten() {
        let path = home.join(".amazon/account-key");
        if is_there(&path)? {
            return read(&path, friend).map(Some);
        }
    }
    Ok(None)
}

fn read(path: &Path, friend: Option<(u32, u32)>) -> Result<Credentials> {
    let (text, warning) = secret_file::read_secret_unless("account-key", path, friend)?;
    warn_once(warning.into_iter().collect());
    let what = || format!("cannot use account-key {}", path.display());
    let value = |key: &str| {
        let named = |line: &str| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        };
        text.lines().find_map(named).filter(|value| !value.is_empty())
    };
    match (value("accessKey"), value("secretKey")) {
        (Some(id), Some(secret)) => Credentials::checked(&id, &secret, None, None, path.display()).with_context(what),
        (None, _) => Err(Error::failed("it has no line accessKey=…")).with_context(what),
        (_, None) => Err(Error::failed("it has no line secretKey=…")).with_context(what),
    }
}

#[cfg(test)]
mod tests {
    use crate::aws::account_key::*;
    use crate::aws::tests::Place;

    #[test]
    fn both_files_in_order_and_each_whole() {
        let place = Place::new();
        let (home, deploy) = (place.path("home"), place.path("deploy"));
        let passwd = place.write("passwd", &format!("deploy:x:1:1::{}:/bin/sh\n", deploy.display()));
        let env = Environment::given(&[("HOME", home.to_str().unwrap())], &passwd);
        assert!(find(&env).unwrap().is_none());
        place.write("home/.amazon/account-key", "# mine\naccessKey=AK1\nsecretKey = s3cr=t/\n");
        let found = find(&env).unwrap().unwrap();
        assert_eq!((found.access_key.as_str(), found.secret_key.reveal()), ("AK1", "s3cr=t/"));
        assert!(found.whose.ends_with("home/.amazon/account-key"), "{}", found.whose);
        place.write("deploy/.amazon/account-key", "accessKey=AK2\r\nsecretKey=t\r\n");
        assert_eq!(find(&env).unwrap().unwrap().access_key, "AK2");
        // An invalid file is an error; the other file is not used.
        for (text, words) in [
            ("accessKey=AK2\n", "no line secretKey="),
            ("secretKey=hunter2\n", "no line accessKey="),
            ("accessKey=AK2\nsecretKey=\n", "no line secretKey="),
            ("accessKey=AK2\nsecretKey=hunter2 x\n", "secret key has characters"),
            ("", "no line accessKey="),
        ] {
            place.write("deploy/.amazon/account-key", text);
            let error = find(&env).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("deploy/.amazon/account-key"), "{text:?}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
