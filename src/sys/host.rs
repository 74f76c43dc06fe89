//! The name of this machine, its id, and its current boot.

use std::ffi::CStr;

/// The host's name; empty when it has none.
pub fn name() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the buffer is longer than the given length; its last byte stays zero, so the name ends.
    let done = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    match CStr::from_bytes_until_nul(&name) {
        Ok(name) if done == 0 => name.to_string_lossy().into_owned(),
        _ => String::new(),
    }
}

/// The content of /etc/machine-id (machine-id(5)); `None`: this machine has none.
pub fn machine_id() -> Option<Vec<u8>> {
    std::fs::read("/etc/machine-id").ok().filter(|id| !id.is_empty())
}

/// A text that differs between the hosts of a fleet: the name and the machine id. Machines from one image often have
/// the same name, and containers the same machine id.
pub fn identity() -> String {
    name() + &machine_id().map_or_else(String::new, |id| format!(" {}", String::from_utf8_lossy(&id)))
}

/// The id of the current boot; `None` without /proc.
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?; // proc_sys_kernel(5)
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_name_is_that_of_the_kernel() {
        let known = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(super::name(), known.trim_end());
    }
}
