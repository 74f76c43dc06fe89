//! The operating system: the only place for `unsafe` and libc. Functions return `io::Result`; the caller adds the
//! sentence around an error.

pub mod acl;
mod alarm;
pub mod clock;
pub mod created;
mod disposition;
pub mod durable;
pub mod event_wait;
mod file;
pub mod fs;
pub mod host;
pub mod lock;
pub mod log;
pub mod memory;
mod meta;
pub mod mounts;
pub mod notify;
pub mod process;
pub mod processes;
pub mod resolve;
pub mod signal;
pub mod socket;
pub mod sort;
pub mod stderr;
pub mod sync_ahead;
pub mod trust;
#[cfg(all(target_env = "musl", panic = "abort"))]
mod unwind;
pub mod worker;
pub mod xattr;
