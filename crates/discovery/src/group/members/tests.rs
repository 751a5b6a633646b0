use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::probe::ForwardedHeaders;

const TIMING: Timing = Timing {
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(10),
    degraded_above: Duration::from_secs(2),
    thresholds: Thresholds::DEFAULT,
    circuit_breaker: None,
};

/// Objects of one kind by name, each with its spec and status.
fn objects(list: &[(&str, Value)]) -> Objects {
    list.iter().map(|(name, data)| ((*name).to_owned(), Object::of(data, false))).collect()
}

/// In the group, with this much more.
fn workload(spec: Value, status: Value) -> Value {
    let mut spec = spec;
    spec["groupRef"] = json!({"name": "g"});
    json!({"spec": spec, "status": status})
}

fn known<'a>(backends: &'a [(Resource, Objects)], reserved: &'a BTreeSet<String>) -> Known<'a> {
    let backends = backends.iter().map(|(kind, objects)| (*kind, objects)).collect();
    let config_maps = ConfigMaps::new();
    Known { group: "g", reserved, backends, auth_configs: None, outgoing_auth: None, config_maps }
}

fn found(backends: &[(Resource, Objects)], auth: Option<&Objects>, reserved: &[&str]) -> BTreeMap<String, Member> {
    let reserved = reserved.iter().map(|name| (*name).to_owned()).collect();
    let known = Known { auth_configs: auth, ..known(backends, &reserved) };
    members(&known, &TIMING).into_values().flatten().collect()
}

/// The only backend that comes of one object.
fn one(kind: Resource, data: Value) -> Member {
    let members = found(&[(kind, objects(&[("a", data)]))], Some(&Objects::new()), &[]);
    members.into_values().next().expect("it is in the group")
}

/// How it is shown before any check, and whether there is to be one.
fn shown(member: Member) -> (BackendStatus, String, bool) {
    match member {
        Member::Checked(wanted) => (BackendStatus::Unknown, wanted.note, true),
        Member::Shown(backend) => (backend.status, backend.message, false),
        Member::Waiting => panic!("nothing is waited for"),
    }
}

#[test]
fn phase_decides_what_is_shown_and_whether_it_is_checked() {
    use BackendStatus::{Unavailable, Unknown};
    let url = "http://a:8080/mcp";
    for kind in [Resource::Server, Resource::RemoteProxy] {
        for (phase, expected) in [
            ("Ready", (Unknown, "", true)),
            ("Pending", (Unknown, "", true)),
            ("", (Unknown, "", true)),
            ("New", (Unknown, "", true)),
            ("Failed", (Unavailable, "Workload is Failed", false)),
        ] {
            let member = one(kind, workload(json!({}), json!({"phase": phase, "url": url})));
            let (status, message, checked) = shown(member);
            assert_eq!((status, message.as_str(), checked), expected, "{kind:?} {phase}");
        }
    }
    for (phase, expected) in [
        ("Valid", (Unknown, "", true)),
        ("Pending", (Unknown, "Not validated yet", false)),
        ("Ready", (Unknown, "Not validated yet", false)),
        ("Failed", (Unavailable, "Workload is Failed", false)),
    ] {
        let (status, message, checked) =
            shown(one(Resource::Entry, workload(json!({"remoteUrl": url}), json!({"phase": phase}))));
        assert_eq!((status, message.as_str(), checked), expected, "entry {phase}");
    }
}

#[test]
fn workload_that_is_off_is_not_listed_but_counted_and_keeps_its_name() {
    let (on, off) = (json!({"phase": "Ready"}), |phase: &str| json!({"phase": phase}));
    let servers = objects(&[
        ("a", workload(json!({}), off("Stopped"))),
        ("b", workload(json!({}), on.clone())),
        ("c", workload(json!({}), off("Terminating"))),
        ("d", json!({"spec": {"groupRef": {"name": "h"}}, "status": off("Stopped")})),
    ]);
    let mut entries = objects(&[("a", workload(json!({}), on.clone()))]);
    entries.insert("e".into(), Object::of(&workload(json!({}), on), true));
    let kinds = [(Resource::Server, servers), (Resource::Entry, entries)];
    let names: Vec<_> = found(&kinds, None, &[]).into_keys().collect();
    assert_eq!(names, ["b", "mcpserverentry/a"]);
    assert_eq!(count_off(&known(&kinds, &BTreeSet::new())), 3, "two servers, and an entry that is being deleted");
}

#[test]
fn without_a_url_of_its_own_nothing_is_guessed() {
    use BackendStatus::{Unavailable, Unknown};
    let spec = json!({"remoteUrl": "http://elsewhere/mcp", "proxyPort": 8080});
    for (url, expected) in [
        (json!(null), (Unknown, "No URL yet")),
        (json!(""), (Unknown, "No URL yet")),
        (json!(7), (Unknown, "No URL yet")),
        (json!("ftp://a/mcp"), (Unavailable, "Its URL is not an http or https URL")),
        (json!("a:8080/mcp"), (Unavailable, "Its URL is not an http or https URL")),
    ] {
        let Member::Shown(backend) =
            one(Resource::RemoteProxy, workload(spec.clone(), json!({"phase": "Ready", "url": url})))
        else {
            panic!("nothing to check at {url}")
        };
        assert_eq!((backend.status, backend.message.as_str(), backend.url.as_str()), (expected.0, expected.1, ""));
    }
}

#[test]
fn transport_says_in_which_way_to_ask_and_an_unknown_one_leaves_the_backend_unknown() {
    let streamable = Some(Transport::StreamableHttp);
    let sse = Some(Transport::EventStream);
    for (kind, spec, expected) in [
        (Resource::Server, json!({}), streamable),
        (Resource::Server, json!({"proxyMode": "sse"}), sse),
        (Resource::Server, json!({"transport": "stdio"}), streamable),
        (Resource::Server, json!({"transport": "stdio", "proxyMode": "streamable-http"}), streamable),
        (Resource::Server, json!({"transport": "stdio", "proxyMode": "sse"}), sse),
        // The mode of a proxy says nothing where there is none.
        (Resource::Server, json!({"transport": "streamable-http", "proxyMode": "sse"}), streamable),
        (Resource::Server, json!({"transport": "sse", "proxyMode": "streamable-http"}), sse),
        (Resource::RemoteProxy, json!({}), streamable),
        (Resource::RemoteProxy, json!({"transport": "sse"}), sse),
        (Resource::RemoteProxy, json!({"transport": "smoke"}), None),
        (Resource::Entry, json!({"transport": "streamable-http"}), streamable),
        (Resource::Entry, json!({"transport": "sse"}), sse),
        (Resource::Entry, json!({"transport": "inspector"}), None),
    ] {
        let mut spec = spec;
        spec["remoteUrl"] = json!("http://a/mcp");
        let phase = if kind == Resource::Entry { "Valid" } else { "Ready" };
        let status = json!({"phase": phase, "url": "http://a/mcp"});
        match one(kind, workload(spec.clone(), status)) {
            Member::Checked(wanted) => assert_eq!(wanted.backend.transport, expected, "{kind:?} {spec}"),
            Member::Shown(backend) => {
                let said = (backend.status, backend.message.as_str(), None);
                assert_eq!(said, (BackendStatus::Unknown, "Not probed: its transport is not known", expected));
            }
            Member::Waiting => panic!("nothing is waited for: {kind:?} {spec}"),
        }
    }
}

/// Type and reference of its authentication.
fn authenticated(member: &Member) -> (&str, &str) {
    match member {
        Member::Checked(wanted) => (&wanted.backend.auth_type, &wanted.backend.auth_config_ref),
        Member::Shown(backend) => (&backend.auth_type, &backend.auth_config_ref),
        Member::Waiting => panic!("nothing is waited for"),
    }
}

#[test]
fn outgoing_auth_of_the_vmcp_is_looked_up_by_the_name_of_the_workload() {
    let configs = objects(&[("sso", json!({"spec": {"type": "headerInjection"}}))]);
    let reference = |name: &str| json!({"type": "externalAuthConfigRef", "externalAuthConfigRef": {"name": name}});
    let section = json!({
        "source": "discovered",
        "default": {"type": "discovered"},
        "backends": {"a": reference("sso"), "gone": reference("gone"), "odd": {"type": "externalAuthConfigRef"}},
    });
    let outgoing_auth = OutgoingAuth::of(&section);
    let server = workload(json!({}), json!({"url": "http://a/mcp"}));
    let servers = objects(&[("a", server.clone()), ("b", server.clone()), ("gone", server.clone()), ("odd", server)]);
    let reserved = BTreeSet::from(["a".to_owned()]);
    let kinds = [(Resource::Server, servers)];
    let known = known(&kinds, &reserved);
    let known = Known { auth_configs: Some(&configs), outgoing_auth: Some(&outgoing_auth), ..known };
    let members = members(&known, &TIMING).remove(&Resource::Server).expect("the kind is known");
    for (name, auth, message, checked) in [
        ("mcpserver/a", ("header_injection", "sso"), "", true),
        ("b", ("unauthenticated", ""), "", true),
        ("gone", ("", "gone"), "MCPExternalAuthConfig \"gone\" does not exist", false),
        ("odd", ("", ""), "outgoingAuth of the vMCP names no MCPExternalAuthConfig", false),
    ] {
        assert_eq!(authenticated(&members[name]), auth, "{name}");
        let (_, said, is_checked) = shown(members[name].clone());
        assert_eq!((said.as_str(), is_checked), (message, checked), "{name}");
    }
}

#[test]
fn authentication_is_that_of_the_config_referred_to_and_a_dead_reference_is_not_probed() {
    let configs =
        objects(&[("good", json!({"spec": {"type": "tokenExchange"}})), ("odd", json!({"spec": {"type": 7}}))]);
    let server = |reference: &str| {
        let spec = json!({"externalAuthConfigRef": {"name": reference}});
        objects(&[("a", workload(spec, json!({"url": "http://a/mcp"}))), ("b", workload(json!({}), json!(null)))])
    };
    use BackendStatus::{Unavailable, Unknown};
    let configs = Some(&configs);
    for (reference, configs, auth_type, expected) in [
        ("good", configs, "token_exchange", (Unknown, "", true)),
        ("bad", configs, "", (Unavailable, "MCPExternalAuthConfig \"bad\" does not exist", false)),
        ("odd", configs, "", (Unavailable, "MCPExternalAuthConfig \"odd\" names no type", false)),
        ("good", None, "", (Unknown, "MCPExternalAuthConfigs cannot be read", true)),
    ] {
        let members = found(&[(Resource::Server, server(reference))], configs, &[]);
        assert_eq!(authenticated(&members["a"]), (auth_type, reference));
        let (status, message, checked) = shown(members["a"].clone());
        assert_eq!((status, message.as_str(), checked), expected, "{reference}");
        let Member::Shown(other) = &members["b"] else { panic!("it has no URL") };
        assert_eq!((other.message.as_str(), other.auth_type.as_str()), ("No URL yet", ""), "it costs no other");
    }
}

#[test]
fn entry_forwards_its_headers_and_counts_those_from_secrets_as_credentials() {
    let spec = json!({
        "remoteUrl": "http://a/mcp",
        "headerForward": {
            "addPlaintextHeaders": {"X-Tenant": "blue", "Host": "b", "Mcp-Session-Id": "c"},
            "addHeadersFromSecret": [{"headerName": "X-Api-Key", "valueSecretRef": {"name": "s", "key": "k"}}],
        },
    });
    let Member::Checked(entry) = one(Resource::Entry, workload(spec.clone(), json!({"phase": "Valid"}))) else {
        panic!("it is valid")
    };
    let mut headers = ForwardedHeaders::default();
    headers.insert("x-tenant", "blue").expect("it can be sent");
    assert_eq!((&entry.backend.headers, entry.backend.has_other_credentials), (&headers, true));
    assert_eq!(entry.note, "Header \"Host\" and 1 more cannot be sent");
    // A proxy adds them by itself.
    let Member::Checked(proxy) = one(Resource::RemoteProxy, workload(spec, json!({"url": "http://a/mcp"}))) else {
        panic!("it has a URL")
    };
    let none = (&ForwardedHeaders::default(), false, "");
    assert_eq!((&proxy.backend.headers, proxy.backend.has_other_credentials, &*proxy.note), none);
}

#[test]
fn name_shared_by_kinds_is_kept_by_the_first_and_others_are_told_apart() {
    let same = || objects(&[("a", workload(json!({}), json!(null)))]);
    let kinds = Resource::BACKENDS.map(|kind| (kind, same()));
    let names = |members: BTreeMap<String, Member>| members.into_keys().collect::<Vec<_>>();
    assert_eq!(names(found(&kinds, None, &[])), ["a", "mcpremoteproxy/a", "mcpserverentry/a"]);
    assert_eq!(names(found(&kinds[1..], None, &[])), ["a", "mcpserverentry/a"]);
    let reserved = names(found(&kinds, None, &["a"]));
    assert_eq!(reserved, ["mcpremoteproxy/a", "mcpserver/a", "mcpserverentry/a"]);
}

#[test]
fn those_of_other_groups_are_not_members() {
    let others = objects(&[
        ("a", json!({"spec": {"groupRef": {"name": "h"}}})),
        ("b", json!({"spec": {"groupRef": "g"}})),
        ("c", json!({"spec": {"groupRef": null}})),
        ("d", json!({})),
    ]);
    assert!(found(&[(Resource::Server, others)], None, &[]).is_empty());
}

/// JSON of any shape, now and then of the shape of a workload.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("g".to_owned()),
        "sse|stdio|streamable-http|Ready|Failed|Valid|Stopped",
        "https?://[a-z@:?#/]{0,12}",
        "\\PC{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let key = prop_oneof![
        "spec|status|groupRef|name|url|phase|transport|proxyMode|remoteUrl|externalAuthConfigRef|type",
        "caBundleRef|configMapRef|key|headerForward|addPlaintextHeaders|addHeadersFromSecret",
        "[a-z]{0,3}"
    ];
    let nested = leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(key.clone(), inner, 0..8).prop_map(|members| members.into_iter().collect()),
        ]
    });
    (nested, any::<bool>()).prop_map(|(mut value, in_group)| {
        if in_group && (value.is_object() || value.is_null()) {
            if !value["spec"].is_object() {
                value["spec"] = json!({});
            }
            value["spec"]["groupRef"] = json!({"name": "g"});
        }
        value
    })
}

fn any_objects() -> impl Strategy<Value = Vec<(String, Value)>> {
    vec(("[a-c]|mcp(server|remoteproxy|serverentry)/[ab]|\\PC{0,3}", any_json()), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_json_makes_backends_with_names_of_their_own_that_can_be_stored(
        lists in [any_objects(), any_objects(), any_objects()], auth in any_objects(), reserved in "[a-c]",
    ) {
        let read = |list: &[(String, Value)]| -> Objects {
            list.iter().map(|(name, data)| (name.clone(), Object::of(data, false))).collect()
        };
        let auth = read(&auth);
        let kinds: Vec<_> = Resource::BACKENDS.into_iter().zip(lists.iter().map(|list| read(list))).collect();
        let members = found(&kinds, Some(&auth), &[&reserved]);
        let is_listed = |object: &&Object| object.group == "g" && !object.is_off();
        let in_group = |objects: &Objects| objects.values().filter(is_listed).count();
        prop_assert_eq!(members.len(), kinds.iter().map(|(_, objects)| in_group(objects)).sum::<usize>());
        prop_assert!(!members.contains_key(&reserved));
        for (name, member) in &members {
            match member {
                Member::Checked(wanted) => prop_assert_eq!(name, &wanted.backend.name),
                Member::Shown(backend) => {
                    prop_assert_eq!(name, &backend.name);
                    prop_assert!(!backend.url.contains(['@', '?', '#']) || !backend.url.contains("://"));
                }
                Member::Waiting => {}
            }
        }
    }

    #[test]
    fn order_in_which_objects_were_seen_does_not_matter(
        list in any_objects(), seed in any::<prop::sample::Index>(),
    ) {
        // One object of a name, as in a cluster.
        let unique: BTreeMap<_, _> = list.into_iter().collect();
        let mut turned: Vec<_> = unique.clone().into_iter().collect();
        if !turned.is_empty() {
            let at = seed.index(turned.len());
            turned.rotate_left(at);
        }
        let read = |list: Vec<(String, Value)>| -> Objects {
            list.into_iter().map(|(name, data)| (name, Object::of(&data, false))).collect()
        };
        let kinds = |objects: Objects| Resource::BACKENDS.map(|kind| (kind, objects.clone()));
        let one_way = found(&kinds(read(unique.into_iter().collect())), None, &[]);
        prop_assert_eq!(one_way, found(&kinds(read(turned)), None, &[]));
    }
}
