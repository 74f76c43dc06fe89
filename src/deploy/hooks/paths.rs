//! `NAME.paths` beside a hook: globs, one a line, for the paths whose change the hook runs for. Matching is pure, works
//! on bytes, and costs at worst the product of the lengths, for any patterns.
//!
//! Ambiguous patterns are refused: a hook that is skipped because of a typo goes unnoticed until it is needed.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::error::plain;
use crate::sys::resolve::{self, Fault, Way};
use crate::sys::trust::Us;

/// The ending of the file's name.
const END: &str = ".paths";
/// The largest size of the file in bytes.
const LARGEST: u64 = 64 << 10;

/// The patterns of one hook, at least one.
#[derive(Debug, PartialEq, Eq)]
pub struct Paths(Vec<Vec<Token>>);

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// One byte of this set.
    One(Box<[u64; 4]>),
    /// Any number of bytes within a component.
    Star,
    /// Any number of bytes, `/` included.
    Across,
    /// The next token may be skipped.
    Maybe,
    /// Whole components, at least one, with the `/` behind each.
    Components,
}

/// The name of the `.paths` file of the hook `name`.
pub fn file_of(name: &OsStr) -> OsString {
    let mut file = name.to_owned();
    file.push(END);
    file
}

/// The hook that a file of this name would belong to.
pub fn hook_of(file: &OsStr) -> Option<&[u8]> {
    file.as_encoded_bytes().strip_suffix(END.as_bytes())
}

/// Reads the file at `path`. `Err`: the reason why the hook cannot run.
pub fn read(path: &Path) -> Result<Paths, String> {
    let cannot = |fault: Fault| match fault {
        Fault::Untrusted(untrusted) => untrusted.to_string(),
        Fault::Io(e) => format!("cannot read {}: {}", path.display(), plain(&e)),
    };
    let (text, _) = resolve::read_file(path, Way::Trusted, Us::with(None), LARGEST).map_err(cannot)?;
    Paths::parse(&text).map_err(|why| format!("{}{why}", path.display()))
}

impl Paths {
    /// `Err`: `:LINE: reason`.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let mut globs = Vec::new();
        for (number, line) in text.split(|b| *b == b'\n').enumerate() {
            let line = line.trim_ascii();
            if !line.is_empty() && !line.starts_with(b"#") {
                globs.push(glob(line).map_err(|why| format!(":{}: {why}", number + 1))?);
            }
        }
        if globs.is_empty() {
            return Err(" has no pattern: write ** for every change, or take the file away".to_owned());
        }
        Ok(Self(globs))
    }

    /// Whether a pattern matches `path` or a directory above it.
    pub fn is_for(&self, path: &[u8]) -> bool {
        self.0.iter().any(|glob| is_match(glob, path))
    }
}

/// Parses one pattern.
fn glob(line: &[u8]) -> Result<Vec<Token>, &'static str> {
    let line = line.strip_prefix(b"./").or(line.strip_prefix(b"/")).unwrap_or(line);
    let is_below = line.ends_with(b"/");
    let line = line.strip_suffix(b"/").unwrap_or(line);
    if line.split(|b| *b == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
        return Err("no path has empty components, . or .. in it");
    }
    let mut tokens = Vec::new();
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let begins = rest.len() == line.len() || line[line.len() - rest.len() - 1] == b'/';
        rest = after;
        match byte {
            b'*' if after.starts_with(b"*") => {
                let stars = after.iter().take_while(|b| **b == b'*').count();
                rest = &after[stars..];
                match rest.strip_prefix(b"/") {
                    Some(behind) if begins => {
                        tokens.extend([Token::Maybe, Token::Components]);
                        rest = behind;
                    }
                    _ => tokens.push(Token::Across),
                }
            }
            b'*' => tokens.push(Token::Star),
            b'?' => tokens.push(Token::One(set(|b| b != b'/'))),
            b'[' => {
                let (class, behind) =
                    class(after).ok_or("there is a [ without its ]: write [[] for the bracket itself")?;
                tokens.push(Token::One(class));
                rest = behind;
            }
            b'!' if tokens.is_empty() => {
                return Err("there is no ! for what is not wanted: write [!] for the mark itself");
            }
            b'\\' => return Err("\\ does not quote: write [*] for the star itself"),
            b'{' | b'}' => return Err("there are no { }: write a line for each, and [{] for the brace itself"),
            byte => tokens.push(Token::One(set(|b| b == byte))),
        }
    }
    if is_below {
        tokens.extend([Token::One(set(|b| b == b'/')), Token::Across]);
    }
    Ok(tokens)
}

/// Parses the text behind a `[`: `a-z]`, or `!a-z]` for all other bytes; in `!]`, the `!` is literal.
fn class(text: &[u8]) -> Option<(Box<[u64; 4]>, &[u8])> {
    let is_others = matches!(text.first(), Some(b'!' | b'^')) && text.get(1) != Some(&b']');
    let text = if is_others { &text[1..] } else { text };
    // A ] in first place is literal.
    let end = 1 + text.iter().skip(1).position(|b| *b == b']')?;
    let (inside, behind) = (&text[..end], &text[end + 1..]);
    let mut ranges = Vec::new();
    let mut left = inside;
    while let [from, more @ ..] = left {
        let (to, more) = if let [b'-', to, more @ ..] = more { (to, more) } else { (from, more) };
        ranges.push((*from, *to));
        left = more;
    }
    let is_in = |b: u8| ranges.iter().any(|(from, to)| (*from..=*to).contains(&b));
    Some((set(|b| b != b'/' && is_in(b) != is_others), behind))
}

fn set(is_in: impl Fn(u8) -> bool) -> Box<[u64; 4]> {
    let mut set = Box::new([0; 4]);
    (0..=u8::MAX).filter(|b| is_in(*b)).for_each(|b| set[usize::from(b >> 6)] |= 1 << (b & 63));
    set
}

/// Simulates all ways through the pattern at once.
fn is_match(glob: &[Token], path: &[u8]) -> bool {
    let mut now = vec![false; glob.len() + 1];
    let mut next = now.clone();
    now[0] = true;
    skip(glob, &mut now);
    for &byte in path {
        if byte == b'/' && now[glob.len()] {
            return true; // all entries below a matched directory match
        }
        next.fill(false);
        for (at, token) in glob.iter().enumerate().filter(|(at, _)| now[*at]) {
            match token {
                Token::One(set) => next[at + 1] |= set[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1,
                Token::Star => next[at] |= byte != b'/',
                Token::Across => next[at] = true,
                Token::Components => {
                    next[at] = true;
                    next[at + 1] |= byte == b'/';
                }
                Token::Maybe => {}
            }
        }
        skip(glob, &mut next);
        std::mem::swap(&mut now, &mut next);
        if !now.contains(&true) {
            return false;
        }
    }
    now[glob.len()]
}

/// Adds the states that are reached without consuming a byte.
fn skip(glob: &[Token], states: &mut [bool]) {
    for (at, token) in glob.iter().enumerate() {
        if states[at] {
            states[at + 1] |= matches!(token, Token::Star | Token::Across | Token::Maybe);
            if *token == Token::Maybe {
                states[at + 2] = true; // `Maybe` always has a token behind it
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Paths::parse(pattern.as_bytes()).unwrap_or_else(|e| panic!("{pattern}: {e}")).is_for(path.as_bytes())
    }

    #[test]
    fn patterns_are_anchored_and_mean_what_lies_below() {
        for (pattern, yes, no) in [
            ("conf", &["conf", "conf/a", "conf/a/b"][..], &["conf2", "con", "x/conf", ""][..]),
            ("/conf", &["conf", "conf/a"], &["x/conf"]),
            ("./conf/a", &["conf/a", "conf/a/b"], &["conf", "conf/ab"]),
            ("conf/", &["conf/a", "conf/a/b"], &["conf", "conf2/a"]),
            ("conf/**", &["conf/a", "conf/a/b"], &["conf"]),
            ("*", &["a", "a/b", ".x"], &[]),
            ("**", &["a", "a/b/c", ".x"], &[]),
            ("*.conf", &["a.conf", ".conf", "a.conf/below"], &["x/a.conf", "a.config"]),
            ("**/*.conf", &["a.conf", "x/a.conf", "x/y/.conf", "x.conf/y"], &["x/conf", "a.con"]),
            ("**.conf", &["a.conf", "x/y.conf"], &["conf"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b", "a/x/b/c"], &["ab", "a/xb", "a", "b", "x/a/b"]),
            ("a/**/**/b", &["a/b", "a/x/y/b"], &["ab"]),
            ("a**b", &["ab", "a/b", "axx/yb"], &["a/bc", "ba"]),
            ("a/***", &["a/b"], &["a"]),
            ("a/*/c", &["a/b/c", "a/b/c/d"], &["a/c", "a/b/b/c"]),
            ("a?c", &["abc", "a\u{1}c"], &["a/c", "ac", "abbc"]),
            ("[a-c]x[!0-9]", &["axy", "cx-"], &["dxy", "ax1", "ax/", "ax"]),
            ("[]x][^-]", &["]a", "xa", "]]"], &["x-", "aa"]),
            ("[z-a]", &[], &["z", "a", "m"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[/]x", &[], &["/x"]),
            ("a[!b]c", &["axc"], &["a/c", "abc"]),
            ("[!]", &["!"], &["x"]),
            ("[#]a", &["#a"], &["a"]),
            ("[{]a[}]", &["{a}"], &["a"]),
            ("  with blanks  ", &["with blanks"], &["with"]),
            ("# no\n\n  # no\nyes\r\nalso\n", &["yes", "also"], &["no", "# no"]),
        ] {
            yes.iter().for_each(|path| assert!(matches(pattern, path), "{pattern:?} is for {path:?}"));
            no.iter().for_each(|path| assert!(!matches(pattern, path), "{pattern:?} is not for {path:?}"));
        }
        let paths = Paths::parse(b"\xff?\xc3").unwrap();
        assert!(paths.is_for(b"\xff\xfe\xc3") && !paths.is_for(b"\xff\xfe\xc4"));
    }

    #[test]
    fn what_could_mean_two_things_is_refused_by_line() {
        for (text, expected) in [
            ("", " has no pattern: write ** for every change, or take the file away"),
            ("# only\n\n \n", " has no pattern: write ** for every change, or take the file away"),
            ("a\n/\n", ":2: no path has empty components, . or .. in it"),
            ("a//b", ":1: no path has empty components, . or .. in it"),
            ("../a", ":1: no path has empty components, . or .. in it"),
            ("a/./b", ":1: no path has empty components, . or .. in it"),
            ("a//", ":1: no path has empty components, . or .. in it"),
            ("\n!a", ":2: there is no ! for what is not wanted: write [!] for the mark itself"),
            ("a\\*", ":1: \\ does not quote: write [*] for the star itself"),
            ("*.{a,b}", ":1: there are no { }: write a line for each, and [{] for the brace itself"),
            ("a[b", ":1: there is a [ without its ]: write [[] for the bracket itself"),
            ("a[]", ":1: there is a [ without its ]: write [[] for the bracket itself"),
            ("[", ":1: there is a [ without its ]: write [[] for the bracket itself"),
        ] {
            assert_eq!(Paths::parse(text.as_bytes()).unwrap_err(), expected, "{text:?}");
        }
    }

    /// The reference: tries all ways.
    fn plain(glob: &[Token], path: &[u8]) -> bool {
        let here = |glob: &[Token], path: &[u8]| match (glob.split_first(), path.split_first()) {
            (None, rest) => rest.is_none_or(|(b, _)| *b == b'/'),
            (Some((Token::Maybe, rest)), _) => plain(&rest[1..], path) || plain(rest, path),
            (Some((Token::Star | Token::Across, rest)), _) if plain(rest, path) => true,
            (Some(_), None) => false,
            (Some((Token::One(set), rest)), Some((b, path))) => {
                set[usize::from(b >> 6)] >> (b & 63) & 1 == 1 && plain(rest, path)
            }
            (Some((Token::Star, _)), Some((b, path))) => *b != b'/' && plain(glob, path),
            (Some((Token::Across, _)), Some((_, path))) => plain(glob, path),
            (Some((Token::Components, rest)), Some((b, path))) => {
                plain(glob, path) || (*b == b'/' && plain(rest, path))
            }
        };
        here(glob, path)
    }

    #[test]
    fn random_patterns_match_what_trying_everything_matches() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut tried, mut hits) = (0, 0);
        while tried < 20_000 {
            let words = ["a", "b", "/", "*", "**", "**/", "?", "[ab]", "[!a]"];
            let pattern: String = (0..1 + random(6)).map(|_| words[usize::try_from(random(9)).unwrap()]).collect();
            let Ok(glob) = glob(pattern.as_bytes()) else { continue };
            let path: Vec<&str> =
                (0..1 + random(4)).map(|_| ["a", "b", "ab", "ba"][usize::try_from(random(4)).unwrap()]).collect();
            let path = path.join("/");
            let expected = plain(&glob, path.as_bytes());
            assert_eq!(is_match(&glob, path.as_bytes()), expected, "{pattern} {path}");
            (tried, hits) = (tried + 1, hits + u32::from(expected));
        }
        assert!((2000..18_000).contains(&hits), "{hits} hits prove nothing");
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_its_length_times_the_paths() {
        let pattern = "**a*".repeat(2000) + "b";
        let path = "a".repeat(1000);
        let started = std::time::Instant::now();
        assert!(!matches(&pattern, &path));
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}
