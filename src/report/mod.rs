//! Reports of a check's result: the status file of the store, metrics, the notification, and the values that
//! deployer.py keeps in its configuration. They never affect the live tree, and nothing depends on them.

pub mod check_report;
pub mod config_ini;
pub mod hold;
pub mod json;
pub mod known_remote;
pub mod metrics;
pub mod notify;
pub mod status_file;
