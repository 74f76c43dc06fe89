//! File systems of their own for tests: images on loop devices, whose power can be cut.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::needs::{leave_out, needs};
use crate::support::sandbox::Sandbox;

/// `_IOR('X', 125, __u32)` of the kernel's uapi.
const FS_IOC_SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;

/// What survives the cut.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// The journal is written out first: names without content.
    JournalFlushed = 1,
    /// Nothing that was not synced.
    NothingFlushed = 2,
}

/// A file system of its own, mounted at `at` while this lives.
pub struct Disk {
    image: PathBuf,
    pub at: PathBuf,
    /// Those of mount.
    options: &'static str,
    mounted: bool,
    /// What is mounted above it and below it, from the top down.
    others: (Vec<PathBuf>, Vec<PathBuf>),
}

fn run(program: &str, arguments: &[&Path]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|s| s.success())
}

impl Disk {
    /// Makes one of `kind`, with more `options` for mkfs; `None` where this machine cannot mount.
    pub fn new(aside: &Sandbox, kind: &str, options: &[&str]) -> Option<Self> {
        let size = if kind == "ext4" { 24 << 20 } else { 310 << 20 };
        Self::on(aside, &aside.path(""), kind, options, size)
    }

    /// One that promises 400 MiB, and has `room` bytes behind it: what is more is accepted, and then cannot be written.
    pub fn thin(aside: &Sandbox, kind: &str, room: u64) -> Option<Self> {
        needs!(time, "mount", "umount");
        let below = aside.path("below");
        fs::create_dir(&below).unwrap();
        let size = format!("size={room}");
        let mounted = run(
            "mount",
            &["-t", "tmpfs", "-o", &size, "tmpfs"].map(Path::new).into_iter().chain([&*below]).collect::<Vec<_>>(),
        );
        if !mounted {
            leave_out("cannot mount a tmpfs");
            return None;
        }
        let disk = Self::on(aside, &below, kind, &[], 400 << 20);
        match disk {
            Some(mut disk) => {
                disk.others.1.push(below);
                Some(disk)
            }
            None => {
                run("umount", &[&below]);
                None
            }
        }
    }

    /// Puts an overlay above it, as containers have, and returns its path.
    pub fn overlay(&mut self, aside: &Sandbox) -> PathBuf {
        let at = aside.path("overlay");
        for dir in [self.at.join("lower"), self.at.join("upper"), self.at.join("work"), at.clone()] {
            fs::create_dir(dir).unwrap();
        }
        let disk = self.at.display();
        let options = format!("lowerdir={disk}/lower,upperdir={disk}/upper,workdir={disk}/work");
        let arguments = ["-t", "overlay", "-o", &options, "overlay"].map(Path::new);
        assert!(run("mount", &[&arguments[..], &[&at]].concat()), "cannot mount an overlay");
        self.others.0.push(at.clone());
        at
    }

    /// The file system of `kind` in `image`, which is there already, mounted at `at`; what its journal holds is done first.
    pub fn open(image: &Path, kind: &str, at: &Path) -> Option<Self> {
        needs!(time, "mount", "umount");
        // Another test may be in a copy of our mount namespace, where a copy of this file system lives on.
        let options = if kind == "xfs" { "loop,nouuid" } else { "loop" };
        let (image, at) = (image.to_owned(), at.to_owned());
        let mut disk = Self { image, at, options, mounted: false, others: Default::default() };
        if !disk.mount() {
            leave_out("cannot mount a loop device");
            return None;
        }
        Some(disk)
    }

    fn on(aside: &Sandbox, images: &Path, kind: &str, options: &[&str], size: u64) -> Option<Self> {
        let mkfs = format!("mkfs.{kind}");
        let mkfs = mkfs.as_str();
        needs!(time, "mount", mkfs);
        let (image, at) = (images.join("disk.img"), aside.path("disk"));
        fs::create_dir(&at).unwrap();
        File::create(&image).unwrap().set_len(size).unwrap();
        let force = if kind == "ext4" { "-F" } else { "-f" };
        let made = Command::new(mkfs).args(["-q", force]).args(options).arg(&image).status();
        assert!(made.unwrap().success(), "{mkfs}");
        let options = if kind == "xfs" { "loop,nouuid" } else { "loop" };
        let mut disk = Self { image, at, options, mounted: false, others: Default::default() };
        if !disk.mount() {
            leave_out("cannot mount a loop device");
            return None;
        }
        Some(disk)
    }

    fn mount(&mut self) -> bool {
        self.mounted = run("mount", &["-o".as_ref(), self.options.as_ref(), &self.image, &self.at]);
        self.mounted
    }

    fn unmount(&mut self) {
        // Another test's fork may hold a descriptor of ours for the moment until its exec.
        let unmounted = (0..1000).any(|_| run("umount", &[&self.at]));
        assert!(unmounted, "cannot unmount {}", self.at.display());
        self.mounted = false;
    }

    /// Cuts the power, and comes back.
    pub fn cut(&mut self, how: Cut) {
        let root = File::open(&self.at).unwrap();
        let flag = how as u32;
        // SAFETY: the ioctl reads one u32, which `flag` is, for the length of the call.
        let result = unsafe { libc::ioctl(root.as_raw_fd(), FS_IOC_SHUTDOWN, &raw const flag) };
        assert_eq!(result, 0, "cannot shut down: {}", std::io::Error::last_os_error());
        drop(root);
        // Another test may be in a mount namespace of its own, a copy of ours: the file system lives on in there, shut down.
        let is_fresh = |at: &Path| File::open(at).and_then(|root| root.sync_all()).is_ok();
        let came_back = (0..20).any(|_| {
            self.unmount();
            assert!(self.mount(), "cannot mount again");
            is_fresh(&self.at)
        });
        if !came_back {
            self.unmount();
            self.leave_image();
            assert!(self.mount() && is_fresh(&self.at), "it stays shut down");
        }
    }

    /// Goes on with a copy of the image: one that is shut down is not written any more.
    fn leave_image(&mut self) {
        let copy = self.image.with_extension(format!("{}.img", self.image.as_os_str().len()));
        assert!(run("cp", &["--sparse=always".as_ref(), &self.image, &copy]), "cannot copy the image");
        fs::remove_file(&self.image).unwrap();
        self.image = copy;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let (above, below) = &self.others;
        for at in above.iter().chain(self.mounted.then_some(&self.at)).chain(below) {
            if !run("umount", &["-l".as_ref(), at]) {
                eprintln!("still mounted: {}", at.display());
            }
        }
    }
}
