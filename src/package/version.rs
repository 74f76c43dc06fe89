//! The version that a signed trusted comment names: a word `version:N`, where N is one to eight whole numbers with dots
//! between them. Compared number by number; missing numbers at the end are 0.

/// The most numbers of a version.
const LONGEST: usize = 8;

/// A version: its numbers, without zeros at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Vec<u64>);

impl Version {
    /// Parses `1.2.3`.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |part: &str| part.parse().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit()));
        let mut numbers: Vec<u64> = text.split('.').map(number).collect::<Option<_>>()?;
        if numbers.len() > LONGEST {
            return None;
        }
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(Self(numbers))
    }
}

/// The text of the version in a trusted comment; `None`: it names none. An invalid version is an error.
pub fn in_comment(comment: &str) -> Result<Option<&str>, String> {
    let mut named = comment.split_whitespace().filter_map(|word| word.strip_prefix("version:"));
    match (named.next(), named.next()) {
        (None, _) => Ok(None),
        (Some(text), None) if Version::parse(text).is_some() => Ok(Some(text)),
        (Some(_), None) => {
            Err("version: takes whole numbers with dots between them, as version:12 or version:1.2.3".to_owned())
        }
        (Some(_), Some(_)) => Err("it names more than one version".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        let order = ["0", "0.0.1", "1", "1.0.1", "1.2", "1.10", "2", "10", "18446744073709551615"];
        let parsed: Vec<_> = order.iter().map(|text| Version::parse(text).unwrap()).collect();
        assert!(parsed.is_sorted_by(|a, b| a < b));
        assert_eq!(Version::parse("1"), Version::parse("01.0.0"));
        for bad in
            ["", ".", "1.", ".1", "1..2", "-1", "+1", "1.2-rc1", "v1", "18446744073709551616", "1.1.1.1.1.1.1.1.1"]
        {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn comments_table() {
        for (comment, expected) in [
            ("", Some(None)),
            ("timestamp:1700000000\tfile:app.zip\thashed", Some(None)),
            ("version:7", Some(Some("7"))),
            ("app version:1.2.3 of today", Some(Some("1.2.3"))),
            ("timestamp:1\tversion:3", Some(Some("3"))),
            ("subversion:7", Some(None)),
            ("version: 7", None),
            ("version:7 version:8", None),
            ("version:7,", None),
        ] {
            assert_eq!(in_comment(comment).ok(), expected, "{comment}");
        }
    }
}
