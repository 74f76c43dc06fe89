//! `--list-configs`: every section of the file with its remote and destination. A section that cannot be used is listed
//! with its error, so that the operator can find it.

use std::ffi::OsString;

use super::layers::RawSettings;
use super::request::Request;
use super::{build, file};
use crate::error::{Error, Result};

/// A line for each section: its name, its remote, its `local`.
pub fn list(request: &Request, environment: &[(OsString, OsString)]) -> Result<String> {
    let file = file::read(request.file.as_deref())?;
    let Some(file) = file else {
        return Err(Error::config(format!(
            "cannot list the sections: there is no file {}, and no {} here: -c names one",
            file::DEFAULT,
            file::HERE
        )));
    };
    let mut sections: Vec<Option<&str>> = file.doc.sections().iter().map(|section| Some(section.as_str())).collect();
    if sections.is_empty() {
        sections.push(None);
    }
    let rows =
        sections.into_iter().map(|section| row(request, environment, &file, section)).collect::<Result<Vec<_>>>()?;
    let width = |column: fn(&[String; 3]) -> &String| rows.iter().map(|r| column(r).chars().count()).max().unwrap_or(0);
    let (first, second) = (width(|r| &r[0]), width(|r| &r[1]));
    let line = |[name, remote, local]: &[String; 3]| {
        format!("{name:first$}  {remote:second$}  {local}").trim_end().to_owned() + "\n"
    };
    Ok(rows.iter().map(line).collect())
}

fn row(
    request: &Request,
    environment: &[(OsString, OsString)],
    file: &file::Configuration,
    section: Option<&str>,
) -> Result<[String; 3]> {
    let mut given = RawSettings::default();
    given.add_arguments(&request.arguments)?;
    let mut passed_over = Vec::new(); // warnings are shown when the section runs
    given.add_file(&file.name, &file.doc, section, &mut passed_over);
    given.add_environment(environment, &mut passed_over)?;
    let name = section.unwrap_or("default").to_owned();
    Ok(match build::settings(&given, section, Some(file), environment) {
        Ok(settings) if settings.is_installed() => {
            [name, settings.remote.to_string(), "where its appspec.yml says".to_owned()]
        }
        Ok(settings) => [name, settings.remote.to_string(), settings.local.display().to_string()],
        Err(e) => [name, format!("error: {e}"), String::new()],
    })
}
