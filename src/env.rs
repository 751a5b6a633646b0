//! Where this process runs, and therefore which sink its status goes to.

#[cfg(feature = "kubernetes")]
use crate::kubernetes::{ConnectError, KubernetesSink, NameError, connect};
use crate::sink::AnySink;
use crate::sink::noop::NoOpSink;

/// The operator sets these two in the pod of a vMCP.
const NAME: &str = "VMCP_NAME";
const NAMESPACE: &str = "VMCP_NAMESPACE";

/// Where a process runs, according to its environment.
///
/// ```no_run
/// use vmcp_status::{AnySink, FileSink, Mode, from_env};
///
/// /// Like `from_env`, with a state file outside a cluster.
/// async fn sink() -> Result<AnySink, Box<dyn std::error::Error>> {
///     Ok(match Mode::from_env()? {
///         Mode::Cli => AnySink::new(FileSink::new("my-vmcp")?),
///         Mode::Kubernetes { .. } => from_env().await?,
///     })
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In a pod that belongs to this `VirtualMCPServer`.
    Kubernetes {
        /// The namespace of the object.
        namespace: String,
        /// The name of the object.
        name: String,
    },
    /// Anywhere else.
    Cli,
}

/// Why the environment does not say where to report to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// Only one of the two variables is set.
    #[error("{set} is set and {missing} is not: set both to report to Kubernetes, or neither")]
    Half {
        /// The variable that is set.
        set: &'static str,
        /// The variable that is not.
        missing: &'static str,
    },
    /// The variables ask for Kubernetes, which was not compiled in.
    #[error("{NAME} and {NAMESPACE} ask for Kubernetes: enable the feature `kubernetes` of vmcp-status")]
    NotCompiled,
    /// No client for the cluster can be made.
    #[cfg(feature = "kubernetes")]
    #[error("{NAME} and {NAMESPACE} ask for Kubernetes")]
    Connect(#[from] ConnectError),
    /// The values cannot be the names of an object.
    #[cfg(feature = "kubernetes")]
    #[error("{NAME} and {NAMESPACE} name no object")]
    Name(#[from] NameError),
}

impl Mode {
    /// Returns `Kubernetes` if `VMCP_NAME` and `VMCP_NAMESPACE` are set, `Cli` if
    /// neither is. An empty variable counts as not set.
    ///
    /// # Errors
    ///
    /// Fails when one is set without the other.
    pub fn from_env() -> Result<Self, EnvError> {
        Self::from_variables(|variable| std::env::var(variable).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, EnvError> {
        let value = |name| variable(name).filter(|value| !value.is_empty());
        match (value(NAME), value(NAMESPACE)) {
            (Some(name), Some(namespace)) => Ok(Mode::Kubernetes { namespace, name }),
            (None, None) => Ok(Mode::Cli),
            (Some(_), None) => Err(EnvError::Half { set: NAME, missing: NAMESPACE }),
            (None, Some(_)) => Err(EnvError::Half { set: NAMESPACE, missing: NAME }),
        }
    }
}

/// Returns the sink for the place where this process runs: for the object that
/// `VMCP_NAME` and `VMCP_NAMESPACE` name, or a sink that stores nothing and logs each
/// status at debug level. A program that wants a state file outside a cluster calls
/// [`Mode::from_env`] and makes a [`FileSink`](crate::FileSink) itself.
///
/// ```no_run
/// use vmcp_status::{Reporter, from_env};
///
/// # async fn example() -> Result<(), vmcp_status::EnvError> {
/// let (handle, reporter) = Reporter::builder(from_env().await?).derive_phase(true).start();
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Fails when one variable is set without the other, when their values cannot be the
/// names of an object, or when no client for the cluster can be made.
// Without the feature, the function has nothing to wait for.
#[cfg_attr(not(feature = "kubernetes"), allow(clippy::unused_async))]
pub async fn from_env() -> Result<AnySink, EnvError> {
    match Mode::from_env()? {
        Mode::Cli => Ok(AnySink::new(NoOpSink::logging())),
        #[cfg(feature = "kubernetes")]
        Mode::Kubernetes { namespace, name } => {
            Ok(AnySink::new(KubernetesSink::new(connect(None, None).await?, &namespace, &name)?))
        }
        #[cfg(not(feature = "kubernetes"))]
        Mode::Kubernetes { .. } => Err(EnvError::NotCompiled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(name: Option<&str>, namespace: Option<&str>) -> Result<Mode, String> {
        let variable = |variable: &str| match variable {
            NAME => name.map(String::from),
            NAMESPACE => namespace.map(String::from),
            other => panic!("{other} is nothing to ask for"),
        };
        Mode::from_variables(variable).map_err(|error| error.to_string())
    }

    #[test]
    fn both_variables_mean_kubernetes_and_neither_the_command_line() {
        let both = Mode::Kubernetes { namespace: "ns".into(), name: "a".into() };
        assert_eq!(mode(Some("a"), Some("ns")), Ok(both));
        assert_eq!(mode(None, None), Ok(Mode::Cli));
        assert_eq!(mode(Some(""), None), Ok(Mode::Cli));
    }

    #[test]
    fn one_without_the_other_is_an_error_that_names_both() {
        for (name, namespace) in [(Some("a"), None), (None, Some("ns")), (Some("a"), Some(""))] {
            let error = mode(name, namespace).expect_err("half");
            assert!(error.contains(NAME) && error.contains(NAMESPACE), "{error}");
        }
    }
}
