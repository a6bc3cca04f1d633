//! TLS: what a client trusts and how it proves who it is.

use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error as RustlsError, RootCertStore, SignatureScheme};

use crate::error::Error;

/// What a client trusts and how it proves who it is; everything is PEM. The default trusts what the system trusts.
#[derive(Clone, Default)]
pub struct Tls {
    /// The certificates that servers are verified with, instead of the system's.
    pub authorities: Option<Vec<u8>>,
    /// The client's certificate, with those that lead to an authority, and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name that a server's certificate has to be for, instead of the endpoint's host.
    pub server_name: Option<String>,
    /// Takes any certificate for the server's. For tests: nobody knows then who is at the other end.
    pub skip_verification: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .field("skip_verification", &self.skip_verification)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// What connections are encrypted with.
    pub(crate) fn connector(&self) -> Result<TlsConnector, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(failed("no protocol version is supported"))?.dangerous();
        let verifier: Arc<dyn ServerCertVerifier> = if self.skip_verification {
            Arc::new(TakeAny(provider))
        } else {
            let roots = Arc::new(self.roots()?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            verifier.map_err(failed("no certificate authority to verify servers with"))?
        };
        let builder = builder.with_custom_certificate_verifier(verifier);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key).map_err(failed("the client's key is not a PEM key"))?;
                let unusable = failed("the client's certificate and key do not fit");
                builder.with_client_auth_cert(certificates_of(certificates)?, key).map_err(unusable)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config).into())
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(pem) => {
                for certificate in certificates_of(pem)? {
                    roots.add(certificate).map_err(failed("a certificate authority cannot be used"))?;
                }
            }
            // Those of the system that cannot be used are left out, as by everybody.
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        Ok(roots)
    }

    /// The name that the certificate of the server at `host` has to be for.
    pub(crate) fn name(&self, host: &str) -> Result<ServerName<'static>, Error> {
        let host = self.server_name.as_deref().unwrap_or(host);
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_string();
        ServerName::try_from(bare).map_err(failed("the server's name cannot stand in a certificate"))
    }
}

fn certificates_of(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(failed("a certificate is not PEM"))?;
    if certificates.is_empty() {
        return Err(Error::Config("tls: there is no certificate in the PEM text".into()));
    }
    Ok(certificates)
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Config(format!("tls: {what}: {error}"))
}

/// Takes any certificate, but has the server prove that it holds the key.
#[derive(Debug)]
struct TakeAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakeAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused() {
        for tls in [
            Tls { authorities: Some(b"junk".to_vec()), ..Tls::default() },
            Tls { identity: Some((b"junk".to_vec(), b"junk".to_vec())), skip_verification: true, ..Tls::default() },
        ] {
            assert!(matches!(tls.connector(), Err(Error::Config(_))), "{tls:?}");
        }
        assert!(Tls { skip_verification: true, ..Tls::default() }.connector().is_ok());
    }

    #[test]
    fn certificates_are_for_the_host_unless_a_name_is_given() {
        let name = |tls: &Tls, host| tls.name(host).unwrap().to_str().into_owned();
        let default = Tls::default();
        assert_eq!(name(&default, "localhost"), "localhost");
        assert_eq!(name(&default, "[::1]"), "::1");
        let named = Tls { server_name: Some("etcd".into()), ..Tls::default() };
        assert_eq!(name(&named, "127.0.0.1"), "etcd");
    }
}
