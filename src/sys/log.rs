//! The macros of the log for this program, at every level. The crate `log` is built without the levels below a warning
//! (see Cargo.toml): what ureq and rustls say there has secrets in it, is never shown, and costs 40 KB.

use std::fmt::Arguments;

use log::Record;
use log::kv::{Error, Key, Source, Value, VisitSource};
pub use log::{Level, error, max_level, warn};

/// The facts that a record states, for programs that read it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The outcome of the check that the record ends.
    pub outcome: Option<&'a str>,
    /// The release that the record is about.
    pub release: Option<&'a str>,
    /// Its revision.
    pub revision: Option<&'a str>,
}

impl Source for Facts<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), Error> {
        let facts = [("outcome", self.outcome), ("release", self.release), ("revision", self.revision)];
        let mut known =
            facts.into_iter().filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?)));
        known.try_for_each(|(key, value)| visitor.visit_pair(Key::from(key), Value::from(value)))
    }
}

/// Writes a record of this program.
#[cold]
pub fn write(level: Level, facts: Facts<'_>, text: Arguments<'_>) {
    let target = env!("CARGO_CRATE_NAME");
    log::logger().log(&Record::builder().level(level).target(target).key_values(&facts).args(text).build());
}

/// A record of the level that is given.
macro_rules! at {
    ($level:expr, $($text:tt)+) => {
        $crate::sys::log::about!($level, $crate::sys::log::Facts::default(), $($text)+)
    };
}

/// The same with facts.
macro_rules! about {
    ($level:expr, $facts:expr, $($text:tt)+) => {
        if $level <= $crate::sys::log::max_level() {
            $crate::sys::log::write($level, $facts, format_args!($($text)+));
        }
    };
}

macro_rules! info {
    ($($text:tt)+) => { $crate::sys::log::at!($crate::sys::log::Level::Info, $($text)+) };
}

macro_rules! debug {
    ($($text:tt)+) => { $crate::sys::log::at!($crate::sys::log::Level::Debug, $($text)+) };
}

macro_rules! trace {
    ($($text:tt)+) => { $crate::sys::log::at!($crate::sys::log::Level::Trace, $($text)+) };
}

pub(crate) use {about, at, debug, info, trace};
