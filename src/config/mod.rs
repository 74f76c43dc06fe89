//! Settings: the configuration of a deployment, every value checked once and for all. Precedence: argument, file,
//! environment, default. No value is guessed: one that cannot be used is an error with its place and a right value.

pub mod apart;
mod build;
mod bundle;
mod file;
pub mod keys;
pub mod layers;
mod list;
pub mod owner;
mod paths;
mod request;
mod secret;
mod seen;
mod settings;
mod standard_dirs;
pub mod suggest;
mod syntax;
mod timing;
mod trust;
pub mod validate;
mod value;
pub mod write_back;

use std::ffi::OsString;

use self::layers::RawSettings;
pub use self::list::list;
pub use self::request::Request;
pub use self::secret::Secret;
pub use self::settings::{Aws, Bundle, DEFAULT_ID, Http, Settings};
pub use self::timing::Timing;
pub use self::trust::{KeyId, PublicKey, Trust};
use crate::error::Result;

/// Reads the file and the environment, and checks everything: one deployment for each selected section. `warnings`
/// receives remarks, whether or not loading succeeds.
///
/// `recall` is asked for a remote that is not given, if the command can use a remembered one; the settings passed to it
/// hold a placeholder for the remote.
pub fn load(
    request: &Request,
    environment: &[(OsString, OsString)],
    warnings: &mut Vec<String>,
    recall: Option<Recall<'_>>,
) -> Result<Vec<Settings>> {
    let mut all = Vec::new();
    let file = each(request, environment, warnings, &mut |given, section, file| {
        let remembered = recall.map(|recall| remembered(given, section, file, environment, recall)).transpose()?;
        let given = remembered.as_ref().and_then(Option::as_ref).unwrap_or(given);
        let mut settings = build::settings(given, section, file, environment)?; // its error names the sections itself
        if bundle::remote(given)?.is_some() {
            settings.bundle = Some(bundle::notes(given, request, file, section)?);
        }
        all.push(settings);
        Ok(())
    })?;
    let others = file.map_or_else(Vec::new, |file| others(&file, environment, &all));
    build::keep_each_other_apart(&all.iter().chain(&others).collect::<Vec<_>>(), all.len())?;
    bundle::refuse_overrides(request, &all)?;
    Ok(all)
}

/// Returns the remembered remote of a deployment.
pub type Recall<'a> = &'a dyn Fn(&Settings) -> Result<Option<String>>;

/// The given values and the remembered remote; `None`: a remote is given, or none is remembered.
fn remembered(
    given: &RawSettings,
    section: Option<&str>,
    file: Option<&file::Configuration>,
    environment: &[(OsString, OsString)],
    recall: Recall<'_>,
) -> Result<Option<RawSettings>> {
    let mut without = given.clone();
    if given.is_given(keys::Name::S3Bucket) || !without.do_without(keys::Name::Remote) {
        return Ok(None);
    }
    let Some(remote) = recall(&build::settings(&without, section, file, environment)?)? else { return Ok(None) };
    let mut with = given.clone();
    with.remember(keys::Name::Remote, remote);
    Ok(Some(with))
}

/// The other deployments of the file, which do not run now, as far as they can be read.
fn others(file: &file::Configuration, environment: &[(OsString, OsString)], running: &[Settings]) -> Vec<Settings> {
    let read = |section: &String| {
        let (mut given, mut unsaid) = (RawSettings::default(), Vec::new());
        given.add_file(&file.name, &file.doc, Some(section), &mut unsaid);
        given.add_environment(environment, &mut unsaid).ok()?;
        build::settings(&given, Some(section), Some(file), environment).ok()
    };
    let all = file.doc.sections().iter().filter_map(read);
    all.filter(|one| running.iter().all(|running| running.id != one.id)).collect()
}

/// Only the schedules of the deployments: a command that asks for nothing else does not need a remote.
pub fn timings(
    request: &Request,
    environment: &[(OsString, OsString)],
    warnings: &mut Vec<String>,
) -> Result<Vec<Timing>> {
    let mut all = Vec::new();
    each(request, environment, warnings, &mut |given, section, _| {
        all.push(build::timing(given, section, environment)?);
        Ok(())
    })?;
    Ok(all)
}

/// Processes the values of a section.
type Make<'a> = &'a mut dyn FnMut(&RawSettings, Option<&str>, Option<&file::Configuration>) -> Result<()>;

/// Calls `make` with the values of each selected section. Returns the file that has them, if there is one.
fn each(
    request: &Request,
    environment: &[(OsString, OsString)],
    warnings: &mut Vec<String>,
    make: Make<'_>,
) -> Result<Option<file::Configuration>> {
    let file = match file::read(request.file.as_deref()) {
        Err(_) if bundle::is_whole(request) && request.file.as_deref().is_some_and(file::is_missing) => None,
        read => read?,
    };
    let made = bundle::section(request, file.as_ref());
    let sections = match &file {
        _ if made.is_some() => vec![made.as_deref()],
        Some(file) => file.choose(&request.sections)?,
        None => file::no_section(&request.sections)?,
    };
    warnings.extend(file.as_ref().and_then(file::Configuration::exposed_secrets));
    for section in sections {
        let (mut given, mut said) = (RawSettings::default(), Vec::new());
        given.add_arguments(&request.arguments)?;
        if let Some(file) = &file {
            given.add_file(&file.name, &file.doc, section, &mut said);
        }
        let made = given.add_environment(environment, &mut said).and_then(|()| make(&given, section, file.as_ref()));
        let mut said: Vec<String> = said.into_iter().map(layers::Warning::into_text).collect();
        if made.is_ok() {
            said.extend(file.as_ref().filter(|_| section.is_none()).and_then(|file| file.unused_sections()));
        }
        said.retain(|warning| !warnings.contains(warning)); // a warning about all sections is given once
        warnings.extend(said);
        made?;
    }
    Ok(file)
}

/// Parses the URL of an S3 endpoint, as for `s3-endpoint`; the error names a right value.
pub fn endpoint(text: &str) -> Result<url::Url, String> {
    value::endpoint(text)
}

/// Parses a time, as for keys, `90s`; the error names a right value.
pub fn time(text: &str, most: std::time::Duration) -> Result<std::time::Duration, String> {
    value::time(text, most)
}

/// Parses a whole number, as for keys; the error names a right value.
pub fn number(text: &str, least: u64, most: u64) -> Result<u64, String> {
    value::number(text, least, most)
}

/// Whether a text can be the name of a region.
pub fn is_region(text: &str) -> bool {
    value::region(text).is_ok()
}
