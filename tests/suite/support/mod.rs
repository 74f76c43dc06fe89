//! What the tests stand on: a sandbox for the binary, the servers it talks to, disks whose power can be cut, and trees that can be
//! compared whole.

pub mod clock;
pub mod disk;
pub mod git_servers;
pub mod machine;
pub mod moto;
pub mod needs;
pub mod phrases;
pub mod rawzip;
pub mod running;
pub mod sandbox;
pub mod servers;
pub mod site;
pub mod tree;
pub mod walk;
pub mod write_log;
