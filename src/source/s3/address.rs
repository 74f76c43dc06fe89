//! The address of an object: the endpoint of a region or of the operator, the bucket in its host or path, the key
//! percent-encoded. No I/O. A server only has an influence on the region, and only if the operator has set no endpoint.

use s3::signing::uri_encode;
use url::{Host, Url};

use crate::aws::endpoint::{Place, Service};
use crate::config::Aws;
use crate::error::{Error, Result};
use crate::remote::Object;

/// Determines the addresses of objects.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    place: Place,
    path_style: Option<bool>,
}

/// The address of an object.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// The object.
    pub(super) url: Url,
    /// Scheme, host and port without the bucket.
    pub(super) base: String,
    /// The path of the endpoint: empty, or names separated by slashes.
    pub(super) prefix: String,
    /// Whether the bucket is in the path.
    pub(super) path_style: bool,
}

impl Endpoint {
    /// The endpoint in the configuration, else `place`.
    pub(super) fn new(aws: &Aws, place: impl FnOnce() -> Result<Place>) -> Result<Self> {
        let place = match &aws.endpoint {
            Some(url) => Place::at(url.clone()),
            None => place()?,
        };
        Ok(Self { place, path_style: aws.path_style })
    }

    /// Identifies the endpoint, independent of the region.
    pub(super) fn name(&self) -> &str {
        self.place.custom.as_ref().map_or("", Url::as_str)
    }

    /// The address of `object` if its bucket is in `region`.
    pub(super) fn address(&self, object: &Object, region: &str) -> Result<Address> {
        let base = self.place.url(Service::S3, region)?;
        let bucket = object.bucket.as_str();
        let path_style = self.path_style.unwrap_or_else(|| is_here(&base) || !fits_in_a_host(bucket));
        let prefix = base.path().trim_matches('/').to_owned();
        let below = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let key = uri_encode(&object.key, false);
        let base = base.origin().ascii_serialization(); // without :80 and :443
        let text = match base.split_once("://") {
            _ if path_style => format!("{base}/{below}{bucket}/{key}"),
            Some((scheme, host)) if fits_in_a_host(&bucket.replace('.', "-")) => {
                format!("{scheme}://{bucket}.{host}/{below}{key}")
            }
            _ => return Err(impossible(bucket)),
        };
        let mut url = Url::parse(&text).map_err(|_| impossible(bucket))?;
        if let Some(version) = &object.version {
            url.query_pairs_mut().append_pair("versionId", version);
        }
        Ok(Address { url, base, prefix, path_style })
    }
}

/// The host is invalid with the bucket in it.
fn impossible(bucket: &str) -> Error {
    let why = "it cannot be a part of the endpoint's host";
    Error::config(format!("cannot use s3-path-style = no for the bucket {bucket}: {why}"))
}

/// Whether the host has no names below it: an address, or localhost.
fn is_here(base: &Url) -> bool {
    match base.host() {
        Some(Host::Domain(name)) => name == "localhost",
        _ => true,
    }
}

/// Whether a bucket can be a label of a host. With dots it would be several, and no certificate covers these.
fn fits_in_a_host(bucket: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&bucket.len()) && bucket.bytes().all(fits) && !bucket.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::endpoint;

    fn object(bucket: &str, key: &str) -> Object {
        Object { bucket: bucket.to_owned(), key: key.to_owned(), version: None }
    }

    fn at(custom: &str, path_style: Option<bool>, bucket: &str, key: &str) -> String {
        let aws = Aws { endpoint: endpoint(custom).ok(), path_style, ..Aws::default() };
        let endpoint = Endpoint::new(&aws, || Ok(Place::default())).unwrap();
        endpoint.address(&object(bucket, key), "eu-west-1").map_or_else(|e| e.to_string(), |a| a.url.into())
    }

    #[test]
    fn address_table() {
        for (custom, path_style, bucket, key, expected) in [
            ("", None, "b", "k/app.zip", "https://b.s3.eu-west-1.amazonaws.com/k/app.zip"),
            ("", Some(true), "b", "k", "https://s3.eu-west-1.amazonaws.com/b/k"),
            ("", None, "b.c", "k", "https://s3.eu-west-1.amazonaws.com/b.c/k"),
            ("", Some(false), "b.c", "k", "https://b.c.s3.eu-west-1.amazonaws.com/k"),
            ("", None, "Old_Bucket", "k", "https://s3.eu-west-1.amazonaws.com/Old_Bucket/k"),
            ("", Some(false), "Old_Bucket", "k", "cannot use s3-path-style = no for the bucket Old_Bucket: "),
            ("https://h:443", None, "b", "k", "https://b.h/k"),
            ("http://h:80/", None, "b", "k", "http://b.h/k"),
            ("http://h:9000", None, "b", "k", "http://b.h:9000/k"),
            ("http://127.0.0.1:9000", None, "b", "k", "http://127.0.0.1:9000/b/k"),
            ("http://[::1]:9000", None, "b", "k", "http://[::1]:9000/b/k"),
            ("http://localhost:9000", None, "b", "k", "http://localhost:9000/b/k"),
            ("http://localhost:9000", Some(false), "b", "k", "http://b.localhost:9000/k"),
            ("http://127.0.0.1", Some(false), "b", "k", "cannot use s3-path-style = no for the bucket b: "),
            ("https://h/a/b_c/", None, "b", "k/l", "https://b.h/a/b_c/k/l"),
            ("https://h/a", Some(true), "b", "k", "https://h/a/b/k"),
            ("http://127.0.0.1:9000/a/b", None, "b", "k", "http://127.0.0.1:9000/a/b/b/k"),
            ("http://[::1]", Some(false), "b", "k", "cannot use s3-path-style = no for the bucket b: "),
        ] {
            let got = at(custom, path_style, bucket, key);
            assert!(got == expected || expected.ends_with(": ") && got.starts_with(expected), "{got}\n{expected}");
        }
    }

    #[test]
    fn keys_are_encoded_as_signatures_need_them() {
        for (key, expected) in [
            ("a b", "a%20b"),
            ("a+b", "a%2Bb"),
            ("a%20b", "a%2520b"),
            ("\u{fc}/\u{1f600}", "%C3%BC/%F0%9F%98%80"),
            ("/x//y", "/x//y"),
            ("..x/a.b-c_d~e", "..x/a.b-c_d~e"),
            (
                "?#&=:@!$'()*,;[]\"<>\\^`{|}",
                "%3F%23%26%3D%3A%40%21%24%27%28%29%2A%2C%3B%5B%5D%22%3C%3E%5C%5E%60%7B%7C%7D",
            ),
        ] {
            assert_eq!(at("", None, "b", key), format!("https://b.s3.eu-west-1.amazonaws.com/{expected}"));
        }
    }

    #[test]
    fn a_version_is_part_of_the_query() {
        let mut object = object("b", "k?x");
        object.version = Some("a+b/c=".to_owned());
        let endpoint = Endpoint { place: Place::default(), path_style: None };
        let address = endpoint.address(&object, "us-east-1").unwrap();
        assert_eq!(address.url.as_str(), "https://b.s3.us-east-1.amazonaws.com/k%3Fx?versionId=a%2Bb%2Fc%3D");
    }
}
