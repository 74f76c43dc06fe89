//! `lock`: a lock of a fleet, kept in one object of S3 that is only changed on a condition. The object lists the holders;
//! a holder that dies loses its slot when its lease is over by the server's clock: that of this host is not read. Each
//! acquisition has a fencing number, larger than all before. A PUT whose answer is lost is found by the next reading.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::{Aws, Http};
use crate::error::{Context, Error, Result};
use crate::http::retry::RequestError;
use crate::model::hex;
use crate::remote::Object;
use crate::source::s3::conditional::ConditionalObject;
use crate::sys::clock::{Deadline, moment, rfc3339};
use crate::sys::{host, log};

/// The format of the object.
const FORMAT: &str = "repo-deploy lock 1";
/// The largest object: a thousand holders.
const LARGEST: u64 = 256 << 10;
/// The limit of the first wait after a lost race; it doubles.
const BASE: Duration = Duration::from_millis(100);
/// The limit of each wait.
const CAP: Duration = Duration::from_secs(5);
/// The time that release and status try.
pub(super) const SHORT: Duration = Duration::from_secs(60);

/// A lock, and the owner that acts on it.
#[derive(Debug)]
pub struct Lock {
    pub object: Object,
    pub aws: Aws,
    pub http: Http,
    pub owner: String,
}

/// The terms of an acquisition.
#[derive(Debug)]
pub struct Terms {
    /// `None`: as many as the lock has, or one.
    pub slots: Option<u64>,
    pub lease: Duration,
    pub wait: Duration,
}

/// The content of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    slots: u64,
    /// The last fencing number.
    fence: u64,
    holders: Vec<Holder>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    owner: String,
    since: u64,
    until: u64,
    fence: u64,
}

/// One step towards a change.
pub(super) enum Step {
    Done(String),
    /// Another writer was faster.
    Lost,
    /// All slots are held.
    Held(String),
}

impl Lock {
    /// Acquires a slot; returns the fencing number.
    pub fn acquire(&self, terms: &Terms) -> Result<String> {
        let seconds = terms.lease.as_secs();
        self.repeat("acquire", terms.wait, &mut |date, content| {
            let mut content = content.unwrap_or(Content { slots: 1, fence: 0, holders: Vec::new() });
            content.slots = terms.slots.unwrap_or(content.slots);
            content.holders.retain(|holder| holder.until > date && holder.owner != self.owner);
            if content.holders.len() as u64 >= content.slots {
                return Err(Step::Held(content.held()));
            }
            content.fence += 1;
            let (owner, until, fence) = (self.owner.clone(), date + seconds, content.fence);
            content.holders.push(Holder { owner, since: date, until, fence });
            let answer = fence.to_string();
            Ok((content, answer))
        })
    }

    /// Releases the owner's slot. An owner without one is no error.
    pub fn release(&self) -> Result<String> {
        self.repeat("release", SHORT, &mut |_, content| {
            let mut content = content.unwrap_or(Content { slots: 1, fence: 0, holders: Vec::new() });
            let before = content.holders.len();
            content.holders.retain(|holder| holder.owner != self.owner);
            match content.holders.len() == before {
                true => Err(Step::Done(format!("{} does not hold {}", self.owner, self.object))),
                false => Ok((content, format!("{} released {}", self.owner, self.object))),
            }
        })
    }

    /// The holders as text.
    pub fn status(&self) -> Result<String> {
        self.repeat("read", SHORT, &mut |date, content| {
            let Some(mut content) = content else {
                return Err(Step::Done("free: it was never acquired".to_owned()));
            };
            content.holders.retain(|holder| holder.until > date);
            Err(Step::Done(match content.holders.is_empty() {
                true => format!("free: 0 of {}", content.slots),
                false => content.held(),
            }))
        })
    }

    /// Reads, decides and writes until that is done, for `limit` at most.
    #[allow(clippy::type_complexity, reason = "the new content and the answer, or the step without a change")]
    fn repeat(
        &self,
        verb: &str,
        limit: Duration,
        decide: &mut dyn FnMut(u64, Option<Content>) -> Result<(Content, String), Step>,
    ) -> Result<String> {
        let name = self.object.to_string();
        let object = ConditionalObject::new(&self.object, &self.aws, &self.http);
        let mut object = object.with_context(|| format!("cannot {verb} {name}"))?;
        repeat(verb, &name, limit, &mut |deadline| step(&mut object, deadline, decide))
    }
}

/// Repeats a step until it is done, for `limit` at most.
pub(super) fn repeat(
    verb: &str,
    name: &str,
    limit: Duration,
    step: &mut dyn FnMut(Deadline) -> Result<Step, RequestError>,
) -> Result<String> {
    let what = || format!("cannot {verb} {name}");
    let deadline = Deadline::after(limit);
    let (mut races, mut told) = (0_u32, String::new());
    loop {
        let why = match step(deadline) {
            Ok(Step::Done(answer)) => return Ok(answer),
            Ok(Step::Lost) => {
                races += 1;
                "other owners were faster each time".to_owned()
            }
            Ok(Step::Held(by)) => {
                races = 4;
                by
            }
            Err(e) if e.is_transient() => {
                races = 5;
                e.error.to_string()
            }
            Err(e) => return Err(e.error).with_context(what),
        };
        let pause = BASE.saturating_mul(1 << races.min(6)).min(CAP).mul_f64(0.2 + 0.8 * random());
        if deadline.remaining() <= pause {
            return Err(Error::failed(format!("{why}; tried for {} s", limit.as_secs()))).with_context(what);
        }
        if races >= 4 && told != why {
            log::info!("waiting for {name}: {why}");
            told = why;
        }
        std::thread::sleep(pause); // a signal ends the process from its handler
    }
}

/// One reading and, if there is something to change, one conditional write.
#[allow(clippy::type_complexity, reason = "as above")]
fn step(
    object: &mut ConditionalObject,
    deadline: Deadline,
    decide: &mut dyn FnMut(u64, Option<Content>) -> Result<(Content, String), Step>,
) -> Result<Step, RequestError> {
    let reading = object.get(LARGEST, deadline)?;
    let content = reading.content.as_ref().map(|(bytes, _)| Content::parse(bytes)).transpose()?;
    let (new, answer) = match decide(reading.date, content) {
        Ok(change) => change,
        Err(step) => return Ok(step),
    };
    let etag = reading.content.as_ref().map(|(_, etag)| etag.as_str());
    Ok(if object.put(new.print().as_bytes(), etag, deadline)? { Step::Done(answer) } else { Step::Lost })
}

impl Content {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let refused = || Error::refused("the object is no lock of this format; it is not overwritten");
        let value: Value = serde_json::from_slice(bytes).map_err(|_| refused())?;
        let read = || {
            if value.get("format")?.as_str()? != FORMAT {
                return None;
            }
            let number = |value: &Value, key: &str| value.get(key)?.as_u64();
            let time = |value: &Value, key: &str| moment(value.get(key)?.as_str()?);
            let holders = value.get("holders")?.as_array()?.iter().map(|holder| {
                Some(Holder {
                    owner: holder.get("owner")?.as_str()?.to_owned(),
                    since: time(holder, "since")?,
                    until: time(holder, "until")?,
                    fence: number(holder, "fence")?,
                })
            });
            let holders = holders.collect::<Option<_>>()?;
            Some(Self { slots: number(&value, "slots")?, fence: number(&value, "fence")?, holders })
        };
        read().ok_or_else(refused)
    }

    fn print(&self) -> String {
        let holder = |h: &Holder| json!({"owner": h.owner, "since": rfc3339(h.since), "until": rfc3339(h.until), "fence": h.fence});
        let holders: Vec<Value> = self.holders.iter().map(holder).collect();
        json!({"format": FORMAT, "slots": self.slots, "fence": self.fence, "holders": holders}).to_string()
    }

    /// `held by web1 until 2026-…`.
    fn held(&self) -> String {
        let each = |h: &Holder| format!("{} until {}", h.owner.escape_debug(), rfc3339(h.until));
        let all: Vec<String> = self.holders.iter().map(each).collect();
        format!("{} of {} held, by {}", all.len(), self.slots, all.join(", "))
    }
}

/// The host's name, with a hash of its machine id where it has one.
pub fn default_owner() -> String {
    let name = host::name();
    match host::machine_id() {
        Some(id) => format!("{name}-{}", hex(&<sha2::Sha256 as sha2::Digest>::digest(&id)[..4])),
        None => name,
    }
}

/// From 0 to 1.
#[allow(clippy::cast_precision_loss, reason = "jitter needs no precision")]
fn random() -> f64 {
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_read_as_it_is_printed_and_nothing_else() {
        let holder = Holder { owner: "a\"b".to_owned(), since: 5, until: 10, fence: 7 };
        let content = Content { slots: 2, fence: 7, holders: vec![holder] };
        assert_eq!(Content::parse(content.print().as_bytes()).unwrap(), content);
        for text in ["", "{}", "[]", &content.print().replace("lock 1", "lock 2"), &content.print().replace('7', "-7")]
        {
            assert!(Content::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
