//! Carries out the plan: tells what is checked and shown, and in which phase
//! the whole is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::check_options::CheckOptions;
use super::cluster_state::{ClusterState, ListError};
use super::members::Member;
use super::plan::Plan;
use super::resource::Resource;
use super::vmcp_spec::VmcpSpec;
use super::watchers::Watchers;
use crate::health_checker::{CheckSpec, HealthChecker, Past};
use crate::probe::Prober;
use crate::timing::at;
use vmcp_status::{Condition, DiscoveredBackend, Phase, condition_type, reason};
use vmcp_status::{SourceHandle, StatusHandle, check_name};

const CANNOT_FOLLOW: &str = "the spec of the vMCP cannot be followed";

/// What is reported of one kind, through a handle of its own.
pub(super) struct Kind {
    pub(super) resource: Resource,
    pub(super) handle: SourceHandle,
    pub(super) health_checker: HealthChecker,
    /// What is shown without a check.
    pub(super) shown: BTreeMap<String, DiscoveredBackend>,
}

/// How backends are checked, and with what.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) checks: CheckOptions,
    pub(super) prober: Prober,
    /// How many probers there were before this one.
    pub(super) earlier_probers: u64,
}

pub(super) struct Coordinator {
    pub(super) namespace: String,
    pub(super) group: String,
    /// Whether the group is the one that the spec of the vMCP names.
    pub(super) follow_group: bool,
    pub(super) settings: watch::Receiver<Settings>,
    /// Of the prober that the health checkers have.
    pub(super) earlier_probers: u64,
    pub(super) cluster_state: watch::Receiver<ClusterState>,
    /// The tasks that keep the world up to date; they end with this one.
    pub(super) watchers: Watchers,
    pub(super) handle: StatusHandle,
    pub(super) kinds: Vec<Kind>,
    pub(super) said: Said,
    /// Whether the first round is over.
    pub(super) settled: watch::Sender<bool>,
    pub(super) end: CancellationToken,
}

/// What was logged last, so that only changes are logged.
#[derive(Default)]
pub(super) struct Said {
    phase: Option<PhaseSource>,
    failure: Option<String>,
    list_errors: BTreeMap<Resource, (ListError, bool)>,
    spec_faults: BTreeSet<String>,
    off: usize,
}

/// Where phase and message come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PhaseSource {
    Pending(String),
    Derived,
}

impl Coordinator {
    pub(super) async fn run(mut self) {
        let end = self.end.clone();
        let mut first_round: Option<BoxFuture<'static, ()>> = None;
        loop {
            let checks = self.take_settings();
            let spec = self.cluster_state.borrow_and_update().spec().cloned().unwrap_or_default();
            self.take_group(&spec).await;
            let timing = checks.or(&spec.checks).timing();
            let mut plan = Plan::of(&self.cluster_state.borrow(), &self.group, &timing, Instant::now());
            self.log_faults(spec.faults);
            let (next, settled) = (plan.next, plan.settled);
            if settled && plan.to_check() == 0 {
                self.settled.send_replace(true);
            }
            self.say(&plan);
            self.watchers.set_config_maps(std::mem::take(&mut plan.config_maps)).await;
            self.carry_out(plan).await;
            if settled && first_round.is_none() {
                let rounds: Vec<_> = self.kinds.iter().map(|kind| kind.health_checker.first_round()).collect();
                first_round = Some(join_all(rounds).map(drop).boxed());
            }
            let starting = !*self.settled.borrow();
            tokio::select! {
                biased;
                () = end.cancelled() => break,
                changed = self.cluster_state.changed() => if changed.is_err() { break },
                changed = self.settings.changed() => if changed.is_err() { break },
                () = at(next) => {}
                () = async { first_round.as_mut().expect("asked for").await }, if starting && first_round.is_some() => {
                    self.settled.send_replace(true);
                }
            }
        }
        self.watchers.shutdown().await;
        for kind in self.kinds {
            kind.health_checker.shutdown().await;
        }
    }

    /// Hands a new prober to the health checkers; returns how checks are set.
    fn take_settings(&mut self) -> CheckOptions {
        let settings = self.settings.borrow_and_update();
        if std::mem::replace(&mut self.earlier_probers, settings.earlier_probers) != settings.earlier_probers {
            for kind in &mut self.kinds {
                kind.health_checker.set_prober(settings.prober.clone());
            }
        }
        settings.checks.clone()
    }

    /// Turns to the group that the spec names now.
    async fn take_group(&mut self, spec: &VmcpSpec) {
        let is_new = |named: &&String| **named != self.group && check_name("group", named).is_ok();
        let Some(named) = spec.group.as_ref().filter(|_| self.follow_group).filter(is_new) else { return };
        tracing::info!(group = named, before = self.group, "the spec of the vMCP names another group");
        self.group.clone_from(named);
        self.watchers.change_group(named).await;
    }

    /// Checks and shows these, and nothing else.
    async fn carry_out(&mut self, Plan { mut members, reserved, .. }: Plan) {
        let mut kept = reserved;
        kept.extend(members.values().flat_map(BTreeMap::keys).cloned());
        let mut starts = Vec::with_capacity(self.kinds.len());
        // First every kind lets go of what it no longer has: a name may have
        // passed from one kind to another.
        for kind in &mut self.kinds {
            let (wanted, shown) = sorted(members.remove(&kind.resource).unwrap_or_default());
            let past = kind.health_checker.end_others(&wanted).await;
            for name in past.keys().chain(kind.shown.keys()).filter(|name| !kept.contains(*name)) {
                let _ = kind.handle.remove_backend(name.as_str());
            }
            starts.push((wanted, shown, past));
        }
        for (kind, (wanted, shown, past)) in self.kinds.iter_mut().zip(starts) {
            kind.begin(wanted, shown, past);
        }
    }

    fn say(&mut self, plan: &Plan) {
        self.log(&plan.list_errors);
        if std::mem::replace(&mut self.said.off, plan.off) != plan.off {
            tracing::info!(
                workloads = plan.off,
                "workloads of the group that are Stopped or Terminating are not listed"
            );
        }
        if self.said.failure != plan.failure {
            let type_ = condition_type::BACKENDS_DISCOVERED;
            match &plan.failure {
                Some(failure) => {
                    let why = reason::BACKEND_DISCOVERY_FAILED;
                    let _ = self.handle.set_condition(Condition::unchecked(type_, false.into(), why, failure.as_str()));
                }
                None => {
                    let _ = self.handle.remove_condition(type_);
                }
            }
            self.said.failure.clone_from(&plan.failure);
        }
        let verdict = self.verdict(plan);
        if self.said.phase.as_ref() != Some(&verdict) {
            let _ = match &verdict {
                PhaseSource::Pending(message) => self.handle.set_phase(Phase::Pending, message.as_str()),
                PhaseSource::Derived => self.handle.derive_phase(),
            };
            self.said.phase = Some(verdict);
        }
    }

    fn verdict(&self, plan: &Plan) -> PhaseSource {
        let Coordinator { group, namespace, .. } = self;
        let starting = !*self.settled.borrow();
        match &plan.failure {
            _ if !plan.group_exists => {
                PhaseSource::Pending(format!("group {group:?} does not exist in namespace {namespace:?}"))
            }
            Some(failure) if !plan.listed => PhaseSource::Pending(failure.clone()),
            _ if !plan.settled && starting => {
                PhaseSource::Pending(format!("Starting, looking for the backends of group {group:?}"))
            }
            _ => PhaseSource::Derived,
        }
    }

    /// One line when something is out of reach, and one when it is back.
    fn log(&mut self, list_errors: &BTreeMap<Resource, (ListError, bool)>) {
        for (resource, (list_error, left_out)) in list_errors {
            if self.said.list_errors.get(resource) == Some(&(*list_error, *left_out)) {
                continue;
            }
            let plural = resource.plural();
            let what_to_do = match list_error {
                ListError::Forbidden if *resource == Resource::ConfigMap => {
                    format!(": grant the verbs list and watch on {plural}, see RBAC.md")
                }
                ListError::Forbidden => format!(": grant the verbs get, list and watch on {plural}, see RBAC.md"),
                ListError::NotServed => ": is this version of ToolHive older than the kind?".into(),
                _ => String::new(),
            };
            let (what, what_now) = match (resource, left_out) {
                (Resource::Vmcp, true) => (CANNOT_FOLLOW.to_owned(), "options and defaults hold"),
                (Resource::Vmcp, false) => (CANNOT_FOLLOW.to_owned(), "what it said last holds"),
                (Resource::ConfigMap, true) => {
                    ("ConfigMaps cannot be listed".to_owned(), "backends with a CA bundle are unavailable")
                }
                (_, true) => (format!("{} cannot be listed", resource.many()), "left out"),
                (_, false) => (format!("{} cannot be listed", resource.many()), "what was known of them stays"),
            };
            tracing::warn!("{what}: {list_error}{what_to_do}; {what_now} until that is mended");
        }
        for resource in self.said.list_errors.keys().filter(|resource| !list_errors.contains_key(resource)) {
            match resource {
                Resource::Vmcp => tracing::info!("the spec of the vMCP is followed again"),
                _ => tracing::info!("{} are listed again", resource.many()),
            }
        }
        self.said.list_errors.clone_from(list_errors);
    }

    /// One line for each key of the spec that cannot be used.
    fn log_faults(&mut self, faults: Vec<String>) {
        let faults: BTreeSet<String> = faults.into_iter().collect();
        for fault in faults.difference(&self.said.spec_faults) {
            tracing::warn!("the spec of the vMCP: {fault}");
        }
        self.said.spec_faults = faults;
    }
}

impl Kind {
    fn begin(
        &mut self,
        wanted: HashMap<String, CheckSpec>,
        shown: BTreeMap<String, DiscoveredBackend>,
        past: HashMap<String, Past>,
    ) {
        self.health_checker.begin(wanted, past);
        for (name, backend) in &shown {
            if self.shown.get(name) != Some(backend) {
                let _ = self.handle.upsert_backend(backend.clone());
            }
        }
        self.shown = shown;
    }
}

/// What is to be checked, and what is only to be shown.
fn sorted(members: BTreeMap<String, Member>) -> (HashMap<String, CheckSpec>, BTreeMap<String, DiscoveredBackend>) {
    let (mut wanted, mut shown) = (HashMap::new(), BTreeMap::new());
    for (name, member) in members {
        match member {
            Member::Checked(backend) => drop(wanted.insert(name, *backend)),
            Member::Shown(backend) => drop(shown.insert(name, backend)),
            Member::Waiting => {}
        }
    }
    (wanted, shown)
}
