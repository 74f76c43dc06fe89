//! What the tests stand on: a sandbox for the binary, the servers it talks to, the containers it runs in, disks whose power can be cut,
//! and trees that can be compared whole.

pub mod alone;
pub mod clock;
pub mod container;
pub mod disk;
pub mod dockerfile;
pub mod git_servers;
pub mod image;
pub mod kubelet;
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
pub mod world;
pub mod write_log;
