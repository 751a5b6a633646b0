use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Why no client for a cluster could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The process has neither a pod's credentials nor a usable kubeconfig.
    #[error("no way to reach a cluster: run in a pod with a service account, or set KUBECONFIG")]
    NoConfig(#[source] InferConfigError),
    /// The given kubeconfig cannot be used.
    #[error("the kubeconfig {} cannot be used: does it exist, and the context in it?", file.display())]
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// The given context cannot be used.
    #[error("the context {context:?} of the kubeconfig cannot be used: see kubectl config get-contexts")]
    Context {
        /// The context.
        context: String,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// The configuration names something that cannot be used.
    #[error("cannot set up a client for the cluster: are its certificates and credentials readable?")]
    Client(#[source] kube::Error),
}

/// Makes a client that suits a reporter. Inside a pod it uses the pod's own
/// credentials, elsewhere the kubeconfig (`KUBECONFIG`, or `~/.kube/config`). A given
/// file or context takes precedence over the pod's credentials. The client never repeats
/// a request by itself, and gives up on a connection after 5 s.
///
/// ```no_run
/// use vmcp_status::connect;
///
/// # async fn example() -> Result<(), vmcp_status::ConnectError> {
/// let here = connect(None, None).await?;
/// let staging = connect(None, Some("staging")).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Fails when the configuration is missing or unusable.
pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client, ConnectError> {
    let options = KubeConfigOptions { context: context.map(String::from), ..KubeConfigOptions::default() };
    let mut config = match (kubeconfig, context) {
        (Some(file), _) => {
            let failed = |source| ConnectError::Kubeconfig { file: file.to_owned(), source };
            let kubeconfig = Kubeconfig::read_from(file).map_err(failed)?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)?
        }
        (None, Some(context)) => Config::from_kubeconfig(&options)
            .await
            .map_err(|source| ConnectError::Context { context: context.into(), source })?,
        // A kubeconfig that is mounted into a pod is for another program.
        (None, None) => match Config::incluster() {
            Ok(config) => config,
            Err(_) => Config::infer().await.map_err(ConnectError::NoConfig)?,
        },
    };
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).map_err(ConnectError::Client)
}
