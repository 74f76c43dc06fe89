//! Characters: blanks, comments, ends of lines, plain and quoted scalars. Never looks at a byte more than a few times.

use super::{Parsed, Text};
use crate::appspec::{Place, Problem};

/// A place in a document, and what can be read there.
pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    column: u32,
}

impl<'a> Scan<'a> {
    /// The beginning of a document, which must be text without control characters.
    pub(super) fn new(bytes: &'a [u8]) -> Parsed<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let (text, is_text) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, true),
            Err(e) => (std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default(), false),
        };
        let mut scan = Self { text, at: 0, line: 1, column: 1 };
        while let Some(c) = scan.peek() {
            let is_return = c == '\r' && scan.text[scan.at..].starts_with("\r\n");
            // Some readers end a line at these.
            let breaks = matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
            if (c.is_control() && !matches!(c, '\n' | '\t') && !is_return) || breaks {
                return Err(scan.error(&format!("a control character ({}) cannot stand here", c.escape_default())));
            }
            scan.step(c);
        }
        if !is_text {
            return Err(scan.error("this is not UTF-8"));
        }
        Ok(Self { text, at: 0, line: 1, column: 1 })
    }

    pub(super) fn place(&self) -> Place {
        Place { line: self.line, column: self.column }
    }

    pub(super) fn error(&self, text: &str) -> Box<Problem> {
        self.error_at(self.place(), text)
    }

    pub(super) fn error_at(&self, at: Place, text: &str) -> Box<Problem> {
        Box::new(Problem::error(at, text.to_owned()))
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// The character after the next one.
    fn second(&self) -> Option<char> {
        self.text[self.at..].chars().nth(1)
    }

    pub(super) fn is_end(&self) -> bool {
        self.at == self.text.len()
    }

    fn step(&mut self, c: char) {
        self.at += c.len_utf8();
        (self.line, self.column) = if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
    }

    /// Goes over `count` characters that are in this line.
    pub(super) fn skip(&mut self, count: usize) {
        for _ in 0..count {
            if let Some(c) = self.peek() {
                self.step(c);
            }
        }
    }

    /// Goes over blanks in a line.
    pub(super) fn blanks(&mut self) -> Parsed<()> {
        while self.peek() == Some(' ') {
            self.skip(1);
        }
        if self.peek() == Some('\t') {
            return Err(self.error("this is a tab: write blanks"));
        }
        Ok(())
    }

    /// Whether nothing but a comment follows in this line.
    pub(super) fn is_line_end(&self) -> bool {
        matches!(self.peek(), None | Some('\n' | '\r')) || self.is_comment()
    }

    fn is_comment(&self) -> bool {
        self.peek() == Some('#') && (self.at == 0 || self.text[..self.at].ends_with([' ', '\n']))
    }

    /// Ends a line, and goes to the first character of the next one that has something.
    pub(super) fn line_end(&mut self) -> Parsed<()> {
        self.blanks()?;
        if !self.is_line_end() {
            return Err(self.error(match self.peek() {
                Some('#') => "a comment needs a blank in front of its #",
                _ => "nothing more can stand in this line: put a text with special characters in \"quotes\"",
            }));
        }
        self.lines()?;
        if self.is_document_marker() {
            return Err(self.error("a second document begins here: only one is read"));
        }
        Ok(())
    }

    /// Goes over blanks, comments and ends of lines.
    pub(super) fn lines(&mut self) -> Parsed<()> {
        loop {
            self.blanks()?;
            if self.is_comment() {
                let rest = &self.text[self.at..];
                let length = rest.find('\n').unwrap_or(rest.len());
                self.at += length; // the column is not asked for before the next line
            }
            match self.peek() {
                Some(c @ ('\n' | '\r')) => self.step(c),
                _ => return Ok(()),
            }
        }
    }

    /// `---` or `...`, where documents begin and end.
    pub(super) fn is_document_marker(&self) -> bool {
        self.column == 1 && (self.is_marker("---") || self.is_marker("..."))
    }

    fn is_marker(&self, marker: &str) -> bool {
        let rest = self.text[self.at..].strip_prefix(marker);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']))
    }

    /// Goes to the first character, over a line `---`.
    pub(super) fn document_start(&mut self) -> Parsed<()> {
        self.lines()?;
        if self.column == 1 && self.is_marker("---") {
            self.skip(3);
            return self.line_end();
        }
        if self.column == 1 && self.peek() == Some('%') {
            return Err(self.error("directives are not read here: leave the line out"));
        }
        if self.column == 1 && self.is_marker("...") {
            return Err(self.error("a document ends here that has not begun: leave the line out"));
        }
        Ok(())
    }

    /// `- `, the beginning of an entry.
    pub(super) fn is_dash(&self) -> bool {
        self.peek() == Some('-') && matches!(self.second(), None | Some(' ' | '\t' | '\n' | '\r'))
    }

    /// Goes over blanks. Whether `: ` is next, so that what came before is a key.
    pub(super) fn reach_colon(&mut self) -> bool {
        while self.peek() == Some(' ') {
            self.skip(1);
        }
        self.peek() == Some(':') && matches!(self.second(), None | Some(' ' | '\t' | '\n' | '\r'))
    }

    pub(super) fn is_flow(&self) -> bool {
        matches!(self.peek(), Some('[' | '{'))
    }

    /// A scalar, which ends in this line. Within brackets a plain one ends at them and at a comma too.
    pub(super) fn scalar(&mut self, in_flow: bool) -> Parsed<Text> {
        match self.peek() {
            Some('"') => self.double_quoted(),
            Some('\'') => self.single_quoted(),
            _ => self.plain(in_flow),
        }
    }

    fn plain(&mut self, in_flow: bool) -> Parsed<Text> {
        let is_space = |c: Option<char>| matches!(c, None | Some(' ' | '\t' | '\n' | '\r'));
        let is_flow_end = |c: Option<char>| in_flow && matches!(c, Some(',' | '[' | ']' | '{' | '}'));
        let (first, second) = (self.peek(), self.second());
        let refusal = match first {
            Some('&') => "anchors are not read here: write the value out, or put it in \"quotes\"",
            Some('*') => "aliases are not read here: write the value out, or put it in \"quotes\"",
            Some('!') => "tags are not read here: leave it out, or put the value in \"quotes\"",
            Some('|' | '>') => "texts over several lines are not read here: write it on one line",
            Some('@' | '`' | '%' | ',' | ']' | '}' | '#') => "a text cannot begin with this: put it in \"quotes\"",
            Some('?' | ':') if in_flow || is_space(second) => "a text cannot begin with this: put it in \"quotes\"",
            Some('-') if is_space(second) || is_flow_end(second) => {
                "a list cannot stand here: put a text in \"quotes\""
            }
            _ => "",
        };
        if !refusal.is_empty() {
            return Err(self.error(refusal));
        }
        let start = self.at;
        let mut end = start;
        while let Some(c) = self.peek() {
            let second = self.second();
            let is_colon = c == ':' && (is_space(second) || is_flow_end(second));
            if matches!(c, '\n' | '\r') || is_flow_end(Some(c)) || is_colon {
                break;
            }
            if c == '\t' {
                return Err(self.error("this is a tab: write blanks, or put the text in \"quotes\""));
            }
            if c == '?' && in_flow {
                return Err(self.error("readers differ about a question mark here: put the text in \"quotes\""));
            }
            if c == '#' && end < self.at {
                break;
            }
            self.step(c);
            if c != ' ' {
                end = self.at;
            }
        }
        Ok(Text { text: self.text[start..end].to_owned(), quoted: false })
    }

    fn single_quoted(&mut self) -> Parsed<Text> {
        let at = self.place();
        self.skip(1);
        let mut text = String::new();
        loop {
            let c = self.in_quotes(at)?;
            if c == '\'' {
                if self.peek() != Some('\'') {
                    return Ok(Text { text, quoted: true });
                }
                self.skip(1);
            }
            text.push(c);
        }
    }

    fn double_quoted(&mut self) -> Parsed<Text> {
        let at = self.place();
        self.skip(1);
        let mut text = String::new();
        loop {
            match self.in_quotes(at)? {
                '"' => return Ok(Text { text, quoted: true }),
                '\\' => {
                    let c = self.escaped(at)?;
                    text.push(c);
                }
                c => text.push(c),
            }
        }
    }

    /// The next character of a quoted text.
    fn in_quotes(&mut self, start: Place) -> Parsed<char> {
        match self.peek() {
            None | Some('\n' | '\r') => Err(self.error_at(start, "the quote is not closed in its line")),
            Some(c) => {
                self.step(c);
                Ok(c)
            }
        }
    }

    /// What follows a backslash within double quotes.
    fn escaped(&mut self, start: Place) -> Parsed<char> {
        let at = self.place();
        let c = match self.in_quotes(start)? {
            c @ ('\\' | '"' | '/' | ' ') => return Ok(c),
            't' => return Ok('\t'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            '0' => return Ok('\0'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let mut code = 0;
        for _ in 0..c {
            let digit = self.in_quotes(start)?.to_digit(16);
            code = code * 16 + digit.ok_or_else(|| self.error_at(at, "hexadecimal digits are missing here"))?;
        }
        match char::from_u32(code).filter(|_| c > 0) {
            Some(c) => Ok(c),
            None => {
                Err(self.error_at(at, "this escape is unknown: write \\\\ for a backslash, or use 'single quotes'"))
            }
        }
    }
}
