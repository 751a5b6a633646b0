//! Root certificates for one backend, beside those that hold for all.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// Root certificates to trust in the checks of one backend, beside those that its
/// [`Prober`](super::Prober) trusts for all.
///
/// Cheap to clone. Two bundles of the same certificates are equal.
#[derive(Clone, PartialEq, Eq)]
pub struct CaBundle(Arc<[CertificateDer<'static>]>);

/// The text holds no certificate that can be a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no usable certificate in PEM form; give the CA's own certificate")]
#[non_exhaustive]
pub struct CaBundleError;

impl CaBundle {
    /// Reads certificates in PEM form. Comments, broken blocks and certificates that
    /// cannot be roots are left out, as Go does it.
    ///
    /// # Errors
    ///
    /// When no certificate is left.
    pub fn from_pem(text: &str) -> Result<Self, CaBundleError> {
        let blocks = text.split(BEGIN).skip(1);
        let certificates = blocks.filter_map(|block| {
            CertificateDer::from_pem_slice([BEGIN, block].concat().as_bytes()).ok().filter(is_root)
        });
        let certificates: Arc<[_]> = certificates.collect();
        if certificates.is_empty() { Err(CaBundleError) } else { Ok(Self(certificates)) }
    }

    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}

impl fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaBundle").field("certificates", &self.0.len()).finish()
    }
}

/// Bundles of a system hold the odd certificate that cannot be a root.
pub(super) fn is_root(certificate: &CertificateDer<'static>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vmcp_status_testkit::mcp::{Behaviour, McpServer};

    use super::*;

    #[tokio::test]
    async fn certificates_are_found_amid_other_text_and_broken_blocks() {
        let server = McpServer::start_tls(Behaviour::Modern).await;
        let root = server.certificate().expect("a TLS server");
        let broken = format!("{BEGIN}\n!!!\n-----END CERTIFICATE-----\n");
        let no_root = format!("{BEGIN}\nAAAA\n-----END CERTIFICATE-----\n");
        let alone = CaBundle::from_pem(root).expect("a certificate");
        for text in [
            format!("# our CA\n{root}"),
            format!("{broken}{root}"),
            format!("{no_root}{root}{broken}"),
            root.replace('\n', "\r\n"),
        ] {
            assert_eq!(CaBundle::from_pem(&text), Ok(alone.clone()), "{text}");
        }
        let twice = CaBundle::from_pem(&[root, root].concat()).expect("certificates");
        assert_eq!(twice.certificates().len(), 2);
        for junk in ["", "junk", BEGIN, &broken, &no_root] {
            assert_eq!(CaBundle::from_pem(junk), Err(CaBundleError), "{junk}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn any_text_is_a_bundle_or_none(text in "(-----(BEGIN|END) CERTIFICATE-----|[A-Za-z+/=\n]{0,9}|\\PC){0,9}") {
            let _ = CaBundle::from_pem(&text);
        }
    }
}
