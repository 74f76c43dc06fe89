//! Reads parts of a remote archive: its end, its beginning and its directory, by range requests that a strong ETag pins
//! to the same bytes, into a sparse file in memory. The response to the poll already has the end.
//!
//! Other modules parse the bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ureq::http::StatusCode;
use ureq::http::header::{self, HeaderValue};

use super::client::Client;
use super::coding::is_gzip;
use super::content_range::ContentRange;
use super::download::{check_limit, superseded};
use super::message::whole;
use super::message::{Answer, Headers, Incoming};
use super::retry::RetryBudget;
use super::status::check_plain;
use super::validators::ResponseIdentity;
use crate::artifact::{HEAD, TAIL};
use crate::error::{Context, Error, Result};
use crate::sys::clock::Deadline;
use crate::sys::fs::unnamed;

/// A missing part that is larger is not read: the archive has to be fetched whole.
const LARGEST: u64 = 64 << 20;

/// The body of the response to a poll.
#[derive(Debug)]
pub enum PolledBody {
    /// The whole archive.
    Whole(Incoming),
    /// The last bytes of the archive.
    End(Incoming),
    /// The body has been taken.
    Taken,
}

impl PolledBody {
    /// The body, if it is the whole archive.
    pub fn whole(self) -> Option<Incoming> {
        match self {
            Self::Whole(body) => Some(body),
            Self::End(_) | Self::Taken => None,
        }
    }
}

/// Polls with the conditions `ask`: for the end only if nothing will be deployed or the rest may not be needed, else for
/// the whole archive.
pub fn poll(client: &Client, ask: &Headers, patience: &mut RetryBudget) -> Result<Answer> {
    // Without a condition only the content may tell whether it has changed.
    if let Some(end) = client.end().filter(|_| client.is_ahead() || !ask.is_empty()) {
        let mut ranged = ask.clone();
        ranged.extend(HeaderValue::from_str(&format!("bytes=-{end}")).ok().map(|end| (header::RANGE, end)));
        let answer = client.get(&ranged, patience)?;
        let is_usable = match answer.status {
            // An empty archive has no last bytes.
            StatusCode::RANGE_NOT_SATISFIABLE => false,
            // A check must not depend on ranges.
            StatusCode::PARTIAL_CONTENT => client.is_ahead() || is_end(&answer, client, end),
            _ => true,
        };
        if is_usable {
            return Ok(answer);
        }
    }
    client.get(ask, patience)
}

/// Whether the rest of the archive can be fetched in parts: a strong ETag identifies it, and this is its end.
fn is_end(answer: &Answer, client: &Client, end: u64) -> bool {
    let is_pinned = client.dialect().identity(&answer.headers).strong_etag().is_some();
    is_pinned && range_of_end(answer, end).is_some() && matches!(is_gzip(&answer.headers), Ok(false))
}

fn range_of_end(answer: &Answer, end: u64) -> Option<ContentRange> {
    let range = answer.header(&header::CONTENT_RANGE).and_then(ContentRange::parse);
    range.filter(|range| range.is_rest(range.total.saturating_sub(end), range.total))
}

/// Whether a response to [`poll`] has content.
pub fn is_offer(answer: &Answer, client: &Client) -> bool {
    answer.status == StatusCode::OK || client.end().is_some() && answer.status == StatusCode::PARTIAL_CONTENT
}

/// The validators and the body of such a response of `client`.
pub fn offered(
    mut answer: Answer,
    client: &Client,
    identity: ResponseIdentity,
) -> Result<(ResponseIdentity, PolledBody)> {
    check_plain(&mut answer)?;
    if answer.status == StatusCode::OK {
        return Ok((identity, PolledBody::Whole(answer.body)));
    }
    let end = client.end().unwrap_or(TAIL);
    match range_of_end(&answer, end) {
        Some(range) => Ok((identity.with_length(range.total), PolledBody::End(answer.body))),
        None => Err(Error::failed(format!("it answered the last {end} bytes with another range"))),
    }
}

/// A partial archive.
#[derive(Debug)]
pub struct PartialArchive {
    /// A file as long as the archive.
    pub file: File,
    /// The offset from which on all bytes are there.
    from: u64,
    /// The number of bytes received.
    pub bytes: u64,
    /// The length of the archive.
    pub total: u64,
}

impl PartialArchive {
    /// Reads the end and the beginning. `None` if the server supports no ranges, or there is no strong ETag.
    pub fn open(
        client: &Client,
        identity: &ResponseIdentity,
        body: &mut PolledBody,
        limit: u64,
        deadline: Deadline,
    ) -> Result<Option<Self>> {
        let Some(mut glimpse) = Self::end(client, identity, body, limit, deadline)? else { return Ok(None) };
        if glimpse.from > 0 {
            let head = (0, glimpse.from.min(HEAD));
            glimpse.read(client, identity, head, &mut RetryBudget::new(deadline))?;
        }
        Ok(Some(glimpse))
    }

    /// Reads the end only; `None` as in [`PartialArchive::open`].
    pub fn end(
        client: &Client,
        identity: &ResponseIdentity,
        body: &mut PolledBody,
        limit: u64,
        deadline: Deadline,
    ) -> Result<Option<Self>> {
        check_limit(identity.length, limit)?;
        let (Some(total), true) = (identity.length, identity.strong_etag().is_some()) else { return Ok(None) };
        if matches!(body, PolledBody::Whole(_)) {
            return Ok(None);
        }
        let PolledBody::End(end) = std::mem::replace(body, PolledBody::Taken) else { return Ok(None) };
        if end.is_gzip {
            return Ok(None);
        }
        let file =
            unnamed().and_then(|file| file.set_len(total).map(|()| file)).with_context(|| "cannot make room for it")?;
        let asked = client.end().unwrap_or(TAIL);
        let (from, mut patience) = (total.saturating_sub(asked), RetryBudget::new(deadline));
        let mut glimpse = Self { file, from, bytes: 0, total };
        match whole(end, Some(total - from), asked, client.http()) {
            Ok(bytes) => glimpse.take(&bytes, from)?,
            Err(fault) => {
                patience.after(fault, &client.name())?;
                glimpse.read(client, identity, (from, total), &mut patience)?;
            }
        }
        Ok(Some(glimpse))
    }

    /// The offset from which on all bytes are there.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// Reads backwards until all bytes from `from` on are there. False if they are too many.
    pub fn reach(
        &mut self,
        client: &Client,
        identity: &ResponseIdentity,
        from: u64,
        deadline: Deadline,
    ) -> Result<bool> {
        if from < self.from {
            if self.from - from > LARGEST {
                return Ok(false);
            }
            self.read(client, identity, (from, self.from), &mut RetryBudget::new(deadline))?;
            self.from = from;
        }
        Ok(true)
    }

    fn read(
        &mut self,
        client: &Client,
        identity: &ResponseIdentity,
        (first, end): (u64, u64),
        patience: &mut RetryBudget,
    ) -> Result<()> {
        loop {
            let body = part(client, identity, (first, end, self.total), patience)?;
            match whole(body, Some(end - first), end - first, client.http()) {
                Ok(bytes) => return self.take(&bytes, first),
                Err(fault) => patience.after(fault, &client.name())?,
            }
        }
    }

    fn take(&mut self, bytes: &[u8], at: u64) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all_at(bytes, at).with_context(|| "cannot keep it")
    }
}

/// Asks for the bytes from `first` up to `end` of an archive of `total` bytes, pinned by its strong ETag. The body may
/// still end too early.
pub(super) fn part(
    client: &Client,
    identity: &ResponseIdentity,
    (first, end, total): (u64, u64, u64),
    patience: &mut RetryBudget,
) -> Result<Incoming> {
    let mut ask = Headers::new();
    let range = format!("bytes={first}-{}", end - 1);
    for (name, value) in [(header::IF_MATCH, identity.strong_etag()), (header::RANGE, Some(range.as_str()))] {
        ask.extend(value.and_then(|value| HeaderValue::from_str(value).ok()).map(|value| (name, value)));
    }
    let mut answer = client.get_in_a_row(&ask, patience)?;
    match answer.status {
        StatusCode::PARTIAL_CONTENT => check_plain(&mut answer)?,
        StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => return Err(superseded()),
        StatusCode::OK => return Err(Error::failed("it gave a range before, and gives none now")),
        _ => return Err(client.refusal(answer)),
    }
    if ResponseIdentity::of(&answer.headers).strong_etag() != identity.strong_etag() {
        return Err(superseded());
    }
    let got = answer.header(&header::CONTENT_RANGE).and_then(ContentRange::parse);
    if got != Some(ContentRange { first, last: end - 1, total }) {
        return Err(Error::failed(format!("it answered {range} with another range")));
    }
    Ok(answer.body)
}
