//! Starts a child with one pipe for its output, nothing on its input, no other descriptor, no signal blocked or
//! ignored, umask 022, and a session of its own: it has no terminal, and its group can be ended as a whole.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;

use super::program::{Identity, Pipes, Program};
use crate::sys::clock::Deadline;
use crate::sys::disposition;

/// How long to retry a file that is open for writing, and the pause between two tries.
const BUSY: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// Bytes that a pipe for data should hold.
const PIPE: usize = 1 << 20;

/// Starts the program. Returns the read end of its output, which does not block.
pub(super) fn start(program: &Program, identity: Option<&Identity>) -> io::Result<(Child, File)> {
    let (output, input) = pipe()?;
    let mut command = command(program, 0o022);
    if let Some(identity) = identity.cloned() {
        unset(&mut command, program, &identity.unset);
        // SAFETY: the closure makes system calls that are async-signal-safe, and allocates nothing.
        unsafe {
            command.pre_exec(move || become_somebody(&identity));
        }
    }
    command.stdin(nothing()?).stdout(input.try_clone()?).stderr(if program.merges_errors { input } else { nowhere()? });
    // The write ends of this process are closed with `command` when this function returns.
    Ok((spawn(&mut command)?, output))
}

/// Starts the program with a pipe for each kind of output. Returns the read ends: standard error first.
pub(super) fn start_piped(program: &Program, pipes: Pipes) -> io::Result<(Child, File, File)> {
    let ((output, input), (errors, complaints)) = (pipe()?, pipe()?);
    // A larger pipe saves context switches; the default size works too, slower.
    let _ = rustix::pipe::fcntl_setpipe_size(&output, PIPE);
    let mut command = command(program, 0o077);
    bind(&mut command, pipes.largest_file, pipes.memory);
    unset(&mut command, program, &pipes.unset);
    command.stdin(pipes.input.map_or_else(nothing, |file| Ok(file.into()))?).stdout(input).stderr(complaints);
    Ok((spawn(&mut command)?, errors, output))
}

/// Removes variables of this process from its environment, except those set in `program`.
fn unset(command: &mut Command, program: &Program, names: &[OsString]) {
    for name in names.iter().filter(|name| !program.env.iter().any(|(given, _)| given == *name)) {
        command.env_remove(name);
    }
}

/// A pipe: the read end, which does not block, and the child's.
fn pipe() -> io::Result<(File, OwnedFd)> {
    let (output, input) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&output, OFlags::NONBLOCK)?;
    Ok((File::from(output), input))
}

/// The program without its standard descriptors.
fn command(program: &Program, umask: libc::mode_t) -> Command {
    keep_descriptors_from_children();
    let mut command = Command::new(&program.path);
    command.args(&program.args).current_dir(&program.dir);
    command.envs(program.env.iter().map(|(key, value)| (key, value)));
    // SAFETY: the closure makes system calls that are async-signal-safe, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::setsid() < 0 {
                return Err(io::Error::last_os_error());
            }
            libc::umask(umask);
            disposition::reset()
        });
    }
    command
}

/// Ends the program with this process, even if that is killed, and limits each file it writes to `largest_file` bytes
/// and its memory to `memory`.
fn bind(command: &mut Command, largest_file: Option<u64>, memory: Option<u64>) {
    let us = std::process::id();
    // SAFETY: the closure makes system calls that are async-signal-safe, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have ended before prctl, and the child then has another.
            if libc::getppid().cast_unsigned() != us {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            if let Some(most) = largest_file {
                let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
                // Fails if the limit is lower already.
                let _ = libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
                // A write beyond the limit fails, and the program can report it instead of being killed.
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            }
            if let Some(most) = memory {
                let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
                // Fails if the limit is lower already.
                let _ = libc::setrlimit(libc::RLIMIT_DATA, &raw const limit);
            }
            Ok(())
        });
    }
}

/// Changes the user of the child: the groups first, the user last, for good. The bare system calls: libc's would look
/// for threads, which a child between fork and exec must not.
fn become_somebody(identity: &Identity) -> io::Result<()> {
    let (groups, gid, uid) = (&identity.groups, identity.gid, identity.uid);
    // SAFETY: the list lives through the call, and its length is the one that is told; the others pass numbers only.
    let results = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()),
            libc::syscall(libc::SYS_setresgid, gid, gid, gid),
            libc::syscall(libc::SYS_setresuid, uid, uid, uid),
        ]
    };
    if results.iter().all(|result| *result == 0) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Starts the program; a file that is being written (ETXTBSY), as during an installation, is tried again for a moment.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let limit = Deadline::after(BUSY);
    loop {
        match command.spawn() {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && !limit.has_passed() => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
}

/// Empty standard input: /dev/null, or a pipe without a writer where an image has no /dev.
fn nothing() -> io::Result<OwnedFd> {
    if let Ok(null) = File::open("/dev/null") {
        return Ok(null.into());
    }
    let (end, _) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok(end)
}

/// Discarded standard error: /dev/null, or a pipe without a reader where an image has no /dev. The program then gets
/// SIGPIPE or EPIPE when it writes.
fn nowhere() -> io::Result<OwnedFd> {
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        return Ok(null.into());
    }
    let (_, end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok(end)
}

/// Sets close-on-exec on all descriptors: this process's own have it, those inherited from its parent do not. Done here
/// and not in the child, where almost nothing is allowed.
fn keep_descriptors_from_children() {
    // SAFETY: sets a flag on descriptors; no memory is passed. musl has no wrapper for this call.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result != 0 {
        // A kernel before 5.11, or a filter that does not know the call: one by one.
        for number in open_descriptors() {
            // SAFETY: sets a flag; a number that is not open is an error that does not matter.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

/// The open descriptors above 2: from /proc, or every possible number if that is not mounted.
pub(super) fn open_descriptors() -> Vec<i32> {
    match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|number| *number > 2)
            .collect(),
        Err(_) => {
            let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
            (3..i32::try_from(most.min(65_536)).unwrap_or(65_536)).collect()
        }
    }
}
