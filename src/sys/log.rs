//! The macros of the log for this program, at every level. The crate `log` is built without the levels below a warning
//! (see Cargo.toml): what ureq and rustls say there has secrets in it, is never shown, and costs 40 KB.

use std::fmt::Arguments;

use log::Record;
pub use log::{Level, error, max_level, warn};

/// Writes a record of this program.
#[cold]
pub fn write(level: Level, text: Arguments<'_>) {
    log::logger().log(&Record::builder().level(level).target(env!("CARGO_CRATE_NAME")).args(text).build());
}

/// A record of the level that is given.
macro_rules! at {
    ($level:expr, $($text:tt)+) => {
        if $level <= $crate::sys::log::max_level() {
            $crate::sys::log::write($level, format_args!($($text)+));
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

pub(crate) use {at, debug, info, trace};
