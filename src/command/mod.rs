//! The commands, one file each: they use the engine of `deploy`, or read the store.

pub mod fleet_lock;
pub mod history;
mod inspect;
pub mod lock;
pub mod plan;
pub mod probe;
pub mod repair;
pub mod retry;
pub mod rollback;
mod scratch;
pub mod seed;
pub mod signal;
pub mod status;
pub mod validate;
pub mod verify;
