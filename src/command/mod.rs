//! The commands, a file each: what a person or a script asks for, done with the engine of `deploy` or read from the store.

pub mod history;
mod inspect;
pub mod plan;
pub mod repair;
pub mod retry;
pub mod rollback;
mod scratch;
pub mod seed;
pub mod status;
pub mod validate;
pub mod verify;
