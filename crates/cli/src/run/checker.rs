//! What checks the backends, and how it takes over another configuration.

use vmcp_status::StatusHandle;
use vmcp_status_discovery::group::GroupDiscovery;
use vmcp_status_discovery::probe::{ProbeSetupError, Prober, ProberOptions};
use vmcp_status_discovery::{CheckLimit, HealthChecker};

use super::group::Group;
use crate::config::Config;
use crate::global::Failure;

/// Checks the backends of a configuration, and those of a group beside them.
pub(super) struct Checker {
    /// How the prober in use was made.
    options: ProberOptions,
    limit: CheckLimit,
    health_checker: HealthChecker,
    discovery: Option<GroupDiscovery>,
}

impl Checker {
    /// Begins to check.
    pub(super) async fn start(
        config: Config,
        group: Option<Group>,
        prober: Prober,
        handle: &StatusHandle,
    ) -> Result<Self, Failure> {
        let limit = CheckLimit::new(config.max_concurrent_checks);
        let mut health_checker = HealthChecker::new(prober.clone(), handle.source("config"), limit.clone());
        let discovery = group.map(|group| group.start(&config, prober, limit.clone(), handle)).transpose()?;
        let options = config.prober_options();
        health_checker.set(config.backends).await;
        Ok(Checker { options, limit, health_checker, discovery })
    }

    /// Checks as this configuration says from now on. What does not change goes
    /// on undisturbed.
    ///
    /// # Errors
    ///
    /// When its certificates cannot be used; then nothing has changed.
    pub(super) async fn apply(&mut self, config: Config) -> Result<(), ProbeSetupError> {
        let options = config.prober_options();
        if options != self.options {
            let prober = Prober::new(options.clone())?;
            self.health_checker.set_prober(prober.clone());
            if let Some(discovery) = &self.discovery {
                discovery.set_prober(prober);
            }
            self.options = options;
        }
        self.limit.resize(config.max_concurrent_checks);
        if let Some(discovery) = &self.discovery {
            discovery.reserve(config.names());
            discovery.set_checks(config.checks);
        }
        self.health_checker.set(config.backends).await;
        Ok(())
    }

    /// Until every backend has been checked once.
    pub(super) fn first_round(&self) -> impl Future<Output = ()> + use<> {
        let (checks, discovery) =
            (self.health_checker.first_round(), self.discovery.as_ref().map(GroupDiscovery::first_round));
        async move {
            checks.await;
            if let Some(discovery) = discovery {
                discovery.await;
            }
        }
    }

    /// Ends all checks. What they found stays reported.
    pub(super) async fn shutdown(self) {
        self.health_checker.shutdown().await;
        if let Some(discovery) = self.discovery {
            discovery.shutdown().await;
        }
    }
}
