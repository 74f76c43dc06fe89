//! Parses `.netrc`: login and password of a machine. As in curl and ftp, words are separated by blanks, but invalid
//! input is an error. The error has the line number, and never the words, which may be secrets.

use std::iter::Peekable;
use std::str::CharIndices;

use crate::config::Secret;

/// A login and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret,
}

#[derive(Default)]
struct Entry {
    /// `None` for `default`.
    machine: Option<String>,
    login: Option<String>,
    password: Option<String>,
}

impl Entry {
    fn fits(&self, host: &str, user: Option<&str>) -> bool {
        let machine = self.machine.as_ref().is_none_or(|machine| machine.eq_ignore_ascii_case(host));
        machine && user.is_none_or(|user| self.login.as_deref() == Some(user))
    }
}

/// The login for `host`, and for `user` if given: the first entry that matches, including `default`.
pub(super) fn find(text: &str, host: &str, user: Option<&str>) -> Result<Option<Login>, String> {
    let found = entries(text)?.into_iter().find(|entry| entry.fits(host, user));
    Ok(found.map(|entry| Login {
        user: entry.login.unwrap_or_default(),
        password: Secret::new(entry.password.unwrap_or_default()),
    }))
}

fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let mut words = Words { text, chars: text.char_indices().peekable(), line: 1 };
    let mut entries: Vec<Entry> = Vec::new();
    while let Some(word) = words.keyword()? {
        let line = words.line;
        let stray = || format!("line {line}: a word that belongs to no machine");
        match word.as_str() {
            "machine" => entries.push(Entry { machine: Some(words.value("machine")?), ..Entry::default() }),
            "default" => entries.push(Entry::default()),
            "login" => entries.last_mut().ok_or_else(stray)?.login = Some(words.value("login")?),
            "password" => entries.last_mut().ok_or_else(stray)?.password = Some(words.value("password")?),
            "account" => drop(words.value("account")?),
            "macdef" => words.skip_macro(),
            _ => return Err(format!("line {line}: neither machine, default, login, password, account nor macdef")),
        }
    }
    Ok(entries)
}

struct Words<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
    line: usize,
}

impl Words<'_> {
    fn bump(&mut self) -> Option<char> {
        let (_, c) = self.chars.next()?;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn skip_blanks(&mut self) {
        while self.chars.peek().is_some_and(|(_, c)| c.is_whitespace()) {
            self.bump();
        }
    }

    fn skip_line(&mut self) {
        while self.bump().is_some_and(|c| c != '\n') {}
    }

    /// The next word; a comment may precede it.
    fn keyword(&mut self) -> Result<Option<String>, String> {
        loop {
            self.skip_blanks();
            match self.chars.peek() {
                None => return Ok(None),
                Some((_, '#')) => self.skip_line(),
                Some(_) => return self.word().map(Some),
            }
        }
    }

    /// The word after `key`. A `#` belongs to the word, since passwords may start with one.
    fn value(&mut self, key: &str) -> Result<String, String> {
        self.skip_blanks();
        match self.chars.peek() {
            None => Err(format!("line {}: {key} without a value", self.line)),
            Some(_) => self.word(),
        }
    }

    fn word(&mut self) -> Result<String, String> {
        let mut word = String::new();
        if self.chars.peek().is_some_and(|(_, c)| *c == '"') {
            let line = self.line;
            self.bump();
            let open = || format!("line {line}: a quote that does not end");
            loop {
                match self.bump().ok_or_else(open)? {
                    '"' => return Ok(word),
                    '\\' => word.push(match self.bump().ok_or_else(open)? {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        other => other,
                    }),
                    c => word.push(c),
                }
            }
        }
        while self.chars.peek().is_some_and(|(_, c)| !c.is_whitespace()) {
            word.extend(self.bump());
        }
        Ok(word)
    }

    /// A macro ends at the first empty line.
    fn skip_macro(&mut self) {
        self.skip_line();
        while let Some((start, _)) = self.chars.peek().copied() {
            let empty = self.text[start..].lines().next().is_none_or(|line| line.trim().is_empty());
            self.skip_line();
            if empty {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::http::netrc::*;

    fn login(text: &str, host: &str, user: Option<&str>) -> Option<(String, String)> {
        find(text, host, user).unwrap().map(|l| (l.user, l.password.reveal().to_owned()))
    }

    #[test]
    fn find_table() {
        for (text, host, expected) in [
            ("machine a login u password p", "a", Some(("u", "p"))),
            ("machine a\n\tlogin u\n\tpassword p\n", "a", Some(("u", "p"))),
            ("machine a password p login u", "a", Some(("u", "p"))),
            ("machine a login u password p", "b", None),
            ("machine A.Example login u password p", "a.example", Some(("u", "p"))),
            ("machine b login x password y machine a login u password p", "a", Some(("u", "p"))),
            ("machine a login u password p machine a login v password q", "a", Some(("u", "p"))),
            ("default login d password e", "a", Some(("d", "e"))),
            ("machine a login u password p\ndefault login d password e", "a", Some(("u", "p"))),
            ("machine a login u account x password p", "a", Some(("u", "p"))),
            ("# all of it\nmachine a # here\nlogin u password p", "a", Some(("u", "p"))),
            ("machine a login u password #p", "a", Some(("u", "#p"))),
            (r#"machine a login "u v" password "p\"\\\t q""#, "a", Some(("u v", "p\"\\\t q"))),
            (r#"machine a login u password p"q"#, "a", Some(("u", "p\"q"))),
            ("macdef init\nmachine a login x password y\n\nmachine a login u password p", "a", Some(("u", "p"))),
            ("macdef init\nmachine a login x password y", "a", None),
            ("machine a password p", "a", Some(("", "p"))),
            ("machine a login u", "a", Some(("u", ""))),
            ("", "a", None),
        ] {
            let expected = expected.map(|(u, p)| (u.to_owned(), p.to_owned()));
            assert_eq!(login(text, host, None), expected, "{text:?}");
        }
    }

    #[test]
    fn a_user_that_is_asked_for_picks_the_entry() {
        let text = "machine a login u password p machine a login v password q default login w password r";
        assert_eq!(login(text, "a", Some("v")).unwrap().1, "q");
        assert_eq!(login(text, "a", Some("w")).unwrap().1, "r");
        assert_eq!(login(text, "a", Some("x")), None);
    }

    #[test]
    fn nonsense_is_named_by_its_line_and_never_shown() {
        for (text, words) in [
            ("login hunter2", "line 1: a word that belongs to no machine"),
            ("machine a login u\npasword hunter2", "line 2: neither"),
            ("machine a login", "line 1: login without a value"),
            ("machine a\nlogin u\npassword \"hunter2", "line 3: a quote that does not end"),
            ("machine", "machine without a value"),
        ] {
            let error = find(text, "a", None).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{text:?}: {error}");
        }
    }
}
