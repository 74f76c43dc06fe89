//! Translates errors of ureq to messages with a remedy, and decides whether they are transient.

use std::io::ErrorKind;

use ureq::Timeout;
use url::Url;

use super::head::LARGEST_HEAD;
use super::retry::RequestError;
use super::tls;
use crate::config::Http;
use crate::error::{Error, Kind, plain};

/// The hint if a plain request was probably sent to a TLS port.
pub(super) const PLAIN_TO_TLS: &str = " (https:// instead of http://?)";

/// The error of a request to `url` without a response head. If a plain request gets bytes that do not look like HTTP,
/// they are most likely a TLS alert.
pub(super) fn fault_of_head(error: ureq::Error, url: &Url, host: &str, http: &Http) -> RequestError {
    match &error {
        ureq::Error::Protocol(e) if url.scheme() == "http" && e.to_string().ends_with("invalid HTTP version") => {
            Error::failed(format!("its answer is no HTTP{PLAIN_TO_TLS}")).into()
        }
        _ => fault(error, host, http),
    }
}

/// The error of an exchange with `host`.
pub fn fault(error: ureq::Error, host: &str, http: &Http) -> RequestError {
    let named = |key: &str| if http.is_fixed { String::new() } else { format!(" ({key})") };
    match error {
        ureq::Error::Timeout(Timeout::Connect) => {
            let limit = http.connect_timeout.as_secs_f64();
            RequestError::transient(format!("no connection to {host} within {limit} s{}", named("connect-timeout")))
        }
        ureq::Error::Timeout(Timeout::Global) => out_of_time().into(),
        ureq::Error::Timeout(_) => {
            let limit = http.stall_timeout.as_secs_f64();
            RequestError::transient(format!("nothing came from {host} for {limit} s{}", named("stall-timeout")))
        }
        ureq::Error::Io(e) => match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(e) => Error::failed(tls::explain(e, host)).into(),
            None => RequestError::transient(io(&e, host)),
        },
        ureq::Error::Rustls(e) => Error::failed(tls::explain(&e, host)).into(),
        ureq::Error::ConnectProxyFailed(reason) => proxy(&reason),
        ureq::Error::LargeResponseHeader(..) => {
            Error::failed(format!("the head of its answer is larger than {LARGEST_HEAD} bytes")).into()
        }
        ureq::Error::Protocol(e) => Error::failed(format!("its answer is no HTTP: {e}")).into(),
        other => Error::failed(other.to_string()).into(),
    }
}

/// The error for a check that has used up its time.
pub(super) fn out_of_time() -> Error {
    Error::new(Kind::Unavailable { retry_after: None }, "the time for one check is over (timeout)")
}

fn io(error: &std::io::Error, host: &str) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => format!("{host} refuses the connection"),
        ErrorKind::UnexpectedEof => format!("{host} closed the connection too early"),
        ErrorKind::ConnectionReset => format!("{host} reset the connection"),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => format!("there is no route to {host}"),
        _ => plain(error).to_lowercase(),
    }
}

fn proxy(reason: &str) -> RequestError {
    // ureq has the status only in its text: `proxy server responded 407/407`.
    let status: Option<u16> = reason.rsplit_once('/').and_then(|(_, status)| status.parse().ok());
    match status {
        Some(407) => Error::failed("the proxy wants other credentials (407): put them into the proxy's URL").into(),
        Some(status @ 500..) => RequestError::transient(format!("the proxy cannot make the tunnel ({status})")),
        Some(status) => Error::failed(format!("the proxy refuses the tunnel ({status})")).into(),
        None => RequestError::transient("the proxy did not answer"),
    }
}

#[cfg(test)]
mod tests {
    use crate::http::request_error::*;
    use std::time::Duration;

    #[test]
    fn a_key_is_named_where_it_would_change_the_limit() {
        let (second, two) = (Duration::from_secs(1), Duration::from_secs(2));
        let text = |timeout, http: &Http| fault(ureq::Error::Timeout(timeout), "h", http).error.to_string();
        for (http, connect, stall) in
            [(Http::limited(second, two), " (connect-timeout)", " (stall-timeout)"), (Http::fixed(second, two), "", "")]
        {
            assert_eq!(text(Timeout::Connect, &http), format!("no connection to h within 1 s{connect}"));
            assert_eq!(text(Timeout::RecvResponse, &http), format!("nothing came from h for 2 s{stall}"));
        }
    }
}
