//! Pulls the plug: ext4 and xfs images on loop devices, shut down (FS_IOC_SHUTDOWN) before every system call of a check.
//! What was not fsynced is gone then, or worse, only half of it. The same check with its fsyncs made to do nothing must
//! fail the same harness: otherwise the harness proves nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};

use crate::crash::{Case, Doing, Way, traced};
use crate::support::disk::{Cut, Disk};
use crate::support::needs::needs;
use crate::support::sandbox::Sandbox;
use crate::support::walk::Point;

/// How many points of a walk are tried: each is two cuts, and a cut costs a disk.
const SAMPLE: usize = 40;

/// A case on a disk of its own; the case goes first, then the disk.
struct OnDisk {
    case: Case,
    disk: Disk,
    _aside: Sandbox,
}

impl OnDisk {
    fn new(kind: &str, way: Way, doing: Doing, more: usize) -> Option<Self> {
        needs!("strace");
        // The image may be in memory: what survives a cut is the business of the file system in it.
        let aside = Sandbox::in_memory();
        let disk = Disk::new(&aside, kind, &[])?;
        let case = Case::at(Sandbox::at(&disk.at.join("sandbox")), way, doing, more);
        Some(Self { case, disk, _aside: aside })
    }

    /// One check that is killed by `inject` (or comes to its end before), then the power goes, and comes back.
    fn trial(&mut self, inject: &[String], how: Cut) {
        self.case.restore();
        assert!(Command::new("sync").arg("-f").arg(&self.disk.at).status().unwrap().success());
        let mut options = vec!["-o", "/dev/null"];
        for one in inject {
            options.extend(["-e", one.as_str()]);
        }
        traced(&self.case.disturbed(), &options).stderr(Stdio::null()).status().unwrap();
        self.disk.cut(how);
    }
}

/// Cuts the power before every call that writes, and once after the end.
fn cut_everywhere(kind: &str, way: Way, doing: Doing) {
    cut_with(kind, way, doing, 0);
}

/// The same with `more` files in each version.
fn cut_with(kind: &str, way: Way, doing: Doing, more: usize) {
    // Between two calls that change nothing on disk, nothing changes on disk: those that do are enough.
    const WRITING: [&str; 15] = [
        "write",
        "rename",
        "renameat",
        "mkdir",
        "mkdirat",
        "symlink",
        "symlinkat",
        "unlink",
        "unlinkat",
        "rmdir",
        "fsync",
        "syncfs",
        "openat",
        "fchmod",
        "exit_group",
    ];
    let Some(mut on_disk) = OnDisk::new(kind, way, doing, more) else { return };
    let mut trials = 0;
    let mut points = on_disk.case.sample(&format!("power cut on {kind}"), SAMPLE, |name| !WRITING.contains(&name));
    points.push(Point { name: "exit_group".to_owned(), n: 2 }); // there is one: after the end
    for Point { name, n } in points {
        let inject = vec![format!("trace={name}"), format!("inject={name}:signal=KILL:when={n}")];
        for how in [Cut::JournalFlushed, Cut::NothingFlushed] {
            on_disk.trial(&inject, how);
            trials += 1;
            let at = format!("{kind}, {way}, {doing:?}, {more} more: power cut ({how:?}) before {name} #{n}");
            on_disk.case.invariants(&at);
            on_disk.case.heals(&at);
        }
    }
    eprintln!("power: {kind}, {way}, {doing:?}, {more} more: {trials} trials, 0 failures");
}

#[test]
fn power_cut_anywhere_in_a_symlink_update_on_ext4_then_old_or_new() {
    cut_everywhere("ext4", Way::Symlink, Doing::Update);
}

#[test]
fn power_cut_anywhere_in_an_in_place_update_on_ext4_then_healed() {
    cut_everywhere("ext4", Way::InPlace, Doing::Update);
}

#[test]
fn power_cut_anywhere_in_an_installed_update_on_ext4_then_healed() {
    cut_everywhere("ext4", Way::Install, Doing::Update);
}

#[test]
fn power_cut_anywhere_in_a_reverted_installed_update_on_ext4_then_healed() {
    cut_everywhere("ext4", Way::Install, Doing::Reverted);
}

#[test]
fn power_cut_anywhere_in_a_reverted_symlink_update_on_ext4_then_healed() {
    cut_everywhere("ext4", Way::Symlink, Doing::Reverted);
}

#[test]
fn power_cut_anywhere_in_a_symlink_update_on_xfs_then_old_or_new() {
    cut_everywhere("xfs", Way::Symlink, Doing::Update);
}

#[test]
fn power_cut_anywhere_in_a_symlink_rollback_on_ext4_then_it_is_finished_or_never_was() {
    cut_everywhere("ext4", Way::Symlink, Doing::Rollback);
}

/// So many files that they are synced together.
const MANY: usize = 70;

#[test]
fn power_cut_anywhere_in_a_symlink_update_of_many_files_on_ext4_then_old_or_new() {
    cut_with("ext4", Way::Symlink, Doing::Update, MANY);
}

#[test]
fn power_cut_anywhere_in_an_in_place_update_of_many_files_on_ext4_then_healed() {
    cut_with("ext4", Way::InPlace, Doing::Update, MANY);
}

#[test]
fn power_cut_anywhere_in_an_in_place_update_of_many_files_on_xfs_then_healed() {
    cut_with("xfs", Way::InPlace, Doing::Update, MANY);
}

#[test]
fn power_cut_anywhere_in_an_installed_update_of_many_files_on_xfs_then_healed() {
    cut_with("xfs", Way::Install, Doing::Update, MANY);
}

/// The proof that the harness sees what fsync is for: the same binary, its fsyncs answered with success and not done.
#[test]
fn power_cut_without_fsync_then_the_harness_sees_a_torn_tree() {
    for (way, more) in [Way::Symlink, Way::InPlace, Way::Install].into_iter().flat_map(|way| [(way, 0), (way, MANY)]) {
        let Some(mut on_disk) = OnDisk::new("ext4", way, Doing::Update, more) else { return };
        let no_fsync = vec!["inject=fsync,fdatasync,sync_file_range,syncfs:retval=0".to_owned()];
        on_disk.trial(&no_fsync, Cut::JournalFlushed);
        let judged = catch_unwind(AssertUnwindSafe(|| {
            on_disk.case.invariants("without fsync");
            on_disk.case.heals("without fsync");
        }));
        assert!(judged.is_err(), "{way}, {more} more: without fsync the harness must fail, or it proves nothing");
    }
}
