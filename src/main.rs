//! repo-deploy: polls a source and makes what it finds the live tree. See README.md for what it does, and `deploy/mod.rs`
//! for how one update goes.

mod activate;
mod artifact;
mod config;
mod console;
mod deploy;
mod error;
mod model;
mod package;
mod remote;
mod source;
mod store;
mod sys;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() {}
