//! One update from poll to commit: read this first.

pub mod hooks;
