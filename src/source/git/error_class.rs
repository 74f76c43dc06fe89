//! Parses git's error messages: whether the failure is transient, whether the remote, this host or possibly the cache
//! is at fault, and one line for the operator. Messages are in English (LC_ALL=C); a remote may add its own text.

use super::git_error::GitError;
use crate::config::Secret;
use crate::error::{Error, Kind};
use crate::http::retry::RequestError;

/// The longest part of git's messages in an error, in bytes.
const LONGEST: usize = 300;

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Transient: a retry may succeed.
    Passing,
    /// Permanent, until the operator changes something.
    Lasting,
    /// The credentials are missing or not sufficient.
    Denied,
    /// The fetched content is bad.
    Refused,
    /// The offered commit is no longer there.
    Gone,
    /// The server sends only commits that a ref names.
    Unadvertised,
}

const GONE: &str = "the commit is not there, or the server does not give it out";

/// The first row with a part that occurs in git's lower-case messages applies. With an empty text, git's own message is
/// used.
const CAUSES: &[(&[&str], Cause, &str)] = &[
    (
        &["remote host identification has changed"],
        Cause::Lasting,
        "the host's key is not the one that is known: somebody may be in between; if it was changed on purpose, put the \
         new one into known_hosts (ssh-known-hosts)",
    ),
    (
        &["host key verification failed", "host key is known for"],
        Cause::Lasting,
        "the host's key is not known: put it into known_hosts (ssh-known-hosts), or ssh-strict = no believes it once",
    ),
    (
        &["unprotected private key file", "bad permissions"],
        Cause::Lasting,
        "others may read the ssh key, so ssh does not use it: chmod 600 FILE (ssh-key)",
    ),
    (
        &["no user exists for uid"],
        Cause::Lasting,
        "ssh wants a line in /etc/passwd for the user that it runs as: add one, run as a user that has one, or use https://",
    ),
    (&["ssh: not found", "cannot run ssh", "ssh: no such file"], Cause::Lasting, "there is no ssh in PATH: install it"),
    (
        &["dubious ownership"],
        Cause::Lasting,
        "the repository belongs to another user, and git reads only root's and our own: chown it, or use ssh://",
    ),
    (
        &[
            "ssl certificate problem",
            "certificate verification failed",
            "certificate verify failed",
            "ssl: no alternative",
            "does not match target host",
        ],
        Cause::Lasting,
        "its certificate is not accepted; a CA of your own is named with ca-file",
    ),
    (
        &[
            "permission denied (",
            "authentication failed",
            "could not read username",
            "could not read password",
            "error: 401",
            "error: 403",
            "too many authentication failures",
            "access forbidden",
        ],
        Cause::Denied,
        "",
    ),
    (
        &[
            "could not resolve host",
            "name or service not known",
            "temporary failure in name resolution",
            "could not resolve hostname",
            "unable to look up",
        ],
        Cause::Passing,
        "the host's name is not found",
    ),
    (
        &[
            "connection refused",
            "connection timed out",
            "no route to host",
            "network is unreachable",
            "failed to connect",
            "couldn't connect to server",
            "operation timed out",
            "could not connect to",
        ],
        Cause::Passing,
        "the host cannot be reached",
    ),
    (&["file size limit", "file too large", "signal 25"], Cause::Refused, "it is larger than max-download allows"),
    (
        &["out of memory", "cannot allocate memory"],
        Cause::Lasting,
        "git has not the memory that it needs: it may have 2 GiB, if this host has them",
    ),
    (&["no space left on device", "disk quota exceeded", "read-only file system"], Cause::Lasting, ""),
    (&["redirect"], Cause::Lasting, ""),
    (
        &["error: 301", "error: 302", "error: 303", "error: 307", "error: 308"],
        Cause::Lasting,
        "the server sends us elsewhere, and redirects are not followed: use the repository's own URL",
    ),
    (&["unadvertised object"], Cause::Unadvertised, GONE),
    (&["not our ref", "couldn't find remote ref", "no such remote ref"], Cause::Gone, GONE),
    (
        &[
            "repository not found",
            "does not appear to be a git repository",
            "access denied or repository not exported",
            "' not found",
            "error: 404",
            "does not exist",
            "project you were looking for could not be found",
        ],
        Cause::Lasting,
        "there is no such repository, or we may not see it",
    ),
    (
        &["dumb http transport does not support"],
        Cause::Lasting,
        "the server has files of git but no git behind them (git http-backend): that is not supported",
    ),
    (&["fsck error", "error in object", "badtree", "inconsistent delta"], Cause::Refused, ""),
    (
        &["unknown option", "usage: git", "unknown switch", "is not a git command", "unknown repository extension"],
        Cause::Lasting,
        "this git is too old: 2.32 or later is needed",
    ),
    (
        &[
            "error: 429",
            "error: 5",
            "operation too slow",
            "connection reset",
            "rpc failed",
            "gnutls",
            "ssl_error",
            "broken pipe",
            "early eof",
            "unexpected disconnect",
            "remote end hung up",
            "connection closed",
            "kex_exchange",
            "the remote end",
            "expected flush after",
            "timed out",
        ],
        Cause::Passing,
        "",
    ),
    // Any other failure of the remote or the network is no reason to discard the cache.
    (
        &["remote error:", "unable to access", "requested url returned error", "could not read from remote repository"],
        Cause::Lasting,
        "",
    ),
];

/// Classifies the messages `said` of a git that ended as `how`; removes `secrets` from the error.
pub(super) fn read<'a>(
    verb: &str,
    how: &str,
    said: impl Iterator<Item = &'a str>,
    secrets: &[Secret],
    whose: Option<&str>,
) -> GitError {
    let said: Vec<&str> = said.collect();
    let words = without_urls(&said.join("\n").to_ascii_lowercase());
    let quote = quoted(&said, secrets);
    let quote = if quote.is_empty() { format!("git {verb} {how}") } else { quote };
    let Some((_, cause, text)) = CAUSES.iter().find(|(parts, ..)| parts.iter().any(|part| words.contains(part))) else {
        return GitError::Cache(Error::failed(format!("git {verb}: {quote}")));
    };
    let text = if text.is_empty() { quote } else { format!("{text} ({quote})") };
    match cause {
        Cause::Passing => RequestError::transient(text).into(),
        Cause::Lasting => Error::failed(text).into(),
        Cause::Refused => Error::refused(text).into(),
        Cause::Gone => Error::new(Kind::Superseded, text).into(),
        Cause::Unadvertised => GitError::Unadvertised(Error::new(Kind::Superseded, text)),
        Cause::Denied => Error::failed(match whose {
            Some(whose) => format!("it does not let in {whose} ({text})"),
            None => format!("it asks who we are, and nothing is configured ({text})"),
        })
        .into(),
    }
}

/// Removes the rest of each URL after `://`: the names in it are not git's words.
fn without_urls(text: &str) -> String {
    let mut parts = text.split("://");
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        rest.push_str("://");
        let is_end = |c: char| c.is_whitespace() || c == '\'' || c == '"';
        rest.push_str(part.find(is_end).map_or("", |end| &part[end..]));
    }
    rest
}

/// The line that git prints for every failure of ssh.
const STOCK: &str = "fatal: could not read from remote repository";

/// The relevant messages on one line: the reason of ssh if it failed, fatal messages and errors, else the last line.
fn quoted(said: &[&str], secrets: &[Secret]) -> String {
    let starts_with = |line: &str, starts: &[&str]| {
        let line = line.to_ascii_lowercase();
        starts.iter().any(|start| line.starts_with(start))
    };
    let is_error = |line: &&str| {
        starts_with(line, &["fatal: ", "error: ", "remote: error", "remote: fatal"])
            || line.to_ascii_lowercase().contains("permission denied")
    };
    let said: Vec<&str> = said.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let (mut lines, mut add) = (Vec::new(), said.as_slice());
    if let Some(at) = said.iter().position(|line| starts_with(line, &[STOCK])) {
        // ssh prints warnings and frames around them before the reason.
        let is_reason = |line: &&&str| !starts_with(line, &["warning: ", "** ", "@"]);
        lines.extend(said[..at].iter().find(is_reason));
        add = &said[..at];
    }
    for line in add.iter().copied().filter(is_error) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.truncate(3);
    if lines.is_empty() {
        lines.extend(said.iter().rfind(|line| starts_with(line, &[STOCK])).or(said.last()));
    }
    let mut text = lines.join("; ");
    for secret in secrets.iter().map(Secret::reveal).filter(|secret| secret.len() > 2) {
        text = text.replace(secret, "…");
    }
    let shown: String = text.trim_end_matches('.').escape_debug().collect();
    let mut shown = shown.replace("\\'", "'").replace("\\\"", "\"");
    if let Some((at, _)) = shown.char_indices().nth(LONGEST) {
        shown.truncate(at);
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use crate::source::git::error_class::*;

    fn line(said: &[&str]) -> (bool, bool, String) {
        match read("fetch", "exited with 128", said.iter().copied(), &[Secret::new("hunter2")], Some("user \"u\"")) {
            GitError::Request(fault) => (false, fault.is_transient(), fault.error.to_string()),
            GitError::Unadvertised(error) => (false, false, error.to_string()),
            GitError::Cache(error) | GitError::Parts(error) => (true, false, error.to_string()),
        }
    }

    #[test]
    fn causes_are_told_apart() {
        for (said, passes, words) in [
            (
                &[
                    "ssh: connect to host h port 22: Connection refused",
                    "fatal: Could not read from remote repository.",
                ][..],
                true,
                "cannot be reached",
            ),
            (&["fatal: unable to access 'http://h/': Could not resolve host: h"], true, "name is not found"),
            (&["fatal: unable to access 'http://h/': The requested URL returned error: 503"], true, "503"),
            (&["error: RPC failed; curl 92 HTTP/2 stream 5", "fatal: early EOF"], true, "RPC failed"),
            (
                &["fatal: unable to access 'http://h/': The requested URL returned error: 403"],
                false,
                "does not let in user \"u\"",
            ),
            (&["fatal: could not read Username for 'http://h': terminal prompts disabled"], false, "does not let in"),
            (
                &["git@h: Permission denied (publickey).", "fatal: Could not read from remote repository."],
                false,
                "does not let in",
            ),
            (
                &[
                    "Warning: Permanently added 'h' (ED25519) to the list of known hosts.",
                    "Load key \"/k\": error in libcrypto",
                    "git@h: Permission denied (publickey).",
                    "fatal: Could not read from remote repository.",
                    "",
                    "Please make sure you have the correct access rights",
                    "and the repository exists.",
                ],
                false,
                "(Load key \"/k\": error in libcrypto; git@h: Permission denied (publickey))",
            ),
            (
                &["No user exists for uid 12345", "fatal: Could not read from remote repository."],
                false,
                "/etc/passwd for the user that it runs as: add one, run as a user that has one, or use https:// (No user exists for uid 12345)",
            ),
            (
                &["Bad owner or permissions on /root/.ssh/config", "fatal: Could not read from remote repository."],
                false,
                "Bad owner or permissions on /root/.ssh/config",
            ),
            (
                &["fatal: Could not read from remote repository.", "", "Please make sure"],
                false,
                "fatal: Could not read",
            ),
            (
                &[
                    "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @",
                    "Host key verification failed.",
                    "fatal: Could not read",
                ],
                false,
                "not the one that is known",
            ),
            (
                &[
                    "No ED25519 host key is known for h and you have requested strict checking.",
                    "Host key verification failed.",
                ],
                false,
                "ssh-strict",
            ),
            (&["fatal: repository 'http://h/x.git/' not found"], false, "no such repository"),
            (&["fatal: remote error: access denied or repository not exported: /x.git"], false, "no such repository"),
            (&["error: Server does not allow request for unadvertised object 0123"], false, "commit is not there"),
            (&["fatal: Out of memory, malloc failed (tried to allocate 3221225472 bytes)"], false, "2 GiB"),
            (&["fatal: write error: No space left on device"], false, "No space left"),
            (
                &["error: object 12ab: hasDotgit: contains '.git'", "fatal: fsck error in packed object"],
                false,
                "hasDotgit",
            ),
            (&["error: unknown option `no-write-fetch-head'", "usage: git fetch"], false, "2.32 or later"),
        ] {
            let (is_cache, is_passing, text) = line(said);
            assert!(!is_cache && is_passing == passes && text.contains(words), "{said:?}: {text}");
            assert!(!text.contains('\n') && !text.ends_with('.'), "{text}");
        }
    }

    #[test]
    fn what_a_remote_refuses_in_words_of_its_own_is_not_the_cache() {
        for said in [
            &["fatal: remote error: the moon is in the wrong phase"][..],
            &["fatal: unable to access 'https://h/x.git/': strange"],
            &["fatal: unable to access 'https://h/x.git/': The requested URL returned error: 418"],
            &["strange", "fatal: Could not read from remote repository."],
        ] {
            let (is_cache, passes, text) = line(said);
            assert!(!is_cache && !passes, "{said:?}: {text}");
        }
    }

    #[test]
    fn names_in_a_url_are_no_cause() {
        let url = "https://h/redirector503-out%20of%20memory.git/";
        let answer = format!("fatal: unable to access '{url}': The requested URL returned error: 503");
        let (is_cache, passes, text) = line(&[&answer]);
        assert!(!is_cache && passes && text.contains("redirector503"), "{text}");
        assert_eq!(without_urls("a 'x://b c' y://d"), "a 'x:// c' y://");
        assert_eq!(without_urls("no url"), "no url");
        let (.., text) = line(&[&format!("fatal: unable to update url base from redirection:\n  asked for: {url}")]);
        assert!(text.contains("redirection"), "{text}");
    }

    #[test]
    fn what_nobody_knows_may_be_the_cache() {
        for said in [&["fatal: Unable to create '/c/shallow.lock': File exists."][..], &["fatal: bad object 12ab"], &[]]
        {
            assert!(line(said).0, "{said:?}");
        }
    }

    #[test]
    fn what_a_remote_says_is_one_short_line_without_secrets() {
        let said = [
            "remote: \u{1b}[2J".to_owned(),
            format!("fatal: remote error: hunter2 \u{1b}]0;x\u{7} {}", "x".repeat(5000)),
        ];
        let (_, _, text) = line(&[&said[0], &said[1]]);
        assert!(
            text.chars().count() < 400 && !text.contains("hunter2") && !text.chars().any(char::is_control),
            "{text}"
        );
    }
}
