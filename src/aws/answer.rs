//! Parses credentials in JSON, as programs, containers and the instance return them: one flat object. Errors never
//! contain its text.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::credentials::Credentials;
use crate::error::{Error, Result};

/// A flat JSON object.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Parses a JSON object.
    pub(super) fn parse(text: &str) -> Result<Self> {
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Error::failed("it is no JSON object")),
            // Only position and kind of the error: parsing to `Value` repeats no values.
            Err(e) => Err(Error::failed(format!("it is no JSON: {e}"))),
        }
    }

    /// A text, if it is not empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// A number.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.as_u64()
    }

    /// The credentials; `token` is the key of the session token.
    pub(super) fn credentials(&self, token: &str, whose: &str) -> Result<Credentials> {
        let need = |key: &str| self.get(key).ok_or_else(|| Error::failed(format!("it has no {key}")));
        let expires = self.get("Expiration").map(expiration).transpose()?;
        Credentials::checked(need("AccessKeyId")?, need("SecretAccessKey")?, self.get(token), expires, whose)
    }
}

/// `Expiration` in seconds since 1970: ISO 8601, with or without a fraction.
pub(super) fn expiration(text: &str) -> Result<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok().and_then(|time| u64::try_from(time.unix_timestamp()).ok());
    time.ok_or_else(|| Error::failed("its Expiration is no time like 2026-01-31T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use crate::aws::answer::*;

    #[test]
    fn expiration_table() {
        for (text, seconds) in [
            ("2026-11-22T06:00:05Z", Some(1_795_327_205)),
            ("2026-11-22T06:00:05.123456Z", Some(1_795_327_205)),
            ("2026-11-22T07:00:05+01:00", Some(1_795_327_205)),
            ("1969-12-31T00:00:00Z", None),
            ("2026-11-22", None),
            ("1795327205", None),
            ("", None),
        ] {
            assert_eq!(expiration(text).ok(), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_what_stands_there() {
        for (text, words) in [
            ("", "no JSON"),
            ("hunter2", "no JSON"),
            ("\"hunter2\"", "no JSON object"),
            ("[1]", "no JSON object"),
            ("{\"SecretAccessKey\": \"hunter2\"", "no JSON"),
            ("{\"SecretAccessKey\": \"hunter2\"}", "no AccessKeyId"),
            ("{\"AccessKeyId\": \"a\", \"SecretAccessKey\": \"\"}", "no SecretAccessKey"),
            ("{\"AccessKeyId\": 7, \"SecretAccessKey\": \"hunter2\"}", "no AccessKeyId"),
            ("{\"AccessKeyId\": \"a\", \"SecretAccessKey\": \"hunter2\\n\"}", "characters that no key has"),
            ("{\"AccessKeyId\": \"a\", \"SecretAccessKey\": \"hunter2\", \"Expiration\": \"hunter2\"}", "Expiration"),
        ] {
            let error = Fields::parse(text).and_then(|f| f.credentials("Token", "x")).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("hunter2"), "{text}: {error}");
        }
        let text = r#"{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "Token": null, "Other": {"x": []}}"#;
        let fields = Fields::parse(text).unwrap();
        assert_eq!((fields.number("Version"), fields.number("AccessKeyId")), (Some(1), None));
        let found = fields.credentials("Token", "me").unwrap();
        assert_eq!((found.token, found.expires, found.whose.as_str()), (None, None, "me"));
    }
}
