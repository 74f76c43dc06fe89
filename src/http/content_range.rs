//! `Content-Range`: only the form for one range of a known length.

/// Bytes `first` to `last` of `total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) total: u64,
}

impl ContentRange {
    /// Parses `bytes 10-99/100`; `None` for any other form or an inconsistent range.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = Self { first: number(first)?, last: number(last)?, total: number(total)? };
        (unit.eq_ignore_ascii_case("bytes") && range.first <= range.last && range.last < range.total).then_some(range)
    }

    /// Whether the range is all of `total` bytes from `first` on.
    pub(super) fn is_rest(self, first: u64, total: u64) -> bool {
        self == Self { first, last: total.saturating_sub(1), total }
    }
}

/// Digits only: `parse` alone would accept a sign.
fn number(text: &str) -> Option<u64> {
    (text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use crate::http::content_range::*;

    #[test]
    fn parse_table() {
        for (text, expected) in [
            ("bytes 0-99/100", Some((0, 99, 100))),
            ("bytes 10-99/100", Some((10, 99, 100))),
            ("Bytes 10-20/100", Some((10, 20, 100))),
            (" bytes 0-0/1 ", Some((0, 0, 1))),
            ("bytes 10-9/100", None),
            ("bytes 10-100/100", None),
            ("bytes 10-99/*", None),
            ("bytes */100", None),
            ("bytes 10-99", None),
            ("bytes=10-99/100", None),
            ("items 10-99/100", None),
            ("bytes +1-99/100", None),
            ("bytes -99/100", None),
            ("bytes 0-99999999999999999999/100", None),
            ("", None),
        ] {
            let expected = expected.map(|(first, last, total)| ContentRange { first, last, total });
            assert_eq!(ContentRange::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn only_the_whole_rest_is_the_rest() {
        let range = ContentRange::parse("bytes 10-99/100").unwrap();
        assert!(range.is_rest(10, 100));
        assert!(!range.is_rest(11, 100) && !range.is_rest(10, 101) && !range.is_rest(0, 100));
        assert!(!ContentRange::parse("bytes 10-98/100").unwrap().is_rest(10, 100));
    }
}
