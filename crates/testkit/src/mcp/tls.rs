//! A certificate for `localhost` that no authority has signed.

use std::sync::Arc;

use tokio_rustls::{TlsAcceptor, rustls};

/// A certificate that signed itself, and what serves with it.
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    pub(super) certificate: String,
}

pub(super) fn self_signed() -> Tls {
    let names = vec!["localhost".to_owned()];
    let issued = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.into())
        .expect("a server configuration");
    Tls { acceptor: TlsAcceptor::from(Arc::new(config)), certificate: issued.cert.pem() }
}
