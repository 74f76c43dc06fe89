//! Releases, state and lock of one deployment. A name in `releases/` is complete and durable; unfinished files are in
//! `partial/`, which is emptied when the store is opened. A [`Store`] holds its lock; a [`StoreView`] only reads.

mod directory;
pub mod history;
mod key_value;
pub mod ledger;
mod lock;
pub mod manifest;
mod open;
mod open_dirs;
mod record;
mod releases;
pub mod state;

pub use self::directory::{Location, Recorded, Store, StoreView, check_room};
pub use self::releases::{Original, Release, Staging};
