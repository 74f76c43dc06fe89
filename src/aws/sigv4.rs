//! Signature Version 4 for a request with a body to a service other than S3: rust-s3 signs for S3 only.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;
use url::Url;

use super::credentials::Credentials;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::model::hex;

/// The data to sign.
pub(super) struct Request<'a> {
    /// The method.
    pub(super) method: &'a str,
    /// The URL; its query is ignored.
    pub(super) url: &'a Url,
    /// The content type of the body.
    pub(super) content_type: &'a str,
    /// The body.
    pub(super) body: &'a [u8],
    /// The region of the service.
    pub(super) region: &'a str,
    /// The name of the service: `sts`.
    pub(super) service: &'a str,
    /// The time, in seconds since 1970.
    pub(super) now: u64,
}

/// The headers of a signed request.
pub(super) struct Signed {
    /// `x-amz-date`.
    pub(super) date: String,
    /// `authorization`.
    pub(super) authorization: Secret,
}

/// Signs the body, the host, the content type, the date and the session token.
pub(super) fn sign(request: &Request<'_>, keys: &Credentials) -> Result<Signed> {
    let Request { method, url, content_type, body, region, service, now } = *request;
    let date = stamp(now)?;
    let day = date.get(..8).unwrap_or_default();
    let mut headers = vec![("content-type", content_type), ("host", ""), ("x-amz-date", &date)];
    let host = host(url);
    if let Some(("host", value)) = headers.get_mut(1) {
        *value = &host;
    }
    headers.extend(keys.token.as_ref().map(|token| ("x-amz-security-token", token.reveal())));
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!("{method}\n{}\n\n{lines}\n{names}\n{}", url.path(), hex(&Sha256::digest(body)));
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut key = format!("AWS4{}", keys.secret_key.reveal()).into_bytes();
    for part in [day, region, service, "aws4_request"] {
        key = mac(&key, part)?;
    }
    let signature = hex(&mac(&key, &text)?);
    let id = &keys.access_key;
    let authorization =
        Secret::new(format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"));
    Ok(Signed { date, authorization })
}

/// The host header: with the port, unless it is the scheme's default.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The time as `20261122T060005Z`.
fn stamp(now: u64) -> Result<String> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let time = i64::try_from(now).ok().and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok());
    time.and_then(|time| time.format(&format).ok()).ok_or_else(|| Error::failed("the clock shows no time to sign with"))
}

fn mac(key: &[u8], text: &str) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|e| Error::failed(format!("cannot sign: {e}")))?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use crate::aws::sigv4::*;

    /// Computed by botocore 1.44 for the same input (SigV4Auth of a POST to STS).
    #[test]
    fn a_signature_is_botocores() {
        for (token, url, expected) in [
            (
                None,
                "https://sts.eu-west-1.amazonaws.com/",
                "1e5de153c52b4972e71bc775ab78404434d31de43d4f19a0179f12dfaa018a0a",
            ),
            (
                Some("to/ken+="),
                "http://127.0.0.1:5000/",
                "fe11136609ed398951f3c65adc69fec721fe48f86d8f1b16d9ee7d692963f6fc",
            ),
        ] {
            let keys = Credentials::checked("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY", token, None, "x").unwrap();
            let url = Url::parse(url).unwrap();
            let request = Request {
                method: "POST",
                url: &url,
                content_type: "application/x-www-form-urlencoded",
                body: b"Action=AssumeRole&Version=2011-06-15",
                region: "eu-west-1",
                service: "sts",
                now: 1_795_327_205,
            };
            let signed = sign(&request, &keys).unwrap();
            assert_eq!(signed.date, "20261122T060005Z");
            let signature = signed.authorization.reveal().rsplit('=').next().unwrap().to_owned();
            assert_eq!(signature, expected, "{url}");
        }
    }

    #[test]
    fn the_port_is_part_of_the_host_where_it_is_not_the_schemes() {
        for (url, expected) in
            [("https://a/", "a"), ("https://a:443/", "a"), ("http://a:80/", "a"), ("http://a:8080/x", "a:8080")]
        {
            assert_eq!(host(&Url::parse(url).unwrap()), expected);
        }
    }
}
