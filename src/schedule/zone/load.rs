//! Loads zones: from files of the system, the text of TZ, /etc/localtime. A zone that cannot be loaded is an error that
//! says how to give one, never UTC without a message.

use std::fs::File;
use std::io::{ErrorKind, Read};

use super::rule::Rule;
use super::{Zone, file};
use crate::error::plain;
use crate::schedule::field::Why;

/// The directories of zone files.
const DIRECTORIES: [&str; 3] = ["/usr/share/zoneinfo", "/share/zoneinfo", "/etc/zoneinfo"];

/// The default zone of this machine.
const LOCAL: &str = "/etc/localtime";

/// The largest file that is read; those of 2026 have 4 KB.
const LARGEST: u64 = 1 << 20;

/// The zone of the expression (`CRON_TZ`), else of the environment (`TZ`), else of this machine; UTC if it has none.
pub fn zone(named: Option<&str>, environment: Option<&str>) -> Result<Zone, Why> {
    let (name, of, variable, loaded) = match (named, environment) {
        (Some(name), _) => (name, " of CRON_TZ", "CRON_TZ", find(name)),
        (None, Some(name)) => (name, " of TZ", "TZ", find(name)),
        (None, None) => ("of this machine", "", "TZ", local()),
    };
    loaded.map_err(|why| {
        format!(
            "cannot load the time zone {name}{of}: {why}: give one by name with tzdata installed ({variable}=Europe/Berlin), \
             or by its rule ({variable}=CET-1CEST,M3.5.0,M10.5.0/3)"
        )
    })
}

/// The zone of /etc/localtime. A link there that leads nowhere still names a zone.
fn local() -> Result<Zone, Why> {
    if let Some(zone) = read(LOCAL)? {
        return Ok(zone);
    }
    let target = std::fs::read_link(LOCAL).map(|target| target.to_string_lossy().into_owned()).unwrap_or_default();
    let name = target.rsplit_once("zoneinfo/").map_or(&*target, |(_, name)| name);
    match is_utc(name) {
        true => Ok(Zone::default()),
        false => Err(format!("{LOCAL} leads to {target}, which is not there")),
    }
}

/// Names that need no file.
fn is_utc(name: &str) -> bool {
    matches!(name.strip_prefix("Etc/").unwrap_or(name), "" | "UTC" | "GMT")
}

fn find(name: &str) -> Result<Zone, Why> {
    let name = name.strip_prefix(':').unwrap_or(name);
    if name.starts_with('/') {
        return read(name)?.ok_or_else(|| format!("there is no {name}"));
    }
    let is_safe = name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    for directory in DIRECTORIES.iter().filter(|_| is_safe) {
        if let Some(zone) = read(&format!("{directory}/{name}"))? {
            return Ok(zone);
        }
    }
    match Rule::parse(name) {
        Some(rule) => Ok(Zone { rule: Some(rule), ..Zone::default() }),
        None if is_utc(name) => Ok(Zone::default()),
        None => Err(format!("it is no file in {} and no rule", DIRECTORIES.join(", "))),
    }
}

/// The zone in a file; `None`: there is no such file.
fn read(path: &str) -> Result<Option<Zone>, Why> {
    // Checked before opening: opening a FIFO would wait for a writer.
    let opened =
        std::fs::metadata(path).and_then(|meta| if meta.is_file() { File::open(path).map(Some) } else { Ok(None) });
    let file = match opened {
        Ok(Some(file)) => file,
        Ok(None) => return Err(format!("{path}: it is no regular file")),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(format!("{path}: {}", plain(&e))),
    };
    let mut content = Vec::new();
    file.take(LARGEST).read_to_end(&mut content).map_err(|e| format!("{path}: {}", plain(&e)))?;
    file::parse(&content).map(Some).map_err(|why| format!("{path}: {why}"))
}
