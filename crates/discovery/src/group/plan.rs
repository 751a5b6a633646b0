//! What is to be reported, from what the watches have seen. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::members::{Known, Member, Timing, members};
use super::resource::Resource;
use super::world::{GRACE, Trouble, World};

/// What is to be reported.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The backends of each kind that can be told by now.
    pub(super) members: BTreeMap<Resource, BTreeMap<String, Member>>,
    /// Names that are somebody else's.
    pub(super) reserved: BTreeSet<String>,
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
    pub(super) troubles: BTreeMap<Resource, (Trouble, bool)>,
    /// When the plan changes by the mere passing of time.
    pub(super) next: Option<Instant>,
}

impl Plan {
    pub(super) fn of(world: &World, group: &str, timing: &Timing, now: Instant) -> Self {
        let settled = |resource: &Resource| world.of(*resource).is_settled(now);
        let auth = world.of(Resource::AuthConfig);
        // Until it is known how the backends of a kind are named, and what they
        // refer to, nothing is said of them: it would change at once.
        let told = Resource::BACKENDS.into_iter().take_while(settled).filter(|_| auth.is_settled(now));
        let known = Known {
            group,
            reserved: &world.reserved,
            backends: told.filter_map(|kind| Some((kind, world.of(kind).objects.as_ref()?))).collect(),
            auth_configs: auth.objects.as_ref(),
        };
        let troubles: BTreeMap<_, _> = Resource::ALL
            .into_iter()
            .filter_map(|resource| {
                let listing = world.of(resource);
                Some((resource, (listing.lasting(now)?, listing.is_left_out())))
            })
            .collect();
        let ends_of_grace =
            Resource::ALL.into_iter().filter_map(|resource| Some(world.of(resource).trouble?.1 + GRACE));
        Plan {
            members: members(&known, timing),
            reserved: world.reserved.clone(),
            settled: Resource::BACKENDS.iter().chain([&Resource::AuthConfig]).all(settled),
            listed: Resource::BACKENDS.into_iter().any(|kind| world.of(kind).objects.is_some()),
            group_exists: world.of(Resource::Group).objects.as_ref().is_none_or(|groups| groups.contains_key(group)),
            failure: failure(&troubles),
            troubles,
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
fn failure(troubles: &BTreeMap<Resource, (Trouble, bool)>) -> Option<String> {
    let of_backends = || troubles.iter().filter(|(resource, _)| Resource::BACKENDS.contains(resource));
    let none_is_left = of_backends().filter(|(_, (_, left_out))| *left_out).count() == Resource::BACKENDS.len();
    let words: Vec<_> = of_backends()
        .filter(|(_, (_, left_out))| none_is_left || !left_out)
        .map(|(resource, (trouble, _))| format!("{} cannot be listed: {trouble}", resource.many()))
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

    const TIMING: Timing = Timing { interval: Duration::ZERO, timeout: Duration::ZERO, degraded_above: Duration::ZERO };

    fn listed(world: &mut World, resource: Resource, names: &[&str]) {
        let object = Object::of(&json!({"spec": {"groupRef": {"name": "g"}}}), false);
        let objects: Objects = names.iter().map(|name| ((*name).to_owned(), object.clone())).collect();
        world.of_mut(resource).objects = Some(objects);
    }

    fn plan(world: &World) -> Plan {
        Plan::of(world, "g", &TIMING, Instant::now())
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.members.values().flat_map(BTreeMap::keys).map(String::as_str).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn lower_kind_waits_for_the_lists_of_the_higher_ones_and_of_what_they_refer_to() {
        let mut world = World::default();
        listed(&mut world, Resource::RemoteProxy, &["a"]);
        listed(&mut world, Resource::AuthConfig, &[]);
        assert!(names(&plan(&world)).is_empty() && !plan(&world).settled);
        listed(&mut world, Resource::Server, &["a"]);
        assert_eq!(names(&plan(&world)), ["a", "mcpremoteproxy/a"]);
        assert!(!plan(&world).settled, "entries are missing");
        listed(&mut world, Resource::Entry, &[]);
        assert!(plan(&world).settled);
        world.of_mut(Resource::AuthConfig).objects = None;
        assert!(names(&plan(&world)).is_empty() && !plan(&world).settled);
    }

    #[tokio::test(start_paused = true)]
    async fn kinds_left_out_are_no_failure_unless_none_is_left() {
        let mut world = World::default();
        listed(&mut world, Resource::Entry, &["a"]);
        listed(&mut world, Resource::AuthConfig, &[]);
        for resource in [Resource::Server, Resource::RemoteProxy] {
            world.of_mut(resource).fail(Trouble::NotServed, Instant::now());
        }
        let now = plan(&world);
        assert_eq!((names(&now), now.settled, now.failure.as_deref()), (vec!["a"], true, None));
        assert_eq!(now.troubles.len(), 2);

        world.of_mut(Resource::Entry).objects = None;
        world.of_mut(Resource::Entry).fail(Trouble::Forbidden, Instant::now());
        let now = plan(&world);
        assert!(now.settled && !now.listed);
        let words = now.failure.expect("nothing can be listed");
        assert_eq!(words.matches("cannot be listed").count(), 3, "{words}");
    }

    #[tokio::test(start_paused = true)]
    async fn list_that_cannot_be_had_is_a_failure_after_the_grace_and_its_last_backends_stay() {
        let mut world = World::default();
        for resource in Resource::ALL {
            listed(&mut world, resource, &["a"]);
        }
        world.of_mut(Resource::Server).fail(Trouble::NoAnswer, Instant::now());
        let before = plan(&world);
        assert_eq!((before.failure, before.next), (None, Some(Instant::now() + GRACE)));
        tokio::time::advance(GRACE).await;
        let after = plan(&world);
        assert_eq!(after.failure.as_deref(), Some("MCPServers cannot be listed: no answer from the API server"));
        assert_eq!((names(&after), after.next), (vec!["a", "mcpremoteproxy/a", "mcpserverentry/a"], None));
    }

    #[tokio::test(start_paused = true)]
    async fn group_is_missing_only_if_a_list_says_so() {
        let mut world = World::default();
        assert!(plan(&world).group_exists, "nobody knows yet");
        world.of_mut(Resource::Group).fail(Trouble::Forbidden, Instant::now());
        assert!(plan(&world).group_exists, "nobody may know");
        listed(&mut world, Resource::Group, &[]);
        assert!(!plan(&world).group_exists);
        listed(&mut world, Resource::Group, &["g"]);
        assert!(plan(&world).group_exists);
    }
}
