//! A whole machine for tests: qemu, which emulates the processor (nothing of this host's is asked for), with the kernel of Debian's
//! cloud images and the image that etc/image/build makes. Its first serial port is the console, its second one the report of a script
//! in the machine, its disk a file whose writes are logged; its network reaches one port of this host and nothing else.

use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use sha2::{Digest, Sha256};

use crate::support::needs::{leave_out, needs};
use crate::support::running::Running;
use crate::support::sandbox::{Sandbox, binary};
use crate::support::write_log::{self, Entry};

pub const QEMU: &str = "qemu-system-x86_64";

/// The address in the machine that leads to the port of the same number on this host.
pub const SOURCE: &str = "10.0.2.100";

/// The system of a machine, as a user builds it.
pub struct Image(PathBuf);

impl Image {
    /// Builds it from the kernel of tests/parts.sh, the binary that is tested, and `files`. `None`: parts are missing, or this host is of
    /// another architecture.
    pub fn build(sandbox: &Sandbox, files: &Path) -> Option<Self> {
        if !cfg!(target_arch = "x86_64") {
            eprintln!("left out: the machine is one of x86_64");
            return None;
        }
        needs!(time, QEMU, "busybox", "setpriv");
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let kernel = here.join("tests/.parts/kernel");
        if !kernel.join("boot").exists() {
            leave_out("tests/.parts/kernel is missing");
            return None;
        }
        let out = sandbox.path("image");
        let mut build = Command::new(here.join("etc/image/build"));
        let built = build.arg(kernel).arg(binary()).arg(files).arg(&out).status().unwrap();
        assert!(built.success(), "etc/image/build");
        Some(Self(out))
    }

    /// Unpacks the system into the directory `root`, to run its programs on this host.
    pub fn unpack(&self, root: &Path) {
        fs::create_dir(root).unwrap();
        let unzip = Command::new("gzip").arg("-dc").arg(self.0.join("initrd.gz")).stdout(Stdio::piped()).spawn();
        let mut unzip = unzip.unwrap();
        let mut cpio = Command::new("busybox");
        let cpio = cpio.args(["cpio", "-id"]).stdin(unzip.stdout.take().unwrap()).stderr(Stdio::null());
        assert!(cpio.current_dir(root).status().unwrap().success() && unzip.wait().unwrap().success());
    }

    /// Boots it with `drive` as its disk, and `options` on the command line of the kernel. `port` of this host is its network.
    pub fn boot(&self, drive: &Drive, port: u16, options: &str) -> Machine {
        drive.begin();
        let report = drive.0.with_extension("report");
        let net = drive.0.with_extension("pcap");
        File::create(&report).unwrap();
        File::create(&net).unwrap();
        // It ends with this test, however that ends.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", QEMU, "-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none"]);
        qemu.args(["-no-reboot", "-serial", "file:/dev/stderr", "-serial"]).arg(format!("file:{}", report.display()));
        qemu.arg("-kernel").arg(self.0.join("vmlinuz")).arg("-initrd").arg(self.0.join("initrd.gz"));
        // The kernel measures its timer against the processor, which is an emulated one here, and now and then stopped by a busy host.
        qemu.args(["-append", &format!("console=ttyS0 panic=-1 no_timer_check {options}")]);
        let forward = format!("guestfwd=tcp:{SOURCE}:{port}-cmd:busybox nc 127.0.0.1 {port}");
        qemu.args(["-netdev", &format!("user,id=net,restrict=on,{forward}")]);
        qemu.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        qemu.args(["-object", &format!("filter-dump,id=dump,netdev=net,file={}", net.display())]);
        // A flush of the machine's is for the log: what this host keeps in memory is safe when qemu is killed.
        for (name, file) in [("image", &drive.0), ("log", &drive.log())] {
            qemu.arg("-blockdev");
            qemu.arg(format!("driver=file,node-name={name},filename={},cache.no-flush=on", file.display()));
        }
        qemu.args(["-blockdev", "driver=blklogwrites,node-name=disk,file=image,log=log,log-super-update-interval=1"]);
        qemu.args(["-device", "virtio-blk-pci,drive=disk,discard=off,write-zeroes=off"]);
        Machine { console: Running::start(qemu), report, net }
    }
}

/// A machine that runs. Its power is cut when it is dropped: nothing of its memory gets to its disk any more.
pub struct Machine {
    pub console: Running,
    report: PathBuf,
    /// The packets of its network.
    net: PathBuf,
}

impl Machine {
    /// What the scripts of the machine have written to its second serial port.
    pub fn report(&self) -> String {
        fs::read_to_string(&self.report).unwrap().replace('\r', "")
    }

    /// How many bytes have come and gone over its network.
    pub fn transferred(&self) -> u64 {
        self.net.metadata().unwrap().len()
    }

    /// Waits until so many bytes have come and gone.
    pub fn until_transferred(&self, bytes: u64) {
        watch(&self.net, "bytes on the network", || (self.transferred() >= bytes).then_some(()));
    }
}

/// What a disk holds after its power was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All that was written.
    Nothing,
    /// All that was written before the last flush.
    Unflushed,
    /// Every other write since the last flush is lost, drawn by this number.
    Half(usize),
    /// All but the entry of this number: a disk that ignores flushes.
    One(usize),
}

impl Loss {
    fn survives(self, durable: usize) -> impl Fn(usize) -> bool {
        let is_drawn = |draw: usize, number: usize| Sha256::digest(format!("{draw} {number}"))[0] & 1 == 1;
        move |number| match self {
            Self::Nothing => true,
            Self::Unflushed => number < durable,
            Self::Half(draw) => number < durable || is_drawn(draw, number),
            Self::One(lost) => number != lost,
        }
    }
}

/// A disk: the file that has its content, as it was when the machine was last switched on, and the log of the writes since.
pub struct Drive(PathBuf);

impl Drive {
    /// An empty one of `kind`.
    pub fn new(sandbox: &Sandbox, kind: &str) -> Self {
        let drive = Self(sandbox.path("drive.img"));
        let size = if kind == "xfs" { 310 << 20 } else { 64 << 20 };
        File::create(&drive.0).unwrap().set_len(size).unwrap();
        let (mkfs, force) = (format!("mkfs.{kind}"), if kind == "xfs" { "-f" } else { "-F" });
        assert!(Command::new(&mkfs).args(["-q", force]).arg(&drive.0).status().unwrap().success(), "{mkfs}");
        drive
    }

    pub fn log(&self) -> PathBuf {
        self.0.with_extension("log")
    }

    fn before(&self) -> PathBuf {
        self.0.with_extension("before")
    }

    fn begin(&self) {
        copy(&self.0, &self.before());
        File::create(self.log()).unwrap();
    }

    pub fn image(&self) -> &Path {
        &self.0
    }

    /// Writes what the disk holds if its power was cut after the first of the `entries` of its log, as many as there are, to `to`.
    pub fn after(&self, entries: &[Entry], loss: Loss, to: &Path) {
        copy(&self.before(), to);
        write_log::replay(entries, loss.survives(write_log::durable(entries)), to);
    }

    /// The machine is off: its disk loses what it may lose.
    pub fn lose(&self, loss: Loss) {
        if loss != Loss::Nothing {
            let entries = write_log::read(&self.log());
            self.after(&entries, loss, &self.0);
        }
    }

    /// Waits until the log has so many entries.
    pub fn until_written(&self, entries: usize) {
        watch(&self.log(), "writes", || (write_log::length(&self.log()) >= entries).then_some(()));
    }
}

/// Copies a file, its holes too. A file that is at `to` is replaced, not written: a file system in it may be in use for a moment still.
fn copy(from: &Path, to: &Path) {
    assert!(
        Command::new("cp")
            .args(["--sparse=always", "--remove-destination"])
            .arg(from)
            .arg(to)
            .status()
            .unwrap()
            .success()
    );
}

/// Waits until `look` finds something, and looks each time that the file at `path` is written.
pub fn watch<T>(path: &Path, sought: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let events = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&events, path, inotify::WatchFlags::MODIFY).unwrap();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let mut asked = [PollFd::new(&events, PollFlags::IN)];
        let has_more = poll(&mut asked, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })).unwrap() > 0;
        assert!(has_more, "waited for {sought} in {} for a minute", path.display());
        let mut buffer = [MaybeUninit::uninit(); 4096];
        inotify::Reader::new(&events, &mut buffer).next().unwrap();
    }
}
