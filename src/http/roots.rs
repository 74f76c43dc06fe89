//! The certificate authorities that TLS trusts: Mozilla's, those in `ca-file`, and those in bundles that variables name.
//! To parse the bundle of a distribution takes longer than the rest of a check, and it mostly repeats Mozilla's: it is
//! parsed when a certificate is not accepted without it. A daemon keeps what it parsed while the file is the same.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use super::secret_file::TrustedFile;
use crate::error::{Context, Error, Result};
use crate::sys::fs::Meta;

/// A bundle as it was parsed.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    meta: Meta,
    anchors: Vec<TrustAnchor<'static>>,
}

/// The bundles that this process keeps.
static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// The variable that OpenSSL has for a file of roots; they are added here.
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";

/// Whether this process had to parse a bundle for a certificate.
static WAS_PARSED: AtomicBool = AtomicBool::new(false);

/// Whether this process had to parse a bundle for a certificate.
pub fn was_bundle_parsed() -> bool {
    WAS_PARSED.load(Relaxed)
}

/// Keeps the bundles that SSL_CERT_FILE and `variable` name, parsed. One that cannot be used is left to the check that
/// needs it.
pub fn keep_bundles(variable: &'static str) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    for variable in [SSL_CERT_FILE, variable] {
        let Some(path) = named(variable) else { continue };
        let Ok(bundle) = Bundle::open(variable, &path) else { continue };
        if kept.iter().any(|kept| kept.is(&bundle)) {
            continue;
        }
        kept.retain(|kept| kept.path != path);
        if let Ok(anchors) = bundle.anchors() {
            kept.push(Kept { path, meta: bundle.0.meta, anchors });
        }
    }
}

impl Kept {
    fn is(&self, bundle: &Bundle) -> bool {
        (&self.path, &self.meta) == (&bundle.0.path, &bundle.0.meta)
    }
}

/// The file that an environment variable names.
fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// A file of roots.
#[derive(Debug)]
struct Bundle(TrustedFile);

impl Bundle {
    fn open(key: &'static str, path: &Path) -> Result<Self> {
        TrustedFile::open(key, path).map(Self)
    }

    /// Its certificates. At least one must be readable: bundles of systems have some that rustls cannot read.
    fn anchors(&self) -> Result<Vec<TrustAnchor<'static>>> {
        let pem = self.0.read()?;
        let parse = || -> Result<RootCertStore> {
            let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
                .collect::<Result<_, _>>()
                .map_err(|e| Error::failed(format!("it is no PEM: {e}")))?;
            let mut roots = RootCertStore::empty();
            match roots.add_parsable_certificates(certificates) {
                (0, _) => Err(Error::failed("there is no usable certificate (PEM) in it")),
                _ => Ok(roots),
            }
        };
        let parsed = parse().with_context(|| format!("cannot use {} {}", self.0.key, self.0.path.display()))?;
        Ok(parsed.roots)
    }
}

/// The roots of a client.
#[derive(Debug)]
pub(super) struct Roots {
    /// Those that are known without parsing a bundle.
    known: RootCertStore,
    bundles: Vec<Bundle>,
}

impl Roots {
    /// Opens the files of roots that `ca_file`, SSL_CERT_FILE and `variable` name.
    pub(super) fn open(ca_file: Option<&Path>, variable: Option<&'static str>) -> Result<Self> {
        let mut known = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = ca_file {
            known.extend(Bundle::open("ca-file", path)?.anchors()?);
        }
        let (mut bundles, kept) = (Vec::new(), KEPT.lock().unwrap_or_else(PoisonError::into_inner));
        for variable in [SSL_CERT_FILE].into_iter().chain(variable) {
            let Some(path) = named(variable) else { continue };
            let bundle = Bundle::open(variable, &path)?;
            match kept.iter().find(|kept| kept.is(&bundle)) {
                Some(kept) => known.extend(kept.anchors.iter().cloned()),
                None => bundles.push(bundle),
            }
        }
        Ok(Self { known, bundles })
    }

    /// All of them.
    pub(super) fn parse(&self) -> Result<RootCertStore> {
        let mut all = self.known.clone();
        for bundle in &self.bundles {
            all.extend(bundle.anchors()?);
        }
        Ok(all)
    }

    /// A verifier that trusts all of them.
    pub(super) fn verifier(self, provider: &CryptoProvider) -> Arc<dyn ServerCertVerifier> {
        let algorithms = provider.signature_verification_algorithms;
        Arc::new(Verifier { roots: self, all: OnceLock::new(), algorithms })
    }
}

/// Verifies by the known roots, and by all of them if that fails.
#[derive(Debug)]
struct Verifier {
    roots: Roots,
    all: OnceLock<Result<RootCertStore, UnusableBundle>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The reason why a bundle that is needed cannot be used.
#[derive(Clone, Debug)]
pub(super) struct UnusableBundle(String);

impl fmt::Display for UnusableBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnusableBundle {}

impl Verifier {
    fn all(&self) -> Result<&RootCertStore, rustls::Error> {
        let parsed = self.all.get_or_init(|| {
            WAS_PARSED.store(true, Relaxed);
            self.roots.parse().map_err(|e| UnusableBundle(e.to_string()))
        });
        parsed.as_ref().map_err(|e| CertificateError::Other(OtherError(Arc::new(e.clone()))).into())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let by = |roots: &RootCertStore| {
            let all = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, all)
        };
        match by(&self.roots.known) {
            // Another root of the same name may be the right one.
            Err(rustls::Error::InvalidCertificate(_)) if !self.roots.bundles.is_empty() => by(self.all()?)?,
            verified => verified?,
        }
        verify_server_name(&certificate, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks that the trusted roots can be read.
pub fn check(http: &crate::config::Http) -> Result<()> {
    Roots::open(http.ca_file.as_deref(), None)?.parse().map(drop)
}
