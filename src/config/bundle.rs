//! A section that names a bundle by `s3_bucket` and `target_file_key`, as deployer.py's `config.ini` does: what it says,
//! what the command line overrides in it, and where notes about it are kept. Writing is `remember`'s.

use std::path::{Path, PathBuf};

use super::file::{self, Configuration};
use super::given::Given;
use super::keys::Name;
use super::{Request, value};
use crate::error::{Error, Result};
use crate::remote::Remote;

/// Where such sections stand when nobody says: in the working directory, as deployer.py had it.
pub const FILE: &str = "config.ini";

/// What overrides a section is written back to it under these names.
const OVERRIDES: [(Name, &str); 3] =
    [(Name::S3Bucket, "s3_bucket"), (Name::TargetFileKey, "target_file_key"), (Name::AwsProfile, "profile_name")];

/// What such a section says besides its remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The file and the section that notes are kept in.
    pub file: PathBuf,
    /// `None`: before the first section.
    pub section: Option<String>,
    /// `last_fetch_time`: when the bundle that was installed last was uploaded, in seconds since 1970.
    pub fetched: Option<u64>,
    /// `installation_in_progress`.
    pub in_progress: bool,
    /// What the command line said, to be written back: keys and values.
    pub overrides: Vec<(&'static str, String)>,
}

/// What the command line overrides.
pub fn overrides(request: &Request) -> Vec<(&'static str, String)> {
    let given = |name| request.arguments.iter().rev().find(|(_, given, _)| *given == name);
    OVERRIDES
        .iter()
        .filter_map(|(name, key)| Some((*key, given(*name)?.2.to_str()?.trim().to_owned())))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// Whether the command line says all that a section needs, so that one can be made.
pub fn is_whole(request: &Request) -> bool {
    overrides(request).len() == OVERRIDES.len()
}

/// The section to make: the one that was asked for, or `Settings`, where a command line says all that it needs and it is
/// not there.
pub fn section(request: &Request, file: Option<&Configuration>) -> Option<String> {
    let wanted = match &*request.sections {
        [] => file::SETTINGS,
        [one] => one,
        _ => return None,
    };
    let is_new = is_whole(request) && wanted != file::ALL && file.is_none_or(|file| !file.has(wanted));
    is_new.then(|| wanted.to_owned())
}

/// The remote that `s3_bucket` and `target_file_key` name, unless a `remote` that stands nearer says something else.
pub fn remote(given: &Given) -> Result<Option<Remote>> {
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
    let text = format!("s3://{}/{}", bucket.text, key.text.trim_start_matches('/'));
    Remote::parse(&text).map(Some).map_err(|e| Error::config(format!("{}: {e}", bucket.origin)))
}

/// What the section says besides.
pub fn notes(given: &Given, request: &Request, file: Option<&Configuration>, section: Option<&str>) -> Result<Bundle> {
    let path = file.map_or(request.file.as_deref().unwrap_or(Path::new(FILE)), |file| Path::new(&file.name));
    let path = std::path::absolute(path).map_err(|e| Error::config(format!("{}: {e}", path.display())))?;
    Ok(Bundle {
        file: path,
        section: section.map(str::to_owned),
        fetched: given.read(Name::LastFetchTime, value::moment)?.filter(|time| *time > 0),
        in_progress: given.need(Name::InstallationInProgress, |text| {
            value::word(&text.to_lowercase(), &[("true", true), ("false", false)])
        })?,
        overrides: overrides(request),
    })
}
