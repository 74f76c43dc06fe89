//! Mends texts that the parser refuses although other readers accept them: lines within brackets or quotes that are not
//! indented further than their parent, and tabs between a colon and a text. More blanks there change no value, so the
//! document is parsed again with them.

use saphyr_parser::Marker;

use crate::appspec::Place;

/// The text with more blanks at `marker`, if that helps; the number of the changed line, and the columns it moved.
/// `bracket`: the place of the outermost open bracket.
pub(super) fn mended(text: &str, marker: &Marker, bracket: Option<Place>) -> Option<(String, usize, u32)> {
    let at = text.char_indices().nth(marker.index())?.0;
    let start = text[..at].rfind('\n').map_or(0, |n| n + 1);
    let line = marker.line();
    let before = &text[start..at];
    let is_marker = before.is_empty() && ["---", "..."].iter().any(|marker| text[at..].starts_with(marker));
    let is_left = |bracket: &Place| (bracket.line as usize) < line && before.len() < bracket.column as usize;
    if let Some(bracket) = bracket.filter(is_left).filter(|_| !is_marker && before.trim_matches([' ', '\t']).is_empty())
    {
        let width = bracket.column as usize;
        let shift = u32::try_from(width - before.len()).ok()?;
        return Some((format!("{}{}{}", &text[..start], " ".repeat(width), &text[at..]), line, shift));
    }
    if text[at..].starts_with(['"', '\'']) {
        let mended = unquoted_indent(text, at, marker.col() + 1)?;
        return Some((mended, line, 0));
    }
    // The parser never fails at a tab within quotes.
    let colon = before.trim_end_matches('\t');
    let is_tab = colon.len() < before.len() && colon.ends_with(':') && !text[at..].starts_with('-');
    is_tab.then(|| {
        (format!("{}{colon}{}{}", &text[..start], " ".repeat(before.len() - colon.len()), &text[at..]), line, 0)
    })
}

/// The text with `width` more blanks before each further line of the quoted text at `at`. `None`: no further line lacks
/// them, the text is not closed, or a line starts with a document marker.
fn unquoted_indent(text: &str, at: usize, width: usize) -> Option<String> {
    let quote = text[at..].chars().next()?;
    let mut length = quote.len_utf8();
    let mut rest = text[at + length..].chars();
    loop {
        let c = rest.next()?;
        length += c.len_utf8();
        match c {
            '\\' if quote == '"' => length += rest.next()?.len_utf8(),
            c if c == quote => break,
            _ => {}
        }
    }
    let (whole, tail) = text[at..].split_at(length);
    let mut lines = whole.split('\n');
    let mut mended = format!("{}{}", &text[..at], lines.next()?);
    let mut is_moved = false;
    for line in lines {
        if line.starts_with("---") || line.starts_with("...") {
            return None;
        }
        is_moved |= !line.trim_end_matches('\r').is_empty() && !line.starts_with(&" ".repeat(width));
        mended += &format!("\n{}{line}", " ".repeat(width));
    }
    is_moved.then(|| mended + tail)
}
