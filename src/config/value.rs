//! Parses values: numbers, sizes, times, words, names. Pure; the error names a right value.

use std::time::Duration;

use super::secret::Secret;
use super::suggest::hint;

/// Why a value cannot be used, and a right one.
pub type Why = String;

/// A whole number from `least` to `most`.
pub fn number(text: &str, least: u64, most: u64) -> Result<u64, Why> {
    digits(text)
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| format!("it takes a whole number from {least} to {most}"))
}

/// The largest size: no file here reaches 8 PiB.
const LARGEST: u64 = 1 << 53;

/// Bytes: `1000`, `512K`, `64M`, `4G`.
pub fn size(text: &str) -> Result<u64, Why> {
    let (number, unit) = split_unit(text);
    let scale = match unit.to_ascii_uppercase().as_str() {
        "" => Some(1),
        "K" => Some(1 << 10),
        "M" => Some(1 << 20),
        "G" => Some(1 << 30),
        _ => None,
    };
    scale
        .and_then(|scale: u64| digits(number)?.checked_mul(scale))
        .filter(|n| (1..=LARGEST).contains(n))
        .ok_or_else(|| "it takes bytes, with K, M or G for units of 1024 (512M, 4G), more than none".to_owned())
}

/// A time: `600`, `90s`, `5m`, `1h`; from one second to `most`.
pub fn time(text: &str, most: Duration) -> Result<Duration, Why> {
    let (number, unit) = split_unit(text);
    let scale = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    scale
        .and_then(|scale: u64| digits(number)?.checked_mul(scale))
        .filter(|n| (1..=most.as_secs()).contains(n))
        .map(Duration::from_secs)
        .ok_or_else(|| {
            format!("it takes seconds, or a number with s, m or h (90s, 5m, 1h), from 1 to {} seconds", most.as_secs())
        })
}

/// A moment as deployer.py writes it, or RFC 3339: `2023-07-30 19:41:09+0000`; seconds since 1970.
pub fn moment(text: &str) -> Result<u64, Why> {
    crate::sys::clock::moment(text).ok_or_else(|| "it takes a time, as 2023-07-30 19:41:09+0000".to_owned())
}

/// One of a few words.
pub fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Why> {
    words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("it takes {}{}", known.join(", "), hint(text, known.iter().copied()))
    })
}

/// The id of a deployment; it is also the name of a directory.
pub fn id(text: &str) -> Result<String, Why> {
    if text.len() <= 64 && !text.starts_with('.') && !text.is_empty() && text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err("it takes 1 to 64 of A-Z a-z 0-9 . _ - and does not begin with a dot".to_owned())
}

/// A section's name as an id. A changed name gets a hash, so that two names stay different.
pub fn id_of_section(section: &str) -> String {
    id(section).unwrap_or_else(|_| {
        let safe = |b: u8| if is_plain(b) { char::from(b) } else { '-' };
        let start: String = section.bytes().take(40).map(safe).collect();
        let hash = <sha2::Sha256 as sha2::Digest>::digest(section);
        format!("{}-{}", start.trim_start_matches('.'), crate::model::hex(&hash[..4]))
    })
}

fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}

/// Headers that the program sets itself: an override would break its guarantees about responses.
const OUR_HEADERS: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// `Name: value`, as in RFC 9110 section 5.
pub fn header(text: &str) -> Result<(String, String), Why> {
    const RIGHT: &str = "it takes Name: value";
    let (name, value) = text.split_once(':').ok_or(RIGHT)?;
    let (name, value) = (name.trim(), value.trim());
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("{RIGHT}, and the name has a character that no header's name has"));
    }
    if !value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Err(format!("{RIGHT}, and the value of {name} is not plain ASCII"));
    }
    if OUR_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("{name} is for repo-deploy itself to set"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A region, which is part of a host name.
pub fn region(text: &str) -> Result<String, Why> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let right =
        (1..=63).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('-') && !text.ends_with('-');
    if right { Ok(text.to_owned()) } else { Err("it takes the name of a region, as eu-west-1".to_owned()) }
}

/// The URL of an endpoint of S3 or STS: scheme, host, port and path. The path may only have characters that every
/// signer and server writes in the same way.
pub fn endpoint(text: &str) -> Result<url::Url, Why> {
    const RIGHT: &str = "it takes http:// or https://, a host and perhaps a port and a path";
    let url = url::Url::parse(text).map_err(|e| format!("{RIGHT}: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(RIGHT.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{RIGHT}: keys are not part of it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{RIGHT}, and nothing behind that"));
    }
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    if !url.path().bytes().all(is_plain) || url.path().contains("//") {
        return Err(format!("{RIGHT} of letters, digits and - . _ ~"));
    }
    Ok(url)
}

/// A URL of the web, which may be a secret as a whole.
pub fn web(text: &str) -> Result<Secret, Why> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Secret::new(text)),
        _ => Err("it takes https://host/path or http://host/path".to_owned()),
    }
}

/// Digits only: other forms that `parse` accepts (`+5`) are no numbers in a configuration.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, expected) in [
            ("1", Some(1)),
            ("512", Some(512)),
            ("4G", Some(4 << 30)),
            ("4 g", Some(4 << 30)),
            ("64M", Some(64 << 20)),
            ("10k", Some(10 << 10)),
            ("0", None),
            ("0G", None),
            ("", None),
            ("G", None),
            ("4GB", None),
            ("4.5G", None),
            ("-1", None),
            ("+1", None),
            ("1e9", None),
            ("9007199254740992", Some(1 << 53)),
            ("9007199254740993", None),
            ("18446744073709551616", None),
            ("18446744073709551615G", None),
            ("4ß", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn times_have_units_of_a_clock() {
        let hour = Duration::from_secs(3600);
        for (text, expected) in [
            ("1", Some(1)),
            ("90s", Some(90)),
            ("5m", Some(300)),
            ("1h", Some(3600)),
            ("3600", Some(3600)),
            ("3601", None),
            ("2h", None),
            ("0", None),
            ("", None),
            ("5M", None),
            ("5 min", None),
            ("1.5h", None),
            ("1h30m", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(time(text, hour).ok(), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn numbers_are_digits_within_bounds() {
        for (text, expected) in [
            ("2", Some(2)),
            ("007", Some(7)),
            ("9", Some(9)),
            ("1", None),
            ("10", None),
            ("+5", None),
            ("", None),
            ("5 ", None),
        ] {
            assert_eq!(number(text, 2, 9).ok(), expected, "{text}");
        }
    }

    #[test]
    fn words_are_exact_and_the_nearest_is_named() {
        let words = [("auto", 1), ("symlink", 2), ("in-place", 3)];
        assert_eq!(word("in-place", &words), Ok(3));
        assert_eq!(word("inplace", &words), Err("it takes auto, symlink, in-place; did you mean in-place?".into()));
        assert_eq!(word("x", &words), Err("it takes auto, symlink, in-place".into()));
    }

    #[test]
    fn ids_are_safe_names_and_stay_apart() {
        for good in ["default", "Settings", "a.b_c-1", &"x".repeat(64)] {
            assert_eq!(id(good).as_deref(), Ok(good));
            assert_eq!(id_of_section(good), good);
        }
        for bad in ["", ".", "..", ".a", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(id(bad).is_err(), "{bad}");
            let made = id_of_section(bad);
            assert!(id(&made).is_ok(), "{bad} -> {made}");
        }
        assert_ne!(id_of_section("a b"), id_of_section("a/b"));
        assert_ne!(id_of_section("a b"), id_of_section("a-b"));
    }

    #[test]
    fn headers_are_name_and_value_and_not_ours() {
        assert_eq!(header("X-Token:  a:b "), Ok(("X-Token".into(), "a:b".into())));
        assert_eq!(header("Authorization: Bearer x=").map(|h| h.1), Ok("Bearer x=".into()));
        for bad in ["X-Token", ": x", "X Token: x", "X: \u{e4}", "X: a\rb", "Range: x", "HOST: x", "Content-Length: 1"]
        {
            let why = header(bad).unwrap_err();
            assert!(!why.contains("Token: x"), "{why}");
        }
    }
}
