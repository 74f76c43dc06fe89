//! A glimpse of a remote archive: its end, its beginning and its directory, by ranges that a strong ETag pins to the same
//! bytes, in a file in memory that is holes everywhere else. The end comes with the answer to the poll.
//!
//! Left to others: what those bytes mean.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ureq::http::StatusCode;
use ureq::http::header::{self, HeaderValue};

use super::client::Client;
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

/// A directory that is larger is fetched with all the rest.
const LARGEST: u64 = 64 << 20;

/// The body of the answer to a poll.
#[derive(Debug)]
pub enum PolledBody {
    /// Everything.
    Whole(Incoming),
    /// The last bytes.
    End(Incoming),
    /// Nothing any more.
    Taken,
}

impl PolledBody {
    /// All of it, if it is that.
    pub fn whole(self) -> Option<Incoming> {
        match self {
            Self::Whole(body) => Some(body),
            Self::End(_) | Self::Taken => None,
        }
    }
}

/// Asks on the conditions `ask`: for everything, or for the end alone where the client looks ahead.
pub fn poll(client: &Client, ask: &Headers, patience: &mut RetryBudget) -> Result<Answer> {
    if client.is_ahead() {
        let mut ranged = ask.clone();
        let end = HeaderValue::from_str(&format!("bytes=-{TAIL}"));
        ranged.extend(end.ok().map(|end| (header::RANGE, end)));
        let answer = client.get(&ranged, patience)?;
        // There are no last bytes of nothing.
        if answer.status != StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(answer);
        }
    }
    client.get(ask, patience)
}

/// Whether an answer to [`poll`] offers something.
pub fn is_offer(answer: &Answer, client: &Client) -> bool {
    answer.status == StatusCode::OK || client.is_ahead() && answer.status == StatusCode::PARTIAL_CONTENT
}

/// What such an answer offers, and what it is.
pub fn offered(mut answer: Answer, identity: ResponseIdentity) -> Result<(ResponseIdentity, PolledBody)> {
    check_plain(&mut answer)?;
    if answer.status == StatusCode::OK {
        return Ok((identity, PolledBody::Whole(answer.body)));
    }
    let range = answer.header(&header::CONTENT_RANGE).and_then(ContentRange::parse);
    match range.filter(|range| range.is_rest(range.total.saturating_sub(TAIL), range.total)) {
        Some(range) => Ok((identity.with_length(range.total), PolledBody::End(answer.body))),
        None => Err(Error::failed(format!("it answered the last {TAIL} bytes with another range"))),
    }
}

/// Some of an archive.
#[derive(Debug)]
pub struct PartialArchive {
    /// As long as the archive.
    pub file: File,
    /// From here on everything is there.
    from: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes of all of it.
    pub total: u64,
}

impl PartialArchive {
    /// The beginning and the end of what was offered. `None`: the server gives no ranges, or nothing pins them.
    pub fn open(
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
        let (from, mut patience) = (total.saturating_sub(TAIL), RetryBudget::new(deadline));
        let mut glimpse = Self { file, from, bytes: 0, total };
        match whole(end, Some(total - from), TAIL, client.http()) {
            Ok(bytes) => glimpse.take(&bytes, from)?,
            Err(fault) => {
                patience.after(fault, &client.name())?;
                glimpse.read(client, identity, (from, total), &mut patience)?;
            }
        }
        if from > 0 {
            glimpse.read(client, identity, (0, from.min(HEAD)), &mut patience)?;
        }
        Ok(Some(glimpse))
    }

    /// Reads on to the front until all from `from` on is there. False: that is too much.
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
        let mut ask = Headers::new();
        let range = format!("bytes={first}-{}", end - 1);
        for (name, value) in [(header::IF_MATCH, identity.strong_etag()), (header::RANGE, Some(range.as_str()))] {
            ask.extend(value.and_then(|value| HeaderValue::from_str(value).ok()).map(|value| (name, value)));
        }
        loop {
            let mut answer = client.get(&ask, patience)?;
            match answer.status {
                StatusCode::PARTIAL_CONTENT => check_plain(&mut answer)?,
                StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => return Err(superseded()),
                StatusCode::OK => return Err(Error::failed("it gave a range before, and gives none now")),
                _ => return Err(client.dialect().refusal(answer, client)),
            }
            if ResponseIdentity::of(&answer.headers).strong_etag() != identity.strong_etag() {
                return Err(superseded());
            }
            let got = answer.header(&header::CONTENT_RANGE).and_then(ContentRange::parse);
            if got != Some(ContentRange { first, last: end - 1, total: self.total }) {
                return Err(Error::failed(format!("it answered {range} with another range")));
            }
            match whole(answer.body, Some(end - first), end - first, client.http()) {
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
