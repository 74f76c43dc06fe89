//! Where a redirect may lead: only http and https, never from https to http, at most five hops, no loop.
//! [`super::address_policy`] checks the addresses of a hop, and [`super::client`] decides which headers it gets.

use url::Url;

use crate::error::{Error, Result};
use crate::remote::redacted;

/// How many redirects are followed.
const HOPS: usize = 5;

/// Whether a status is a redirect.
pub(super) fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// The URLs of a request so far, the configured one first, and the current one.
#[derive(Debug)]
pub(super) struct RedirectChain(Vec<Url>, Url);

impl RedirectChain {
    /// A chain that starts at `start`.
    pub(super) fn new(start: Url) -> Self {
        Self(Vec::new(), start)
    }

    /// The current URL.
    pub(super) fn here(&self) -> &Url {
        &self.1
    }

    /// The current URL for messages; `None` if it is the configured one.
    pub(super) fn name(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| format!("redirected to {}", redacted(&self.1)))
    }

    /// Follows a redirect to `location`.
    pub(super) fn follow(&mut self, location: Option<&[u8]>) -> Result<()> {
        let next = target(&self.1, location)?;
        if next == self.1 || self.0.contains(&next) {
            return Err(Error::failed(format!("the redirects go in a circle, back to {}", redacted(&next))));
        }
        if self.0.len() >= HOPS {
            return Err(Error::failed(format!("more than {HOPS} redirects, the next to {}", redacted(&next))));
        }
        self.0.push(std::mem::replace(&mut self.1, next));
        Ok(())
    }
}

fn target(from: &Url, location: Option<&[u8]>) -> Result<Url> {
    let location = location.ok_or_else(|| Error::failed("a redirect without Location"))?;
    let mut next = std::str::from_utf8(location)
        .ok()
        .filter(|text| !text.trim().is_empty())
        .and_then(|text| from.join(text.trim()).ok())
        .ok_or_else(|| Error::failed("a redirect to something that is no URL"))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(Error::failed(format!("a redirect to {}:, and only http and https are followed", next.scheme())));
    }
    if from.scheme() == "https" && next.scheme() == "http" {
        return Err(Error::failed(format!("a redirect from https down to {}", redacted(&next))));
    }
    // Credentials in a server's Location are not sent. Neither call fails for a URL with a host.
    if next.set_username("").is_err() || next.set_password(None).is_err() {
        return Err(Error::failed("a redirect to a URL without a host"));
    }
    next.set_fragment(None);
    Ok(next)
}

#[cfg(test)]
mod tests {
    use crate::http::redirect::*;

    #[test]
    fn target_table() {
        for (from, location, expected) in [
            ("http://a/x/y?q", "/z", Ok("http://a/z")),
            ("http://a/x/y?q", "z", Ok("http://a/x/z")),
            ("http://a/x", "?v=2", Ok("http://a/x?v=2")),
            ("http://a/x", "//b/y", Ok("http://b/y")),
            ("http://a/x", "https://b/y#part", Ok("https://b/y")),
            ("https://a/x", "https://b:8443/y", Ok("https://b:8443/y")),
            ("https://a/x", "//b/y", Ok("https://b/y")),
            ("http://a/x", "http://u:p@b/y", Ok("http://b/y")),
            ("https://a/x", "http://a/x", Err("https down to http://a/x")),
            ("http://a/x", "ftp://a/x", Err("ftp:")),
            ("http://a/x", "file:///etc/passwd", Err("file:")),
            ("http://a/x", "data:,x", Err("data:")),
            ("http://a/x", "", Err("no URL")),
            ("http://a/x", "http://", Err("no URL")),
            ("http://a/x", "http://[::1/", Err("no URL")),
            ("https://a/x", "http://b/?token=secret", Err("down to http://b/?…")),
        ] {
            let got = target(&Url::parse(from).unwrap(), Some(location.as_bytes()));
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got.as_str(), expected, "{from} {location}"),
                (Err(got), Err(words)) => assert!(got.to_string().contains(words), "{from} {location}: {got}"),
                (got, _) => panic!("{from} {location}: {got:?}"),
            }
        }
        let a = Url::parse("http://a/").unwrap();
        assert!(target(&a, None).unwrap_err().to_string().contains("without Location"));
        assert!(target(&a, Some(b"http://b/\xff")).unwrap_err().to_string().contains("no URL"));
    }

    #[test]
    fn five_hops_are_followed_and_a_sixth_is_not() {
        let mut trail = RedirectChain::new(Url::parse("http://a/0").unwrap());
        assert_eq!(trail.name(), None);
        for n in 1..=5 {
            trail.follow(Some(format!("/{n}").as_bytes())).unwrap();
        }
        assert_eq!(trail.name().unwrap(), "redirected to http://a/5");
        assert!(trail.follow(Some(b"/6")).unwrap_err().to_string().contains("more than 5 redirects"));
    }

    #[test]
    fn a_circle_is_named() {
        let mut trail = RedirectChain::new(Url::parse("http://a/0").unwrap());
        assert!(trail.follow(Some(b"/0")).unwrap_err().to_string().contains("circle"));
        trail.follow(Some(b"/1")).unwrap();
        assert!(trail.follow(Some(b"/0")).unwrap_err().to_string().contains("circle"));
    }
}
