//! repo-deploy: polls a source and makes what it finds the live tree. See README.md for what it does, and `deploy/mod.rs`
//! for how one update goes.

mod activate;
mod appspec;
mod artifact;
mod aws;
mod cli;
mod command;
mod config;
mod console;
mod daemon;
mod deploy;
mod error;
mod http;
mod model;
mod outcome;
mod package;
mod remote;
mod report;
mod schedule;
mod source;
mod store;
mod sys;

use std::process::ExitCode;

#[global_allocator]
static HEAP: sys::memory::Heap = sys::memory::Heap::new();

fn main() -> ExitCode {
    console::init(0, None);
    let code = cli::main();
    console::flush();
    code
}
