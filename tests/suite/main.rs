//! The real binary in a sandbox, against real servers. A name says action, condition and outcome.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests may say what they mean, helpers too"
)]

mod account_key;
mod again;
mod agent;
mod answers;
mod appspecs;
mod archives;
mod aws;
mod blocks;
mod canary;
mod changed;
mod cli;
mod clocks;
mod compose;
mod config;
mod console;
mod containers;
mod core;
mod counts;
mod crash;
mod delta;
mod demo;
mod deploy;
mod dist;
mod dockerfiles;
mod durable;
mod endpoints;
mod fleet_lock;
mod git;
mod git_hostile;
mod history;
mod hooks;
mod house;
mod http;
mod imds;
mod ini;
mod inplace;
mod install;
mod lifecycle;
mod live_dir;
mod local_users;
mod machine;
mod manifests;
mod memory;
mod notices;
mod notify;
mod opened;
mod output;
mod packaging;
mod pages;
mod plan;
mod planted;
mod power;
mod private;
mod probe;
mod racing;
mod recipes;
mod renewal;
mod rollback;
mod s3;
mod schedule;
mod scripts;
mod seed;
mod signal_command;
mod signals;
mod stamps;
mod support;
mod trust;
mod unread;
mod validate;
mod verify;
