//! The real binary in a sandbox, against real servers. A name says action, condition and outcome.

mod cli;
mod config;
mod console;
mod crash;
mod power;
mod sandbox;
