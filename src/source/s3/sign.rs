//! Signature Version 4 of a GET or a PUT, made by rust-s3, over all headers of the request. Sends nothing. Requests without
//! credentials, as for public buckets, are not signed.

use s3::Bucket;
use s3::command::Command;
use s3::creds::Credentials as Keys;
use s3::error::S3Error;
use s3::region::Region;
use s3::request::Request;
use s3::request::blocking::AttoRequest;
use ureq::http::header;

use super::address::Address;
use crate::aws::Credentials;
use crate::error::{Error, Result};
use crate::http::message::Headers;
use crate::remote::Object;

/// All headers of a GET of `object` at `address` besides `ask`: `plain`, and the signature over both.
pub(super) fn signed(
    address: &Address,
    object: &Object,
    region: &str,
    credentials: &Credentials,
    ask: &Headers,
    plain: &Headers,
) -> Result<Headers> {
    signed_with(Command::GetObject, address, object, region, credentials, ask, plain)
}

/// The same for a PUT of `content`. The length is left to the transport.
pub(super) fn signed_put(
    content: &[u8],
    address: &Address,
    object: &Object,
    region: &str,
    credentials: &Credentials,
    ask: &Headers,
) -> Result<Headers> {
    let command =
        Command::PutObject { content, content_type: "application/json", custom_headers: None, multipart: None };
    let mut headers = signed_with(command, address, object, region, credentials, ask, &Headers::new())?;
    headers.retain(|(name, _)| *name != header::CONTENT_LENGTH);
    Ok(headers)
}

fn signed_with(
    command: Command<'_>,
    address: &Address,
    object: &Object,
    region: &str,
    credentials: &Credentials,
    ask: &Headers,
    plain: &Headers,
) -> Result<Headers> {
    let headers = authorize(command, address, object, region, credentials, ask.iter().chain(plain).cloned());
    let mut headers = headers.map_err(|e| Error::failed(format!("cannot sign the request: {e}")))??;
    headers.retain(|(name, _)| *name != header::HOST && ask.iter().all(|(asked, _)| asked != name));
    Ok(headers)
}

fn authorize(
    command: Command<'_>,
    address: &Address,
    object: &Object,
    region: &str,
    credentials: &Credentials,
    headers: impl Iterator<Item = (header::HeaderName, header::HeaderValue)>,
) -> Result<Result<Headers>, S3Error> {
    // Always Custom: rust-s3 takes an unknown region name for a host.
    let place = Region::Custom { region: region.to_owned(), endpoint: address.base.clone() };
    let token = credentials.token.as_ref().map(|token| token.reveal());
    let keys = Keys::new(Some(&credentials.access_key), Some(credentials.secret_key.reveal()), None, token, None)?;
    let (top, path) = places(address, object);
    let mut bucket = Bucket::new(&top, place, keys)?;
    if address.path_style {
        bucket.set_path_style();
    }
    if let Some(version) = &object.version {
        bucket.add_query("versionId", version);
    }
    bucket.extra_headers_mut().extend(headers);
    let request = AttoRequest::new(&bucket, &path, command)?;
    if request.url()? != address.url {
        return Ok(Err(Error::failed("cannot sign the request: the signature would be for another URL")));
    }
    let signed = request.headers()?.into_iter().filter_map(|(name, mut value)| {
        value.set_sensitive(true);
        // The date is sent as x-amz-date, which is signed.
        name.filter(|name| *name != header::DATE).map(|name| (name, value))
    });
    Ok(Ok(signed.collect()))
}

/// The bucket and path to give to rust-s3. It supports no endpoint with a path; but since it signs the host and the
/// whole path, the first part of a path can be passed as bucket. It removes the first slash of a path.
fn places(address: &Address, object: &Object) -> (String, String) {
    let (bucket, key) = (&object.bucket, &object.key);
    match (address.prefix.as_str(), address.path_style) {
        ("", _) => (bucket.clone(), format!("/{key}")),
        (prefix, false) => (bucket.clone(), format!("/{prefix}/{key}")),
        (prefix, true) => match prefix.split_once('/') {
            Some((first, rest)) => (first.to_owned(), format!("/{rest}/{bucket}/{key}")),
            None => (prefix.to_owned(), format!("/{bucket}/{key}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::endpoint::Place;
    use crate::config::{Aws, Secret};
    use crate::source::s3::address::Endpoint;
    use ureq::http::HeaderValue;

    fn credentials(token: Option<&str>) -> Credentials {
        Credentials {
            access_key: "AKIA".to_owned(),
            secret_key: Secret::new("hunter2"),
            token: token.map(Secret::new),
            expires: None,
            whose: "test".to_owned(),
        }
    }

    fn sign(endpoint: &str, object: &Object, ask: &Headers) -> Result<Headers> {
        let aws = Aws { endpoint: crate::config::endpoint(endpoint).ok(), ..Aws::default() };
        let address = Endpoint::new(&aws, || Ok(Place::default()))?.address(object, "eu-west-1")?;
        signed(&address, object, "eu-west-1", &credentials(Some("the-token")), ask, &Headers::new())
    }

    #[test]
    fn every_key_can_be_signed_in_both_styles() {
        let paths = ["http://h/a", "http://127.0.0.1/a", "http://127.0.0.1/a_B/b.c/~d"];
        for endpoint in ["", "http://h:80", "https://h:8443", "http://127.0.0.1:9000"].into_iter().chain(paths) {
            for key in ["k", "/k", "//a//b", "a b+c%20d?e#f", "\u{fc}&=;:@!$'()*,[]\"<>\\^`{|}~", "..k/...", "%2e%2e/k"]
            {
                for version in [None, Some("a+b/c=~*")] {
                    let version = version.map(str::to_owned);
                    let object = Object { bucket: "b".to_owned(), key: key.to_owned(), version };
                    sign(endpoint, &object, &Headers::new()).unwrap();
                }
            }
        }
    }

    #[test]
    fn what_is_asked_is_signed_and_said_once() {
        let object = Object { bucket: "b".to_owned(), key: "k".to_owned(), version: None };
        let ask =
            vec![(header::IF_MATCH, HeaderValue::from_static("\"a\"")), (header::RANGE, "bytes=1-".parse().unwrap())];
        let headers = sign("", &object, &ask).unwrap();
        let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_str().unwrap());
        let authorization = value("authorization").unwrap();
        assert!(authorization.contains("Credential=AKIA/") && authorization.contains("/eu-west-1/s3/aws4_request"));
        let names = "SignedHeaders=accept;host;if-match;range;x-amz-content-sha256;x-amz-date;x-amz-security-token,";
        assert!(authorization.contains(names), "{authorization}");
        assert_eq!(value("x-amz-security-token"), Some("the-token"));
        assert!(
            headers.iter().all(|(n, _)| !["host", "if-match", "range", "date"].contains(&n.as_str())),
            "{headers:?}"
        );
        assert!(!format!("{headers:?}").contains("the-token"));
        assert!(headers.iter().all(|(_, v)| !v.to_str().unwrap().contains("hunter2")));
    }

    #[test]
    fn keys_that_no_header_can_carry_are_an_error_without_them() {
        let object = Object { bucket: "b".to_owned(), key: "k".to_owned(), version: None };
        let address =
            Endpoint::new(&Aws::default(), || Ok(Place::default())).unwrap().address(&object, "eu-west-1").unwrap();
        let bad = credentials(Some("hunter2\nX: y"));
        let none = Headers::new();
        let error = signed(&address, &object, "eu-west-1", &bad, &none, &none).unwrap_err().to_string();
        assert!(error.starts_with("cannot sign the request: ") && !error.contains("hunter2"), "{error}");
    }
}
