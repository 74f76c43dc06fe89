//! What a check came to, for those who were not there: the status file of the store, metrics, the notification, and what
//! deployer.py keeps in its configuration. Nothing here decides about the live tree, and nothing depends on it.

pub mod check_report;
pub mod config_ini;
pub mod hold;
pub mod json;
pub mod known_remote;
pub mod metrics;
pub mod notify;
pub mod status_file;
