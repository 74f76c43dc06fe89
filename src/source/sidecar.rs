//! Fetches the sidecar files of an archive: signature and list of sums. They use the same transport, limits and retries
//! as the archive; its credentials are only sent to its own origin. A missing sidecar file is a result, not an error.

use std::path::Path;

use url::Url;

use super::Source;
use crate::artifact::{SidecarFile, Sidecars};
use crate::config::Trust;
use crate::error::{Context, Error, Result, plain};
use crate::http::client::Client;
use crate::http::message::{Headers, whole};
use crate::http::percent_decoded;
use crate::http::retry::RetryBudget;
use crate::http::status::check_plain;
use crate::remote::Remote;
use crate::sys::clock::Deadline;
use crate::sys::resolve::{self, Way};
use crate::sys::trust::Us;

/// A minisign signature has about three hundred bytes, plus two comments.
const LARGEST_SIGNATURE: u64 = 16 << 10;
/// Enough for about ten thousand files.
const LARGEST_SUMS: u64 = 1 << 20;

impl Source {
    /// Fetches the sidecar files that `trust` requires for the archive at `remote`, as they are now.
    pub fn seal(&self, remote: &Remote, trust: &Trust, deadline: Deadline) -> Result<Sidecars> {
        let paper = |place: &Option<Remote>, largest, what| {
            let of = |place| {
                self.paper(place, largest, deadline).with_context(|| format!("cannot fetch the {what} {place}"))
            };
            place.as_ref().map(of).transpose()
        };
        Ok(Sidecars {
            archive: file_name(remote),
            signature: paper(&trust.signature, LARGEST_SIGNATURE, "signature")?,
            sums: paper(&trust.sums, LARGEST_SUMS, "list of sums")?,
        })
    }

    fn paper(&self, place: &Remote, largest: u64, deadline: Deadline) -> Result<SidecarFile> {
        let content = match (self, place) {
            (Self::File(_), Remote::File(path)) => read(path, largest),
            (Self::Http(source), Remote::Http(url)) => {
                source.client_beside(url).and_then(|client| get(&client, largest, deadline))
            }
            (Self::S3(source), Remote::S3(object)) => source.beside(object, largest, deadline),
            _ => Err(Error::config("it is not of the remote's kind")),
        };
        Ok(SidecarFile { name: place.to_string(), content: content? })
    }
}

/// The name of the archive: the last part of its path.
fn file_name(remote: &Remote) -> String {
    let last = |url: &Url| percent_decoded(url.path().rsplit('/').next().unwrap_or_default());
    match remote {
        Remote::Http(url) => String::from_utf8_lossy(&last(url)).into_owned(),
        Remote::S3(object) => object.key.rsplit('/').next().unwrap_or_default().to_owned(),
        Remote::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        Remote::Git(_) => String::new(), // no archive, and nothing lies beside it
    }
}

fn read(path: &Path, largest: u64) -> Result<Option<Vec<u8>>> {
    match resolve::read_file(path, Way::Any, Us::with(None), largest) {
        Ok((content, _)) => Ok(Some(content)),
        Err(fault) if fault.is_missing() => Ok(None),
        Err(fault) => Err(Error::refused(format!("it cannot be read: {}", plain(&fault.into())))),
    }
}

fn get(client: &Client, largest: u64, deadline: Deadline) -> Result<Option<Vec<u8>>> {
    let mut patience = RetryBudget::new(deadline);
    loop {
        let mut answer = client.get(&Headers::new(), &mut patience)?;
        match answer.status.as_u16() {
            200 => check_plain(&mut answer)?,
            404 | 410 => return Ok(None),
            _ => return Err(client.refusal(answer)),
        }
        let length = client.dialect().identity(&answer.headers).length;
        match whole(answer.body, length, largest, client.http()) {
            Ok(content) => return Ok(Some(content)),
            Err(fault) => patience.after(fault, &client.name())?,
        }
    }
}
