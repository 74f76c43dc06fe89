//! TLS: a connector, and what its errors mean. Set up only when a request needs it. Verification cannot be turned off.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, InvalidMessage, OtherError, StreamOwned};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::roots::{Roots, UnusableBundle};
use crate::error::{Error, Result};

/// A configuration that trusts `roots`.
pub(super) fn config(roots: Roots) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = roots.verifier(&provider);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(|e| Error::failed(format!("cannot set up TLS: {e}")))?
        .dangerous() // rustls' name for any verifier that is passed
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // A check makes few connections, and the next check has a new client.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Describes a TLS error and its remedy.
pub(super) fn explain(error: &rustls::Error, host: &str) -> String {
    let reason = match error {
        rustls::Error::InvalidCertificate(reason) => reason,
        // Not a TLS record: most likely an HTTP error, in response to bytes that the server could not parse.
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            return "the server does not speak TLS there (http:// instead of https://?)".to_owned();
        }
        other => return format!("TLS: {other}"),
    };
    match reason {
        CertificateError::UnknownIssuer => {
            "its certificate comes from a CA that is not known here: name the CA's certificate with ca-file".to_owned()
        }
        CertificateError::BadSignature => {
            "its certificate comes from another CA of the name of one that is known here: name the CA's certificate with \
             ca-file"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired (or this host's clock is wrong)".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet (or this host's clock is wrong)".to_owned()
        }
        CertificateError::NotValidForName => format!("its certificate is not for {host}"),
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("its certificate is not for {host} but for {}", presented.join(", "))
        }
        CertificateError::Other(OtherError(e)) if e.is::<UnusableBundle>() => e.to_string(),
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "its certificate is a CA's own (CA:TRUE), which no server may use: give the server a certificate with \
             CA:FALSE and name the CA that signed it with ca-file"
                .to_owned()
        }
        other => format!("its certificate is not accepted: {other}"),
    }
}

/// Adds TLS to a connection for an https URL that has none yet.
#[derive(Debug)]
pub(super) struct TlsConnector(pub(super) Option<Arc<ClientConfig>>);

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let config = self.0.clone().ok_or(ureq::Error::TlsRequired)?;
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|_| ureq::Error::Tls("the host is no name TLS knows"))?;
        let mut connection = ClientConnection::new(config, name)?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket).map_err(unwrapped)?;
        let sizes = (details.config.input_buffer_size(), details.config.output_buffer_size());
        let stream = StreamOwned::new(connection, socket);
        Ok(Some(Either::B(TlsTransport { stream, buffers: LazyBuffers::new(sizes.0, sizes.1) })))
    }
}

/// rustls wraps its errors into I/O errors; the inner error says more.
fn unwrapped(error: std::io::Error) -> ureq::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => ureq::Error::Rustls(tls.clone()),
        None => error.into(),
    }
}

/// A connection with TLS.
pub(super) struct TlsTransport {
    stream: StreamOwned<ClientConnection, TransportAdapter>,
    buffers: LazyBuffers,
}

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TlsTransport").field(self.stream.sock.inner()).finish()
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output).map_err(unwrapped)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf()).map_err(unwrapped)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
