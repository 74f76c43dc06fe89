//! Checks a bundle's scripts before one of them runs: the interpreter of the first line may be missing, or the line may
//! end as on Windows. A script without such a line is run by /bin/sh.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::bundle::by_name;
use crate::appspec::{Appspec, Event, Place, Problem};
use crate::sys::process;

/// The bytes of a file that the kernel searches for its interpreter.
const HEAD: u64 = 256;
/// The bytes of a script that are searched for names of programs it may install.
const LOOKED_AT: u64 = 64 << 10;
/// The search path without PATH in the environment.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// The order in which a release's scripts run: it is asked to stop when the next release comes.
const ORDER: [Event; 9] = [
    Event::BeforeInstall,
    Event::AfterInstall,
    Event::ApplicationStart,
    Event::ValidateService,
    Event::BeforeAllowTraffic,
    Event::AfterAllowTraffic,
    Event::BeforeBlockTraffic,
    Event::AfterBlockTraffic,
    Event::ApplicationStop,
];

/// The interpreter that the first line of a script names, and the rest of the line.
pub fn interpreter(head: &[u8]) -> Option<(String, String)> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let line = line.trim_matches([' ', '\t']);
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    (!word.is_empty()).then(|| (word.to_owned(), rest.trim_start_matches([' ', '\t']).to_owned()))
}

/// The first bytes of a file; empty if it cannot be read, which is reported elsewhere.
pub fn head(path: &Path) -> Vec<u8> {
    read(path, HEAD)
}

fn read(path: &Path, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)); // a partial read is used
    bytes
}

/// Lists scripts of the bundle at `root` that cannot run. A program that another host may have is a warning only.
pub fn faults(appspec: &Appspec, root: &Path) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut earlier: Vec<PathBuf> = Vec::new();
    for event in ORDER {
        for (at, location) in listed(appspec, root, event) {
            // `missing` reports a script that is no file of the bundle. It is not opened: it may be a FIFO, or outside.
            let Some(path) = inside(root, &location) else { continue };
            if let Some((is_warning, why)) = fault(&path, root, |file| may_bring(appspec, &earlier, file)) {
                let text =
                    format!("{event} {}: {why}", location.display().to_string().escape_debug(), event = event.name());
                found.push(Problem { at, is_warning, text });
            }
            earlier.push(path);
        }
    }
    found
}

/// The path of the script, if it is a file of the bundle.
fn inside(root: &Path, location: &Path) -> Option<PathBuf> {
    let (path, root) = (root.join(location).canonicalize().ok()?, root.canonicalize().ok()?);
    (path.starts_with(root) && path.is_file()).then_some(path)
}

/// The scripts of an event, with their places in the appspec.
fn listed(appspec: &Appspec, root: &Path, event: Event) -> Vec<(Place, PathBuf)> {
    let scripts = appspec.hooks.iter().filter(|(of, _)| *of == event).flat_map(|(_, scripts)| scripts);
    let listed: Vec<_> = scripts.map(|script| (script.location.at, script.location.it.clone())).collect();
    let by_name = by_name(event);
    if listed.is_empty() && root.join(&by_name).is_file() { vec![(Place::START, by_name)] } else { listed }
}

/// The reason why the script cannot run, and whether it is a warning only: another host may have the missing program.
fn fault(path: &Path, root: &Path, may_bring: impl Fn(&Path) -> bool) -> Option<(bool, String)> {
    let (word, rest) = interpreter(&head(path))?;
    let program = Path::new(&word).file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Perl alone accepts a carriage return there.
    let is_taken = program.starts_with("perl") || (rest.is_empty() && root.join(&word).exists());
    if (word.ends_with('\r') || rest.ends_with('\r')) && !is_taken {
        let text = "its first line ends in a carriage return: save it with the line ends of Unix";
        return Some((false, text.to_owned()));
    }
    let file = root.join(&word);
    match fs::metadata(&file) {
        Err(_) if may_bring(&file) => return None,
        Err(e) => return Some((true, format!("its interpreter {word} cannot be used: {}", crate::error::plain(&e)))),
        Ok(meta) if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 => {
            return Some((true, format!("its interpreter {word} is no executable file")));
        }
        Ok(_) => {}
    }
    let named = rest.strip_prefix("-S ").unwrap_or(&rest).split_whitespace().next().filter(|_| program == "env")?;
    if named.contains(['=', '/']) || named.starts_with('-') {
        return None;
    }
    let path = std::env::var("PATH").unwrap_or_else(|_| PATH.to_owned());
    let is_here = process::find(named, &path).is_some() || may_bring(Path::new(named));
    (!is_here).then(|| (true, format!("its interpreter {named} is not in PATH, which is {path}")))
}

/// Whether the deployment itself may install a program: below a destination, or by an earlier script that names it.
fn may_bring(appspec: &Appspec, earlier: &[PathBuf], program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default().as_encoded_bytes();
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'.');
    let names = |text: &[u8]| {
        let text = if text.starts_with(b"#!") {
            text.split_at(text.iter().position(|b| *b == b'\n').unwrap_or(text.len())).1
        } else {
            text
        };
        let is_there = |n: usize| {
            text[n..].starts_with(name)
                && !is_word(n.checked_sub(1).and_then(|n| text.get(n)))
                && !is_word(text.get(n + name.len()))
        };
        (0..text.len()).any(is_there)
    };
    appspec.files.iter().any(|files| program.starts_with(&files.destination.it))
        || (!name.is_empty() && earlier.iter().any(|script| names(&read(script, LOOKED_AT))))
}
