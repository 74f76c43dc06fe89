//! The real binary in a sandbox, against real servers. A name says action, condition and outcome.

mod crash;
mod deploy;
mod hooks;
mod power;
mod running;
mod sandbox;
mod signals;
