//! The connection below ureq: it connects to addresses that were resolved and checked before, writes absolute URLs for
//! a forwarding proxy, filters the heads of responses ([`super::head`]), and reports a broken connection, which ureq
//! would take for the end of a body without a length. The resolver returns given addresses only, so that no timeout
//! makes ureq start a thread for DNS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};
use ureq::{Agent, Proxy};

use super::head::{Heads, LARGEST_HEAD, TooLarge};
use super::tls::TlsConnector;

/// The largest read: enough for any head. ureq clears its buffers for each exchange, which takes time.
pub(super) const BUFFER: usize = LARGEST_HEAD;
/// The User-Agent header.
const USER_AGENT: &str = concat!("repo-deploy/", env!("CARGO_PKG_VERSION"));

/// The parameters of one exchange.
#[derive(Debug)]
pub(super) struct Wiring {
    /// The addresses to connect to: of the server, or of the proxy.
    pub(super) addresses: Vec<SocketAddr>,
    /// The tunnelling proxy.
    pub(super) tunnel: Option<Proxy>,
    /// The prefix of the path for a forwarding proxy: `http://host:port`.
    pub(super) absolute: Option<String>,
    /// For https.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// The limit for connection, proxy and TLS.
    pub(super) connect: Duration,
    /// The limit of silence, and of the wait for the head of the response.
    pub(super) stall: Duration,
    /// The limit of the whole exchange, including the body.
    pub(super) total: Duration,
}

impl Wiring {
    /// An agent for one exchange, or with one connection for several in a row: GETs without a body.
    pub(super) fn agent(self, is_kept: bool) -> Agent {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(self.tunnel)
            .user_agent(USER_AGENT)
            .accept_encoding("identity")
            .max_response_header_size(LARGEST_HEAD)
            .input_buffer_size(BUFFER)
            .output_buffer_size(16 << 10)
            .max_idle_connections(usize::from(is_kept))
            .timeout_connect(Some(self.connect))
            .timeout_recv_response(Some(self.stall))
            .timeout_per_read(Some(self.stall))
            .timeout_per_write(Some(self.stall))
            .timeout_global(Some(self.total))
            .build();
        let connector =
            ().chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(TlsConnector(self.tls))
                .chain(LineConnector { absolute: self.absolute, is_kept });
        Agent::with_parts(config, connector, Resolved(self.addresses))
    }
}

/// Returns addresses that were resolved before.
#[derive(Debug)]
struct Resolved(Vec<SocketAddr>);

impl Resolver for Resolved {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        // ureq only accepts sixteen.
        for address in self.0.iter().take(16) {
            addresses.push(*address);
        }
        if self.0.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}

#[derive(Debug)]
struct LineConnector {
    absolute: Option<String>,
    is_kept: bool,
}

impl<In: Transport> Connector<In> for LineConnector {
    type Out = Line<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let (absolute, is_kept) = (self.absolute.clone(), self.is_kept);
        let line = |inner| Line { inner, absolute, is_kept, heads: Some(Heads::default()), ready: Vec::new() };
        Ok(chained.map(line))
    }
}

/// The outermost connection.
#[derive(Debug)]
struct Line<T> {
    inner: T,
    /// Taken by the first bytes of the first request.
    absolute: Option<String>,
    /// There may be another request after this one.
    is_kept: bool,
    /// `None` once the head of the response is complete.
    heads: Option<Heads>,
    /// Bytes that ureq has to read first.
    ready: Vec<u8>,
}

impl<T: Transport> Line<T> {
    /// Withholds received bytes from ureq until the head of the response is complete.
    fn hold_back(&mut self) -> Result<(), ureq::Error> {
        let Some(heads) = &mut self.heads else { return Ok(()) };
        let buffers = self.inner.buffers();
        let came = buffers.input().len();
        let complete = heads.take(buffers.input());
        buffers.input_consume(came);
        let too_large = |TooLarge(length)| ureq::Error::LargeResponseHeader(length, LARGEST_HEAD);
        if let Some(bytes) = complete.map_err(too_large)? {
            (self.heads, self.ready) = (None, bytes);
            self.hand_on();
        }
        Ok(())
    }

    /// Passes ready bytes to ureq, as far as its buffer has room. False if it has none.
    fn hand_on(&mut self) -> bool {
        let buffers = self.inner.buffers();
        let room = buffers.input_append_buf();
        let amount = room.len().min(self.ready.len());
        for (to, from) in room.iter_mut().zip(self.ready.drain(..amount)) {
            *to = from;
        }
        buffers.input_appended(amount);
        amount > 0
    }
}

impl<T: Transport> Transport for Line<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if self.is_kept && self.heads.is_none() {
            self.heads = Some(Heads::default()); // the next request
        }
        let Some(origin) = self.absolute.take() else { return self.inner.transmit_output(amount, timeout) };
        let head = absolute_form(self.inner.buffers().output().get(..amount).unwrap_or_default(), &origin);
        let room = self.inner.buffers().output().len();
        for piece in head.chunks(room) {
            if let Some(output) = self.inner.buffers().output().get_mut(..piece.len()) {
                output.copy_from_slice(piece);
            }
            self.inner.transmit_output(piece.len(), timeout)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        if !self.ready.is_empty() {
            return Ok(self.hand_on());
        }
        let is_more = self.inner.await_input(timeout).map_err(|error| match error {
            // These kinds are the end of a body for ureq.
            ureq::Error::Io(e) if matches!(e.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted) => {
                ureq::Error::Io(std::io::Error::new(BrokenPipe, "the connection was cut off"))
            }
            other => other,
        })?;
        self.hold_back()?;
        Ok(is_more)
    }

    fn is_open(&mut self) -> bool {
        // After the only exchange the kernel need not be asked. Bytes beyond the response would be taken for the next one.
        self.is_kept && self.ready.is_empty() && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// Rewrites `GET /path …` to `GET http://host:port/path …`.
fn absolute_form(head: &[u8], origin: &str) -> Vec<u8> {
    let target = head.iter().position(|b| *b == b' ').map_or(0, |space| space + 1);
    let (method, rest) = head.split_at(target);
    [method, origin.as_bytes(), rest].concat()
}

#[cfg(test)]
mod tests {
    use crate::http::connector::*;

    #[test]
    fn absolute_form_is_the_request_line_of_rfc_9112() {
        let got = absolute_form(b"GET /a?b HTTP/1.1\r\nhost: h:8\r\n\r\n", "http://h:8");
        assert_eq!(got, b"GET http://h:8/a?b HTTP/1.1\r\nhost: h:8\r\n\r\n");
    }
}
