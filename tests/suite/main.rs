//! The real binary in a sandbox, against real servers. A name says action, condition and outcome.

mod crash;
mod http;
mod power;
mod sandbox;
mod servers;
