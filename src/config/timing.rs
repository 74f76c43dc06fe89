//! The schedule of a deployment, unparsed. Only commands that use it parse it: `-f` does not, and must not fail for a
//! zone that this machine lacks.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::time::Duration;

use super::layers::{Value, Warning};
use crate::error::Result;
use crate::schedule::zone::load;
use crate::schedule::{Schedule, Seed};
use crate::sys;

/// The values of `schedule` and `splay`, their deployment, and the zone of the environment.
#[derive(Clone)]
pub struct Timing {
    /// The deployment: `id`.
    pub id: String,
    value: Value,
    splay: Duration,
    zone: Option<OsString>,
}

impl Timing {
    /// The given values for the deployment `id`.
    pub fn new(id: String, value: Value, splay: Duration, environment: &[(OsString, OsString)]) -> Self {
        let zone = environment.iter().find(|(name, _)| name == "TZ").map(|(_, zone)| zone.clone());
        Self { id, value, splay, zone }
    }

    /// A remark on a value that can be used.
    pub fn remark(&self, why: &str) -> Warning {
        let text = format!("{}: {why}", self.value.key.text);
        Warning { origin: Some(self.value.origin.clone()), text, is_unknown_key: false }
    }

    /// Parses the expression and its zone.
    pub fn schedule(&self) -> Result<Schedule> {
        let seed = Seed::new(&sys::host::identity(), &self.id);
        let parsed = Schedule::parse(&self.value.text, &seed, |named| {
            load::zone(named, self.zone.as_deref().and_then(OsStr::to_str))
        });
        Ok(parsed.map_err(|why| self.value.bad(why))?.with_splay(self.splay, &seed))
    }
}

impl fmt::Debug for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value.text)
    }
}
