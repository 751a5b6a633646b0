//! What is to be reported, from what the watches have seen. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::cluster_state::{ClusterState, GRACE, ListError};
use super::members::{self, Known, Member, Timing, members};
use super::resource::Resource;

/// What is to be reported.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The backends of each kind that can be told by now.
    pub(super) members: BTreeMap<Resource, BTreeMap<String, Member>>,
    /// Names that another source reports.
    pub(super) reserved: BTreeSet<String>,
    /// How many workloads are off on purpose, and so are not members.
    pub(super) off: usize,
    /// The `ConfigMap`s that are to be watched.
    pub(super) config_maps: BTreeSet<String>,
    /// Whether every kind is known, or known to be out of reach.
    pub(super) settled: bool,
    /// Whether there ever was a list of backends.
    pub(super) listed: bool,
    /// Whether the group exists, as far as can be told.
    pub(super) group_exists: bool,
    /// Why the backends may not be all there are, or no longer so.
    pub(super) failure: Option<String>,
    /// What is out of reach for longer than a moment, and whether that leaves
    /// the kind out.
    pub(super) list_errors: BTreeMap<Resource, (ListError, bool)>,
    /// When the plan changes by the mere passing of time.
    pub(super) next: Option<Instant>,
}

impl Plan {
    pub(super) fn of(cluster_state: &ClusterState, group: &str, timing: &Timing, now: Instant) -> Self {
        let settled = |resource: &Resource| cluster_state.of(*resource).is_settled(now);
        let auth = cluster_state.of(Resource::AuthConfig);
        let auth_settled = auth.is_settled(now) && (cluster_state.vmcp.is_none() || settled(&Resource::Vmcp));
        let config_maps = || cluster_state.config_maps.iter().map(|(name, listing)| (name.as_str(), listing));
        // Until it is known how the backends of a kind are named, and what they
        // refer to, none of them is reported: it would change at once.
        let told = Resource::BACKENDS.into_iter().take_while(settled).filter(|_| auth_settled);
        let known = Known {
            group,
            reserved: &cluster_state.reserved,
            backends: told.filter_map(|kind| Some((kind, cluster_state.of(kind).objects.as_ref()?))).collect(),
            auth_configs: auth.objects.as_ref(),
            outgoing_auth: cluster_state.spec().and_then(|spec| spec.outgoing_auth.as_ref()),
            config_maps: config_maps().filter_map(|(name, listing)| Some((name, listing.outcome(now)?))).collect(),
        };
        let members = members(&known, timing);
        let is_waiting = |member: &Member| matches!(member, Member::Waiting);
        let list_errors: BTreeMap<_, _> = Resource::ALL
            .into_iter()
            .filter_map(|resource| {
                let listing = cluster_state.of(resource);
                Some((resource, (listing.lasting(now)?, listing.is_left_out())))
            })
            .chain(
                // One for all, for the reason is rarely another.
                config_maps().find_map(|(_, it)| Some((Resource::ConfigMap, (it.lasting(now)?, it.objects.is_none())))),
            )
            .collect();
        let listings = Resource::ALL.into_iter().map(|resource| cluster_state.of(resource));
        let listings = listings.chain(cluster_state.config_maps.values());
        let ends_of_grace = listings.filter_map(|listing| Some(listing.list_error?.1 + GRACE));
        Plan {
            off: members::count_off(&known),
            config_maps: members::config_maps(&known),
            reserved: cluster_state.reserved.clone(),
            settled: Resource::BACKENDS.iter().all(settled)
                && auth_settled
                && !members.values().flat_map(BTreeMap::values).any(is_waiting),
            members,
            listed: Resource::BACKENDS.into_iter().any(|kind| cluster_state.of(kind).objects.is_some()),
            group_exists: cluster_state
                .of(Resource::Group)
                .objects
                .as_ref()
                .is_none_or(|groups| groups.contains_key(group)),
            failure: failure(&list_errors),
            list_errors,
            next: ends_of_grace.filter(|end| *end > now).min(),
        }
    }

    /// How many backends are to be checked.
    pub(super) fn to_check(&self) -> usize {
        let members = self.members.values().flat_map(BTreeMap::values);
        members.filter(|member| matches!(member, Member::Checked(_))).count()
    }
}

/// A kind that is left out is no failure, unless none is left.
fn failure(list_errors: &BTreeMap<Resource, (ListError, bool)>) -> Option<String> {
    let from_backends = || list_errors.iter().filter(|(resource, _)| Resource::BACKENDS.contains(resource));
    let none_is_left = from_backends().filter(|(_, (_, left_out))| *left_out).count() == Resource::BACKENDS.len();
    let words: Vec<_> = from_backends()
        .filter(|(_, (_, left_out))| none_is_left || !left_out)
        .map(|(resource, (list_error, _))| format!("{} cannot be listed: {list_error}", resource.many()))
        .collect();
    (!words.is_empty()).then(|| words.join("; "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::members::Objects;
    use super::super::object::Object;
    use super::*;
    use crate::health_checker::Thresholds;

    const TIMING: Timing = Timing {
        interval: Duration::ZERO,
        timeout: Duration::ZERO,
        degraded_above: Duration::ZERO,
        thresholds: Thresholds::DEFAULT,
        circuit_breaker: None,
    };

    fn listed(cluster_state: &mut ClusterState, resource: Resource, names: &[&str]) {
        let object = Object::of(&json!({"spec": {"groupRef": {"name": "g"}}}), false);
        let objects: Objects = names.iter().map(|name| ((*name).to_owned(), object.clone())).collect();
        cluster_state.of_mut(resource).objects = Some(objects);
    }

    fn plan(cluster_state: &ClusterState) -> Plan {
        Plan::of(cluster_state, "g", &TIMING, Instant::now())
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.members.values().flat_map(BTreeMap::keys).map(String::as_str).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn lower_kind_waits_for_the_lists_of_the_higher_ones_and_of_what_they_refer_to() {
        let mut cluster_state = ClusterState::default();
        listed(&mut cluster_state, Resource::RemoteProxy, &["a"]);
        listed(&mut cluster_state, Resource::AuthConfig, &[]);
        assert!(names(&plan(&cluster_state)).is_empty() && !plan(&cluster_state).settled);
        listed(&mut cluster_state, Resource::Server, &["a"]);
        assert_eq!(names(&plan(&cluster_state)), ["a", "mcpremoteproxy/a"]);
        assert!(!plan(&cluster_state).settled, "entries are missing");
        listed(&mut cluster_state, Resource::Entry, &[]);
        assert!(plan(&cluster_state).settled);
        cluster_state.of_mut(Resource::AuthConfig).objects = None;
        assert!(names(&plan(&cluster_state)).is_empty() && !plan(&cluster_state).settled);
    }

    #[tokio::test(start_paused = true)]
    async fn members_wait_for_the_spec_that_is_followed_and_its_refusal_is_no_failure() {
        let mut cluster_state = ClusterState::new(BTreeSet::new(), Some("vmcp".into()));
        for resource in Resource::BACKENDS.into_iter().chain([Resource::AuthConfig]) {
            listed(&mut cluster_state, resource, &["a"]);
        }
        let before = plan(&cluster_state);
        assert!(names(&before).is_empty() && !before.settled);
        let mut refused = cluster_state;
        refused.of_mut(Resource::Vmcp).fail(ListError::Forbidden, Instant::now());
        let after = plan(&refused);
        assert_eq!((names(&after).len(), after.settled, after.failure), (3, true, None));
        assert_eq!(after.list_errors.get(&Resource::Vmcp), Some(&(ListError::Forbidden, true)));
        // An object that is not there leaves nothing to wait for.
        listed(&mut refused, Resource::Vmcp, &[]);
        assert!(plan(&refused).settled && refused.spec().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn entry_waits_for_the_config_map_that_it_names_and_keeps_no_other_waiting() {
        let mut cluster_state = ClusterState::default();
        for resource in Resource::ALL {
            listed(&mut cluster_state, resource, &["a"]);
        }
        let spec = json!({
            "groupRef": {"name": "g"}, "remoteUrl": "https://a/mcp",
            "caBundleRef": {"configMapRef": {"name": "roots"}},
        });
        let entry = Object::of(&json!({"spec": spec, "status": {"phase": "Valid"}}), false);
        cluster_state.of_mut(Resource::Entry).objects = Some([("e".to_owned(), entry)].into());
        let now = plan(&cluster_state);
        assert_eq!(now.config_maps.iter().collect::<Vec<_>>(), ["roots"]);
        assert_eq!((&now.members[&Resource::Entry]["e"], now.settled), (&Member::Waiting, false));
        assert_eq!(now.members[&Resource::Server].len(), 1);

        let roots = cluster_state.config_maps.entry("roots".into()).or_default();
        roots.fail(ListError::NoAnswer, Instant::now());
        let now = plan(&cluster_state);
        assert_eq!((now.settled, now.next), (false, Some(Instant::now() + GRACE)));
        cluster_state.config_maps.entry("roots".into()).or_default().fail(ListError::Forbidden, Instant::now());
        let now = plan(&cluster_state);
        assert_eq!((now.settled, now.failure), (true, None), "a bundle that cannot be read is no failure of discovery");
        assert_eq!(now.list_errors[&Resource::ConfigMap], (ListError::Forbidden, true));
        let Member::Shown(shown) = &now.members[&Resource::Entry]["e"] else { panic!("it is not checked") };
        assert_eq!(shown.message, "CA bundle: ConfigMap \"roots\" cannot be read: forbidden");
    }

    #[tokio::test(start_paused = true)]
    async fn kinds_left_out_are_no_failure_unless_none_is_left() {
        let mut cluster_state = ClusterState::default();
        listed(&mut cluster_state, Resource::Entry, &["a"]);
        listed(&mut cluster_state, Resource::AuthConfig, &[]);
        for resource in [Resource::Server, Resource::RemoteProxy] {
            cluster_state.of_mut(resource).fail(ListError::NotServed, Instant::now());
        }
        let now = plan(&cluster_state);
        assert_eq!((names(&now), now.settled, now.failure.as_deref()), (vec!["a"], true, None));
        assert_eq!(now.list_errors.len(), 2);

        cluster_state.of_mut(Resource::Entry).objects = None;
        cluster_state.of_mut(Resource::Entry).fail(ListError::Forbidden, Instant::now());
        let now = plan(&cluster_state);
        assert!(now.settled && !now.listed);
        let words = now.failure.expect("nothing can be listed");
        assert_eq!(words.matches("cannot be listed").count(), 3, "{words}");
    }

    #[tokio::test(start_paused = true)]
    async fn list_that_cannot_be_had_is_a_failure_after_the_grace_and_its_last_backends_stay() {
        let mut cluster_state = ClusterState::default();
        for resource in Resource::ALL {
            listed(&mut cluster_state, resource, &["a"]);
        }
        cluster_state.of_mut(Resource::Server).fail(ListError::NoAnswer, Instant::now());
        let before = plan(&cluster_state);
        assert_eq!((before.failure, before.next), (None, Some(Instant::now() + GRACE)));
        tokio::time::advance(GRACE).await;
        let after = plan(&cluster_state);
        assert_eq!(after.failure.as_deref(), Some("MCPServers cannot be listed: no answer from the API server"));
        assert_eq!((names(&after), after.next), (vec!["a", "mcpremoteproxy/a", "mcpserverentry/a"], None));
    }

    #[tokio::test(start_paused = true)]
    async fn group_is_missing_only_if_a_list_says_so() {
        let mut cluster_state = ClusterState::default();
        assert!(plan(&cluster_state).group_exists, "it is not known yet");
        cluster_state.of_mut(Resource::Group).fail(ListError::Forbidden, Instant::now());
        assert!(plan(&cluster_state).group_exists, "the role may not look");
        listed(&mut cluster_state, Resource::Group, &[]);
        assert!(!plan(&cluster_state).group_exists);
        listed(&mut cluster_state, Resource::Group, &["g"]);
        assert!(plan(&cluster_state).group_exists);
    }
}
