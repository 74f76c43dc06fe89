//! A URL without its secrets.

use url::Url;

/// A URL for messages: no user, no password, no query (a presigned one is a credential), no fragment.
pub fn redacted(url: &Url) -> String {
    let mut text = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        text.push_str(&format!(":{port}"));
    }
    text.push_str(url.path());
    if url.query().is_some() {
        text.push_str("?…");
    }
    text
}
