//! A section that names a bundle by `s3_bucket` and `target_file_key`, as in the `config.ini` of deployer.py: its
//! values, their overrides on the command line, and the place of its state. `write_back` writes it.

use std::path::Path;

use super::file::{self, Configuration};
use super::keys::Name;
use super::layers::RawSettings;
use super::request::Request;
use super::settings::{Bundle, Settings};
use super::value;
use crate::error::{Error, Result, plain};
use crate::remote::Remote;

/// The default log of such a section, in the working directory.
pub const LOG: &str = "codeploy.log";

/// The options that override a section are written back to it under these names.
const OVERRIDES: [(Name, &str); 3] =
    [(Name::S3Bucket, "s3_bucket"), (Name::TargetFileKey, "target_file_key"), (Name::AwsProfile, "profile_name")];

/// The overrides on the command line.
pub fn overrides(request: &Request) -> Vec<(&'static str, String)> {
    let given = |name| request.arguments.iter().rev().find(|(_, given, _)| *given == name);
    OVERRIDES
        .iter()
        .filter_map(|(name, key)| Some((*key, given(*name)?.2.to_str()?.trim().to_owned())))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// Whether the command line alone can make a section.
pub fn is_whole(request: &Request) -> bool {
    overrides(request).len() == OVERRIDES.len()
}

/// Refuses overrides with several sections: they are written back to one.
pub fn refuse_overrides(request: &Request, sections: &[Settings]) -> Result<()> {
    if sections.len() < 2 || sections.iter().all(|section| section.bundle.is_none()) {
        return Ok(());
    }
    let names = OVERRIDES.map(|(name, _)| name);
    match request.arguments.iter().find(|(_, name, _)| names.contains(name)) {
        None => Ok(()),
        Some((option, ..)) => Err(Error::config(format!(
            "cannot use {option} with several sections: it overrides one, which --config-section NAME names"
        ))),
    }
}

/// The section to create: the selected one, or `Settings`, if it does not exist and the command line gives all its
/// values.
pub fn section(request: &Request, file: Option<&Configuration>) -> Option<String> {
    let wanted = match &*request.sections {
        [] => file::SETTINGS,
        [one] => one,
        _ => return None,
    };
    let is_new = is_whole(request) && wanted != file::ALL && file.is_none_or(|file| !file.has(wanted));
    is_new.then(|| wanted.to_owned())
}

/// The remote of `s3_bucket` and `target_file_key`, unless a different `remote` takes precedence.
pub fn remote(given: &RawSettings) -> Result<Option<Remote>> {
    if !given.knows(&[Name::S3Bucket, Name::TargetFileKey, Name::Remote]) {
        return Ok(None); // it is unknown which of them would be used
    }
    let (bucket, key) = (given.get(Name::S3Bucket)?, given.get(Name::TargetFileKey)?);
    let (bucket, key) = match (bucket, key) {
        (None, None) => return Ok(None),
        (Some(bucket), None) => return Err(bucket.bad("there is no target_file_key that it belongs to")),
        (None, Some(key)) => return Err(key.bad("there is no s3_bucket that it belongs to")),
        (Some(bucket), Some(key)) => (bucket, key),
    };
    if let Some(remote) = given.get(Name::Remote)? {
        if remote.is_nearer_than(&bucket) && remote.is_nearer_than(&key) {
            return Ok(None);
        }
        if !bucket.is_nearer_than(&remote) && !key.is_nearer_than(&remote) {
            return Err(bucket.bad("there is a remote too: keep one of them"));
        }
    }
    if bucket.text.contains('/') {
        return Err(bucket.bad("it takes the name of a bucket; what is in it is target_file_key"));
    }
    let text = format!("s3://{}/{}", bucket.text, key.text.trim_start_matches('/'));
    Remote::parse(&text).map(Some).map_err(|e| Error::value(&bucket.origin, e))
}

/// The values of the section besides its remote.
pub fn notes(
    given: &RawSettings,
    request: &Request,
    file: Option<&Configuration>,
    section: Option<&str>,
) -> Result<Bundle> {
    let new = || is_whole(request).then(|| request.file.as_deref().unwrap_or(Path::new(file::HERE)));
    let path = file.map(|file| Path::new(&file.name)).or_else(new);
    let whole = |path: &Path| {
        std::path::absolute(path).map_err(|e| Error::config(format!("{}: {}", path.display(), plain(&e))))
    };
    Ok(Bundle {
        file: path.map(whole).transpose()?,
        section: section.map(str::to_owned),
        fetched: given.read(Name::LastFetchTime, value::moment)?.filter(|time| *time > 0),
        in_progress: given.need(Name::InstallationInProgress, |text| {
            value::word(&text.to_lowercase(), &[("true", true), ("false", false)])
        })?,
        is_log_usual: !given.is_given(Name::LogFile),
        overrides: overrides(request),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::write_back;

    /// The sections of the old page, unchanged.
    const OLD: &str = "[Settings]\ns3_bucket = codedeploy-202107\ntarget_file_key = business-services-test.zip\n\
        profile_name = 1tiklahost\nlast_fetch_time = 2023-07-30 19:41:09+0000\ninstallation_in_progress = false\n\n\
        [Production]\ns3_bucket = codedeploy-prod-202107\ntarget_file_key = business-services-prod.zip\n\
        profile_name = production-profile\nlast_fetch_time = 1970-01-01 00:00:00+0000\ninstallation_in_progress = True\n";

    fn request(dir: &Path, section: Option<&str>, options: &[(Name, &str)]) -> Request {
        Request {
            file: Some(dir.join(file::HERE)),
            sections: section.into_iter().map(str::to_owned).collect(),
            arguments: options.iter().map(|(n, v)| (format!("--{}", n.key().text), *n, (*v).into())).collect(),
        }
    }

    fn load(request: &Request, warnings: &mut Vec<String>) -> Result<Settings> {
        Ok(crate::config::load(request, &[], warnings, None)?.remove(0))
    }

    fn in_scratch(content: Option<&str>, test: impl Fn(&Path)) {
        let dir = std::env::temp_dir().join(crate::sys::fs::unique_name("bundle-").unwrap());
        std::fs::create_dir(&dir).unwrap();
        if let Some(content) = content {
            std::fs::write(dir.join(file::HERE), content).unwrap();
        }
        test(&std::fs::canonicalize(&dir).unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_old_page_is_read_as_it_stands() {
        in_scratch(Some(OLD), |dir| {
            let mut warnings = Vec::new();
            let settings = load(&request(dir, None, &[]), &mut warnings).unwrap();
            assert_eq!(settings.remote.to_string(), "s3://codedeploy-202107/business-services-test.zip");
            assert_eq!((settings.id.as_str(), settings.aws.profile.as_deref()), ("Settings", Some("1tiklahost")));
            let bundle = settings.bundle.unwrap();
            assert_eq!((bundle.fetched, bundle.in_progress), (Some(1_690_746_069), false));
            assert_eq!((bundle.file, bundle.section.as_deref()), (Some(dir.join(file::HERE)), Some("Settings")));
            let settings = load(&request(dir, Some("Production"), &[]), &mut warnings).unwrap();
            assert_eq!(settings.remote.to_string(), "s3://codedeploy-prod-202107/business-services-prod.zip");
            let bundle = settings.bundle.unwrap();
            assert_eq!((bundle.fetched, bundle.in_progress, bundle.overrides), (None, true, vec![]));
            assert_eq!(warnings, [""; 0]);
        });
    }

    #[test]
    fn options_override_a_section_and_are_to_be_written_back() {
        in_scratch(Some(OLD), |dir| {
            let asked = request(dir, Some("Production"), &[(Name::S3Bucket, "mine"), (Name::AwsProfile, "me")]);
            let settings = load(&asked, &mut Vec::new()).unwrap();
            assert_eq!(settings.remote.to_string(), "s3://mine/business-services-prod.zip");
            let bundle = settings.bundle.unwrap();
            let expected = [("s3_bucket", "mine".to_owned()), ("profile_name", "me".to_owned())];
            assert_eq!(bundle.overrides, expected);
            let values: Vec<_> = bundle.overrides.iter().map(|(k, v)| (*k, v.as_str())).collect();
            assert!(write_back::remember(&bundle.file.unwrap(), bundle.section.as_deref(), &values).unwrap());
            let read = std::fs::read_to_string(dir.join(file::HERE)).unwrap();
            let new = OLD.replace("codedeploy-prod-202107", "mine").replace("production-profile", "me");
            assert_eq!(read, new);
        });
    }

    #[test]
    fn a_section_that_is_not_there_can_be_made_from_all_three() {
        const ALL: &[(Name, &str)] = &[(Name::S3Bucket, "b"), (Name::TargetFileKey, "/k.zip"), (Name::AwsProfile, "p")];
        for (content, wanted, section) in [
            (None, None, "Settings"),
            (None, Some("New"), "New"),
            (Some("# mine\n"), None, "Settings"),
            (Some(OLD), Some("New"), "New"),
        ] {
            in_scratch(content, |dir| {
                let settings = load(&request(dir, wanted, ALL), &mut Vec::new()).unwrap();
                assert_eq!(settings.remote.to_string(), "s3://b/k.zip");
                assert_eq!(settings.bundle.unwrap().section.as_deref(), Some(section));
            });
        }
        for content in [None, Some("# mine\n")] {
            in_scratch(content, |dir| {
                let error = load(&request(dir, Some("New"), &ALL[..2]), &mut Vec::new()).unwrap_err();
                assert_eq!(error.exit_code(), 78, "{error}");
            });
        }
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        for (content, expected) in [
            ("s3_bucket = b\n", ":1: cannot use s3-bucket = b: there is no target_file_key that it belongs to"),
            ("target-key-file = k\n", ":1: cannot use target-file-key = k: there is no s3_bucket"),
            (
                "remote = /r\ns3_bucket = b\ntarget_file_key = k\n",
                ":2: cannot use s3-bucket = b: there is a remote too",
            ),
            ("s3_bucket = B/\ntarget_file_key = k\n", ":1: cannot use s3-bucket = B/: it takes the name of a bucket"),
            (
                "s3_bucket = b\ntarget_file_key = k\nlast_fetch_time = once\n",
                ":3: cannot use last-fetch-time = once: it",
            ),
            ("s3_bucket = b\ntarget_file_key = k\ninstallation_in_progress = 1\n", ":3: cannot use installation-in-"),
        ] {
            in_scratch(Some(content), |dir| {
                let error = load(&request(dir, None, &[]), &mut Vec::new()).unwrap_err().to_string();
                assert!(error.contains(expected), "{error}");
            });
        }
        // A remote that takes precedence is used, and then nothing is kept in the file.
        in_scratch(Some("[Settings]\ns3_bucket = b\ntarget_file_key = k\n"), |dir| {
            let settings = load(&request(dir, None, &[(Name::Remote, "/r")]), &mut Vec::new()).unwrap();
            assert_eq!((settings.remote.to_string().as_str(), settings.bundle), ("/r", None));
        });
    }
}
