//! Sets up the HTTP client: certificates, proxies, redirects, name resolution.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, StatusCode, redirect, retry};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use super::any_certificate::AnyCertificate;
use super::ca_bundle::{CaBundle, is_root};
use super::reason::NameResolution;
use super::{ProbeSetupError, ProberOptions};

const MAX_REDIRECTS: usize = 3;

/// Never asked by way of a proxy, whatever the environment says.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// What the clients of all checks have in common, and what takes time to make: the
/// root certificates above all.
#[derive(Clone)]
pub(super) struct ClientSettings {
    user_agent: HeaderValue,
    roots: Arc<RootCertStore>,
    accept_invalid_certs: bool,
    tls: ClientConfig,
    proxies: Arc<[Proxy]>,
}

impl ClientSettings {
    /// `environment` looks up a variable.
    pub(super) fn new(
        options: &ProberOptions,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ProbeSetupError> {
        if CryptoProvider::get_default().is_none() {
            // Losing a race for it means that one is installed: all we need.
            let _ = ring::default_provider().install_default();
        }
        let user_agent = HeaderValue::from_str(&options.user_agent).map_err(|_| ProbeSetupError::UserAgent)?;
        let roots = Arc::new(roots(options.extra_ca.as_deref())?);
        let accept_invalid_certs = options.accept_invalid_certs;
        let tls = tls(Arc::clone(&roots), accept_invalid_certs);
        let proxies = proxies(environment).into();
        let settings = ClientSettings { user_agent, roots, accept_invalid_certs, tls, proxies };
        settings.client(None).map_err(ProbeSetupError::Client)?;
        Ok(settings)
    }

    /// A client with no connection that trusts these certificates too. The connections
    /// that it opens are closed with it.
    pub(super) fn client(&self, trusted: Option<&CaBundle>) -> reqwest::Result<Client> {
        let tls = match trusted {
            None => self.tls.clone(),
            Some(trusted) => {
                let mut roots = RootCertStore::clone(&self.roots);
                roots.add_parsable_certificates(trusted.certificates().iter().cloned());
                tls(Arc::new(roots), self.accept_invalid_certs)
            }
        };
        let builder = Client::builder()
            .user_agent(self.user_agent.clone())
            .http1_only()
            .redirect(same_origin_only())
            .referer(false)
            .retry(retry::never())
            .pool_idle_timeout(None)
            .dns_resolver(SystemResolver)
            .tls_backend_preconfigured(tls)
            .no_proxy();
        self.proxies.iter().cloned().fold(builder, ClientBuilder::proxy).build()
    }
}

fn tls(roots: Arc<RootCertStore>, accept_invalid_certs: bool) -> ClientConfig {
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    if accept_invalid_certs {
        let provider = Arc::clone(tls.crypto_provider());
        tls.dangerous().set_certificate_verifier(Arc::new(AnyCertificate(provider)));
    }
    // A session that is resumed shows no certificate that could be verified.
    tls.resumption = Resumption::disabled();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls
}

/// Follows what keeps message and origin (a `/mcp` that moved to `/mcp/`), and
/// leaves every other redirect unfollowed: credentials never leave the host.
fn same_origin_only() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let keeps_message = matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        let keeps_origin = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
        if keeps_message && keeps_origin && attempt.previous().len() <= MAX_REDIRECTS {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

/// The roots that HTTPS backends are verified against: those of the system or
/// pod (`SSL_CERT_FILE` and `SSL_CERT_DIR` count), and the extra ones.
///
/// A system without any is no error: plain HTTP backends need none, and HTTPS
/// ones then fail their verification, which is the truth.
fn roots(extra_ca: Option<&[u8]>) -> Result<RootCertStore, ProbeSetupError> {
    // Bundles hold the odd certificate that cannot be a root; the store leaves it out.
    let mut certificates = rustls_native_certs::load_native_certs().certs;
    if let Some(pem) = extra_ca {
        let extra =
            CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| ProbeSetupError::ExtraCa)?;
        if extra.is_empty() || !extra.iter().all(is_root) {
            return Err(ProbeSetupError::ExtraCa);
        }
        certificates.extend(extra);
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    Ok(roots)
}

/// The proxies of the environment, spelled as `curl` and the Go libraries read
/// them, with the loopback exempt.
fn proxies(environment: impl Fn(&str) -> Option<String>) -> Vec<Proxy> {
    let variable =
        |name: &str| environment(&name.to_lowercase()).or_else(|| environment(name)).filter(|value| !value.is_empty());
    let exempt = match variable("NO_PROXY") {
        Some(list) => format!("{LOOPBACK},{list}"),
        None => LOOPBACK.to_owned(),
    };
    // In a CGI program a client sets HTTP_PROXY by sending the header `Proxy`.
    let is_cgi = environment("REQUEST_METHOD").is_some();
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
        .into_iter()
        .filter(|name| !(is_cgi && *name == "HTTP_PROXY"))
        .filter_map(|name| Some((name, variable(name)?)))
        .filter_map(|(name, value)| {
            let proxy = proxy_url(&value).and_then(|url| {
                let proxy = match name {
                    "HTTP_PROXY" => Proxy::http(url),
                    "HTTPS_PROXY" => Proxy::https(url),
                    _ => Proxy::all(url),
                };
                proxy.ok()
            });
            if proxy.is_none() {
                // The value may hold a password.
                tracing::warn!(variable = name, "proxy setting ignored: not an HTTP proxy");
            }
            Some(proxy?.no_proxy(NoProxy::from_string(&exempt)))
        })
        .collect()
}

fn proxy_url(value: &str) -> Option<Url> {
    let url = if value.contains("://") { Url::parse(value) } else { Url::parse(&format!("http://{value}")) };
    url.ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

/// The system's resolver, with an error that can be told from others.
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let addresses: Vec<SocketAddr> = match found {
                Ok(addresses) => addresses.collect(),
                Err(error) => return Err(NameResolution(Some(error)).into()),
            };
            if addresses.is_empty() {
                return Err(NameResolution(None).into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::reason::Reason;
    use super::*;

    /// Takes one request, answers with the status, and returns the request's
    /// first line.
    async fn answer_once(listener: TcpListener, status: u16) -> String {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("a request"));
        }
        let answer = format!("HTTP/1.1 {status} -\r\ncontent-length: 0\r\n\r\n");
        let written = stream.write_all(answer.as_bytes()).await;
        written.expect("a client that reads");
        let request = String::from_utf8_lossy(&request).into_owned();
        request.lines().next().unwrap_or_default().to_owned()
    }

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("local address");
        (listener, address)
    }

    fn client_with(environment: &[(&str, String)]) -> Client {
        let lookup = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone())
        };
        let settings = ClientSettings::new(&ProberOptions::default(), lookup).expect("settings");
        settings.client(None).expect("a client")
    }

    #[tokio::test]
    async fn proxy_of_the_environment_gets_what_is_not_exempt() {
        let (listener, proxy) = listen().await;
        let client = client_with(&[
            // Without a scheme, as `curl` takes it too.
            ("http_proxy", proxy.to_string()),
            ("NO_PROXY", ".internal".to_owned()),
        ]);
        let (asked, answer) = tokio::join!(answer_once(listener, 204), client.get("http://files.example/mcp").send(),);
        assert_eq!(asked, "GET http://files.example/mcp HTTP/1.1");
        assert_eq!(answer.expect("an answer").status(), 204);

        // A label this long is refused without asking anyone.
        let exempt = format!("http://{}.internal/mcp", "a".repeat(64));
        let exempt = client.get(exempt).send().await;
        let failed = exempt.expect_err("no such name");
        let reason = Reason::from_transport(&failed);
        assert_eq!(reason, Reason::NameResolutionFailed);
    }

    #[tokio::test]
    async fn loopback_never_goes_by_a_proxy() {
        let (_proxy_listener, proxy) = listen().await;
        let proxy = format!("http://{proxy}");
        let variables = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
        let client = client_with(&variables.map(|name| (name, proxy.clone())));
        for host in ["127.0.0.1", "localhost"] {
            let (listener, address) = listen().await;
            let url = format!("http://{host}:{}/mcp", address.port());
            let both = async { tokio::join!(answer_once(listener, 200), client.get(url).send()) };
            let both = tokio::time::timeout(std::time::Duration::from_secs(10), both).await;
            let (asked, answer) = both.expect("the proxy was asked");
            assert_eq!(asked, "GET /mcp HTTP/1.1");
            assert_eq!(answer.expect("an answer").status(), 200);
        }
    }

    #[test]
    fn unusable_proxies_are_left_out() {
        for value in ["socks5://localhost:1080", "http://", "::", ""] {
            let lookup = |name: &str| (name == "ALL_PROXY").then(|| value.to_owned());
            assert!(proxies(lookup).is_empty(), "{value:?}");
        }
    }

    #[test]
    fn http_proxy_is_not_believed_in_a_cgi_program() {
        let lookup = |name: &str| match name {
            "REQUEST_METHOD" => Some("GET".to_owned()),
            "HTTP_PROXY" => Some("http://127.0.0.1:1".to_owned()),
            _ => None,
        };
        assert!(proxies(lookup).is_empty());
    }
}
