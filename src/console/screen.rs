//! Lays out answers for people: as wide as the terminal, in its character set, in colour if wanted; and never with
//! control sequences from outside, since revisions and reasons come from servers. Programs get JSON instead.
//!
//! A character counts as one column. Wide and combining ones make a ragged line, which is not worth a table of them.

use std::ffi::OsString;
use std::io::{IsTerminal as _, stdout};
use std::os::fd::{AsFd as _, BorrowedFd};

/// The least width of a value, however narrow the terminal.
const NARROWEST: usize = 16;

/// The terminal or file that an answer goes to.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// The number of columns of a line.
    width: usize,
    is_utf8: bool,
    has_colour: bool,
    /// Whether it is a terminal.
    pub(super) is_terminal: bool,
}

/// The colour of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// None.
    Plain,
    /// Green.
    Good,
    /// Yellow.
    Doubtful,
    /// Red.
    Bad,
}

/// One row: key, value, and a coloured word at its end.
pub type Row = (&'static str, String, Option<(String, Color)>);

impl Screen {
    /// The layout for standard output and the environment.
    pub fn of_stdout() -> Self {
        Self::of(stdout().as_fd())
    }

    /// The same for another descriptor.
    pub fn of(fd: BorrowedFd<'_>) -> Self {
        let is_terminal = fd.is_terminal();
        let columns = if is_terminal { columns(fd) } else { None };
        Self::new(is_terminal, columns, &|name| std::env::var_os(name))
    }

    fn new(is_terminal: bool, columns: Option<usize>, variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let given = set("COLUMNS").and_then(|value| value.to_str()?.parse().ok()).filter(|width| *width > 0);
        // The first that is set is used, as in POSIX; without any it is the C locale.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        let is_dumb = set("TERM").is_none_or(|term| term == "dumb");
        Self {
            width: given.or(columns).unwrap_or(usize::MAX),
            is_utf8: locale.split(['.', '@']).any(|part| ["utf-8", "utf8"].contains(&part)),
            has_colour: is_terminal && set("NO_COLOR").is_none() && !is_dumb, // https://no-color.org
            is_terminal,
        }
    }

    /// A page of this many columns, without colour.
    pub fn page(width: usize) -> Self {
        Self { width, is_utf8: false, has_colour: false, is_terminal: false }
    }

    /// A text with its special characters written as `\u{9b}`: control characters, those that are invisible or change
    /// the direction of writing, and without UTF-8 all beyond ASCII.
    pub fn printable(self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                ' '..='~' => shown.push(c),
                '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}' => {
                    shown.extend(c.escape_unicode());
                }
                c if c.is_control() || !self.is_utf8 => shown.extend(c.escape_unicode()),
                c => shown.push(c),
            }
        }
        shown
    }

    /// A word in its colour.
    pub fn painted(self, word: &str, shade: Color) -> String {
        let code = match shade {
            Color::Good => "32",
            Color::Doubtful => "33",
            Color::Bad => "31",
            Color::Plain => "",
        };
        let word = self.printable(word);
        if self.has_colour && !code.is_empty() { format!("\x1b[{code}m{word}{PLAIN}") } else { word }
    }

    /// Colours the first of `words` in each line of a text. The rest stays unchanged.
    pub fn highlighted(self, text: String, words: &[(&str, Color)]) -> String {
        if !self.has_colour {
            return text;
        }
        let mut shown = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let found = words.iter().filter_map(|(word, shade)| Some((line.find(word)?, *word, *shade)));
            let (at, word, shade) = found.min_by_key(|(at, ..)| *at).unwrap_or((0, "", Color::Plain));
            shown.push_str(&line[..at]);
            shown.push_str(&self.painted(word, shade));
            shown.push_str(&line[at + word.len()..]);
        }
        shown
    }

    /// Rows below each other, the values in a column of their own. A value that is too long continues below itself, and
    /// so does a row with an empty key.
    pub fn rows(self, rows: &[Row]) -> String {
        let column = rows.iter().map(|(key, ..)| key.len()).max().unwrap_or(0) + 2;
        let mut text = String::new();
        for (key, value, end) in rows {
            let mut value = self.printable(value);
            end.iter().for_each(|(word, shade)| value.push_str(&self.painted(word, *shade)));
            pad(&mut text, key, column);
            self.wrap_hanging(&mut text, &value, column);
        }
        text
    }

    /// Adds a text to a line that has `column` columns already, and ends it. The rest of a long text continues below,
    /// in the same column, broken between words, and within words longer than a line.
    pub fn wrap_hanging(self, text: &mut String, value: &str, column: usize) {
        let width = self.width.saturating_sub(column).max(NARROWEST);
        let mut used = 0;
        for (n, word) in value.trim_end_matches(' ').split(' ').enumerate() {
            let mut length = wide(word);
            if n > 0 && used + 1 + length > width {
                // A word longer than a line starts where the text is.
                if length <= width || used + 1 >= width {
                    next_line(text, column);
                    used = 0;
                } else {
                    text.push(' ');
                    used += 1;
                }
            } else if n > 0 {
                text.push(' ');
                used += 1;
            }
            let mut word = word;
            while used + length > width {
                let (head, rest) = word.split_at(offset(word, width - used));
                text.push_str(head);
                next_line(text, column);
                (word, used, length) = (rest, 0, wide(rest));
            }
            text.push_str(word);
            used += length;
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }

    /// Lines of cells below each other; the first has the headings. If they are too wide, the columns `spare` are left
    /// out, then lines are cut.
    pub fn table(self, lines: &[Vec<String>], spare: &[usize]) -> Vec<String> {
        let width = |n: usize| lines.iter().filter_map(|cells| cells.get(n)).map(|cell| wide(cell)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(|n| width(n) + GAP).collect();
        let is_narrow = self.width < widths.iter().sum::<usize>().saturating_sub(GAP);
        let line = |cells: &Vec<String>| {
            let mut line = String::new();
            let columns = cells.iter().zip(&widths).enumerate();
            for (_, (cell, width)) in columns.filter(|(n, _)| !is_narrow || !spare.contains(n)) {
                pad(&mut line, cell, *width);
            }
            self.cut(line.trim_end(), self.width)
        };
        lines.iter().map(line).collect()
    }

    /// The start of a text that is too long, and a sign that it is cut.
    fn cut(self, text: &str, width: usize) -> String {
        if wide(text) <= width {
            return text.to_owned();
        }
        let sign = if self.is_utf8 { "…" } else { "..." };
        let head = &text[..offset(text, width.saturating_sub(wide(sign)))];
        let is_open = head.rfind('\x1b').is_some_and(|at| !head[at..].starts_with(PLAIN));
        format!("{head}{}{sign}", if is_open { PLAIN } else { "" })
    }
}

/// Ends a colour.
const PLAIN: &str = "\x1b[0m";
/// The blanks between two columns.
const GAP: usize = 2;

/// Adds a text, padded with blanks.
fn pad(line: &mut String, text: &str, width: usize) {
    line.push_str(text);
    line.extend(std::iter::repeat_n(' ', width.saturating_sub(wide(text))));
}

fn next_line(text: &mut String, column: usize) {
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
    pad(text, "", column);
}

/// The columns of a printable text; its colours take none.
fn wide(text: &str) -> usize {
    let mut is_colour = false;
    let mut count = 0;
    for c in text.chars() {
        count += usize::from(c != '\x1b' && !is_colour);
        is_colour = c == '\x1b' || is_colour && c != 'm';
    }
    count
}

/// The offset in a text after this many columns.
fn offset(text: &str, columns: usize) -> usize {
    text.char_indices().map(|(at, _)| at).take_while(|at| wide(&text[..*at]) <= columns).last().unwrap_or(0)
}

/// The number of columns of a terminal; `None`: it is none, or does not know.
pub fn columns(of: BorrowedFd<'_>) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(of).ok()?;
    Some(size.ws_col.into()).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(width: usize, is_utf8: bool) -> Screen {
        Screen { width, is_utf8, has_colour: false, is_terminal: false }
    }

    fn of(is_terminal: bool, columns: Option<usize>, environment: &[(&str, &str)]) -> (usize, bool, bool) {
        let value = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        let screen = Screen::new(is_terminal, columns, &value);
        (screen.width, screen.is_utf8, screen.has_colour)
    }

    #[test]
    fn the_environment_says_how_wide_in_which_characters_and_whether_in_colour() {
        const NO_LIMIT: usize = usize::MAX;
        for (environment, expected) in [
            (&[][..], (NO_LIMIT, false, false)),
            (&[("COLUMNS", "132")], (132, false, false)),
            (&[("COLUMNS", "")], (NO_LIMIT, false, false)),
            (&[("COLUMNS", "0")], (NO_LIMIT, false, false)),
            (&[("COLUMNS", "wide")], (NO_LIMIT, false, false)),
            (&[("LANG", "de_DE.UTF-8")], (NO_LIMIT, true, false)),
            (&[("LANG", "C.utf8")], (NO_LIMIT, true, false)),
            (&[("LANG", "de_DE.UTF-8"), ("LC_CTYPE", "POSIX")], (NO_LIMIT, false, false)),
            (&[("LANG", "C"), ("LC_CTYPE", "en_GB.UTF-8")], (NO_LIMIT, true, false)),
            (&[("LC_ALL", "C"), ("LC_CTYPE", "en_GB.UTF-8")], (NO_LIMIT, false, false)),
            (&[("LC_ALL", ""), ("LC_CTYPE", "en_GB.UTF-8")], (NO_LIMIT, true, false)),
            (&[("LANG", "de_DE@euro")], (NO_LIMIT, false, false)),
            (&[("TERM", "xterm")], (NO_LIMIT, false, false)),
        ] {
            assert_eq!(of(false, None, environment), expected, "{environment:?}");
        }
        for (environment, expected) in [
            (&[("TERM", "xterm")][..], (80, false, true)),
            (&[("TERM", "xterm"), ("NO_COLOR", "")], (80, false, true)),
            (&[("TERM", "xterm"), ("NO_COLOR", "1")], (80, false, false)),
            (&[("TERM", "xterm"), ("NO_COLOR", "0")], (80, false, false)),
            (&[("TERM", "dumb")], (80, false, false)),
            (&[("COLUMNS", "40")], (40, false, false)),
        ] {
            assert_eq!(of(true, Some(80), environment), expected, "{environment:?}");
        }
    }

    #[test]
    fn what_speaks_to_the_terminal_or_is_not_in_its_locale_is_written_out() {
        for (text, in_utf8, in_ascii) in [
            ("plain ~", "plain ~", "plain ~"),
            ("\u{fc}文", "\u{fc}文", "\\u{fc}\\u{6587}"),
            ("\x1b[31m\r\n\t\0\x7f\u{9b}", "\\u{1b}[31m\\u{d}\\u{a}\\u{9}\\u{0}\\u{7f}\\u{9b}", ""),
            ("\u{202e}gpj.exe\u{feff}", "\\u{202e}gpj.exe\\u{feff}", ""),
        ] {
            let in_ascii = if in_ascii.is_empty() { in_utf8 } else { in_ascii };
            assert_eq!(screen(80, true).printable(text), in_utf8);
            assert_eq!(screen(80, false).printable(text), in_ascii);
        }
    }

    #[test]
    fn values_go_on_below_themselves_and_nothing_is_lost() {
        let row = |value: &str| ("key", value.to_owned(), None);
        let shown = |width, value: &str| screen(width, true).rows(&[row(value)]);
        assert_eq!(shown(usize::MAX, "a  b"), "key  a  b\n");
        assert_eq!(shown(25, "12345 789012345 789012345"), "key  12345 789012345\n     789012345\n");
        assert_eq!(shown(21, "12345678901234567"), "key  1234567890123456\n     7\n");
        assert_eq!(shown(25, "revision 123456789012345678901"), "key  revision 12345678901\n     2345678901\n");
        assert_eq!(shown(25, "12345678901234567890 x"), "key  12345678901234567890\n     x\n");
        assert_eq!(shown(1, "1234567890123456 x"), "key  1234567890123456\n     x\n", "never less than that");
        assert_eq!(shown(80, ""), "key\n");
        assert_eq!(shown(21, "1234567890123456  "), "key  1234567890123456\n", "blanks at the end take no line");
        for width in 1..60 {
            for value in ["", " ", "a b c", "one two three four five six seven", &"long".repeat(20), "ü ö ä   ß"] {
                let text = shown(width, value);
                assert!(text.lines().all(|l| wide(l) <= width.max(21) && l.trim_end() == l), "{width}: {text:?}");
                let joined: String = text[3..].split_whitespace().collect();
                assert_eq!(joined, value.split_whitespace().collect::<String>(), "{width}: {text:?}");
            }
        }
    }

    #[test]
    fn spare_columns_give_way_then_lines() {
        let lines: Vec<Vec<String>> = [["when", "revision", "took"], ["today", "0123456789abcdef", "7s"]]
            .map(|cells| cells.map(str::to_owned).to_vec())
            .to_vec();
        let table = |width, is_utf8| screen(width, is_utf8).table(&lines, &[2]).join("\n");
        assert_eq!(table(80, true), "when   revision          took\ntoday  0123456789abcdef  7s");
        assert_eq!(table(29, true), table(80, true));
        assert_eq!(table(28, true), "when   revision\ntoday  0123456789abcdef");
        assert_eq!(table(20, true), "when   revision\ntoday  0123456789ab…");
        assert_eq!(table(20, false), "when   revision\ntoday  0123456789...");
        assert_eq!(table(4, false), "w...\nt...");
        for width in 3..40 {
            assert!(table(width, false).lines().all(|line| wide(line) <= width), "{width}");
        }
    }

    #[test]
    fn colours_take_no_room_and_end_where_the_line_does() {
        let coloured = Screen { has_colour: true, ..screen(10, true) };
        let word = coloured.painted("deployed", Color::Good);
        assert_eq!(word, "\x1b[32mdeployed\x1b[0m");
        assert_eq!(coloured.painted("x", Color::Plain), "x");
        assert_eq!(screen(10, true).painted("x", Color::Bad), "x");
        let lines = [vec![word.clone(), "ab".into()], vec![word, "abc".into()]];
        let table = coloured.table(&lines, &[]);
        assert_eq!(table[0], "\x1b[32mdeployed\x1b[0m …");
        assert_eq!(Screen { width: 5, ..coloured }.table(&lines, &[])[0], "\x1b[32mdepl\x1b[0m…");
    }
}
