//! What answers mean, and what to do about it. Pure.

use chrono::{DateTime, Utc};
use serde_json::Value;
use vmcp_status::StatusLocation;
use vmcp_status::api_server::{ObjectPath, RefusalKind};
use vmcp_status::custom_resource::{PLURAL, STATUS_SUBRESOURCE};

use super::finding::{Finding, described, patch_status, right};
use super::locate::{location, operator};
use super::probe::{Answer, Answers, Rest};
use super::writers::writers;

pub(super) fn judge(
    target: &ObjectPath,
    setting: StatusLocation,
    answers: &Answers,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    let mut findings = vec![cluster(&answers.version)];
    match &answers.rest {
        None if is_unauthorized(&answers.version) => findings.push(refused_credentials()),
        None => {}
        Some(rest) if all(rest).into_iter().any(is_unauthorized) => findings.push(refused_credentials()),
        Some(rest) => {
            findings.extend([
                credentials(rest),
                crd(target, rest),
                object(target, rest),
                rights(target, rest),
                write(rest),
                location(setting, rest),
            ]);
            findings.extend(operator(rest, now));
            findings.extend(rest.object().and_then(|object| writers(setting, object, now)));
        }
    }
    findings
}

fn cluster(version: &Answer) -> Finding {
    const QUESTION: &str = "cluster";
    let told = version.success().and_then(|body| body["gitVersion"].as_str());
    match (version.outcome(), told) {
        (None, _) => Finding::fail(QUESTION, format!("no answer: {}", version.message()))
            .advise("is the address right, is the network open, and can the credentials be got at?"),
        // Who may not know the version has found a cluster all the same.
        (Some(Err(kind)), _) if kind == RefusalKind::Unauthorized || kind.is_forbidden() => {
            Finding::ok(QUESTION, "answers, but does not tell its version")
        }
        (_, Some(version)) => Finding::ok(QUESTION, format!("answers, Kubernetes {version}")),
        (Some(_), None) => Finding::warn(QUESTION, format!("has no version: {}", described(version)))
            .advise("is it an API server, or is a proxy in between?"),
    }
}

fn credentials(rest: &Rest) -> Finding {
    const QUESTION: &str = "credentials";
    if user(rest) == Some("system:anonymous") {
        return Finding::fail(QUESTION, "none were sent: the server sees system:anonymous")
            .advise("is there a user in the context, or a token of the service account in the pod?");
    }
    let is_untold = |answer: &Answer| matches!(answer.outcome(), None | Some(Err(RefusalKind::ServerError)));
    if all(rest).into_iter().all(is_untold) {
        return Finding::warn(QUESTION, "cannot be told without an answer");
    }
    let who = user(rest).map(|user| format!(", as {user}")).unwrap_or_default();
    Finding::ok(QUESTION, format!("accepted{who}"))
}

fn refused_credentials() -> Finding {
    Finding::fail("credentials", "not accepted (401)")
        .advise("has the token expired, does the service account exist, is it a token for this cluster?")
}

fn crd(target: &ObjectPath, rest: &Rest) -> Finding {
    const QUESTION: &str = "CRD";
    let (group, version) = (target.group(), target.version());
    let versions = versions(&rest.discovery);
    let listed = versions.join(", ");
    // The object's own path knows best, and may be open where discovery is not.
    let is_served = rest.object().is_some() || looks(rest).into_iter().any(is_missing_object);
    if is_served {
        let all = if versions.is_empty() { "other versions cannot be seen".into() } else { format!("of {listed}") };
        return Finding::ok(QUESTION, format!("{group} serves {PLURAL} in {version} ({all})"));
    }
    match rest.discovery.outcome() {
        Some(Ok(_)) if versions.contains(&version) => {
            if looks(rest).into_iter().any(Answer::is_not_found) {
                return Finding::fail(QUESTION, format!("{group}/{version} is served, but not {PLURAL}"))
                    .advise("update ToolHive's CRDs");
            }
            Finding::ok(QUESTION, format!("{group} is served in {listed}"))
        }
        Some(Ok(_)) => Finding::fail(QUESTION, format!("{group} is served in {listed}, not in {version}")).advise(
            format!("update ToolHive's CRDs, or use --api-version {group}/{}", versions.first().unwrap_or(&"v1")),
        ),
        Some(Err(kind)) if kind.is_not_found() => Finding::fail(QUESTION, format!("{group} is not served"))
            .advise("install ToolHive's CRDs; in a development cluster: vmcp-status crd | kubectl apply -f -"),
        _ if looks(rest).into_iter().any(Answer::is_not_found) => {
            Finding::fail(QUESTION, format!("{group}/{version} does not serve {PLURAL}"))
                .advise("install or update ToolHive's CRDs, or name another --api-version")
        }
        _ => Finding::warn(QUESTION, format!("cannot be told: {}", described(&rest.discovery)))
            .advise(format!("let a user run it who may: kubectl get --raw /apis/{group}")),
    }
}

fn object(target: &ObjectPath, rest: &Rest) -> Finding {
    const QUESTION: &str = "object";
    let (namespace, name) = (target.namespace(), target.name());
    let looks = looks(rest);
    if let Some(object) = rest.object() {
        let phase = object.pointer("/status/phase").and_then(Value::as_str);
        let phase = phase.map_or_else(|| "nothing reported yet".into(), |phase| format!("phase {phase}"));
        return Finding::ok(QUESTION, format!("{namespace}/{name} exists, {phase}"));
    }
    if looks.into_iter().any(is_missing_object) {
        return Finding::fail(QUESTION, format!("there is no {name} in the namespace {namespace}"))
            .advise(format!("create it, or name another one: kubectl get {PLURAL} -n {namespace}"));
    }
    if looks.into_iter().any(Answer::is_not_found) {
        return Finding::fail(QUESTION, "cannot be there: the CRD is not served in this version");
    }
    match looks.into_iter().find(|answer| !lacks_right(answer)) {
        None => Finding::warn(QUESTION, "cannot be told: no right to look at it"),
        Some(answer) => Finding::fail(QUESTION, format!("cannot be read: {}", described(answer)))
            .advise("the cluster has a problem, try again"),
    }
}

fn rights(target: &ObjectPath, rest: &Rest) -> Finding {
    const QUESTION: &str = "rights";
    let verbs = [
        (patch_status(), &rest.empty_patch),
        (right("get", STATUS_SUBRESOURCE), &rest.get_status),
        (right("get", PLURAL), &rest.get_object),
    ];
    let held: Vec<_> =
        verbs.into_iter().filter(|(_, answer)| is_held(answer) == Some(true)).map(|(verb, _)| verb).collect();
    match is_held(&rest.empty_patch) {
        Some(true) => {
            let role = match (is_held(&rest.get_status), is_held(&rest.get_object)) {
                (Some(true), Some(true)) => "more than any of the three roles needs",
                (Some(true), _) => "the original reporter's role",
                (_, Some(true)) => "the role that ToolHive's operator gives",
                _ => "the least role",
            };
            Finding::ok(QUESTION, format!("{}: {role}, enough", held.join(", ")))
        }
        None => Finding::fail(QUESTION, format!("cannot be told: {}", described(&rest.empty_patch)))
            .advise("the cluster has a problem, try again"),
        Some(false) => {
            let others = if held.is_empty() { String::new() } else { format!("; there is {}", held.join(", ")) };
            Finding::fail(QUESTION, format!("the role lacks the verb {}{others}", patch_status()))
                .advise(grant(target, rest))
        }
    }
}

/// How to grant the missing verb to the user that asked.
fn grant(target: &ObjectPath, rest: &Rest) -> String {
    let namespace = target.namespace();
    // What goes into a command comes from the server: nothing but a name may.
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let account = |user: &str| {
        let (home, account) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        (home == namespace && is_name(account)).then(|| account.to_owned())
    };
    match user(rest).map(|user| (user, account(user))) {
        Some((_, Some(account))) => format!(
            "grant it: vmcp-status rbac -n {namespace} --service-account {account} | kubectl apply -f - (see RBAC.md)"
        ),
        Some((user, None)) => format!("grant it to {user} in the namespace {namespace}, see RBAC.md"),
        None => format!("grant it in the namespace {namespace}, see RBAC.md"),
    }
}

fn write(rest: &Rest) -> Finding {
    const QUESTION: &str = "write";
    let Some(answer) = &rest.write else {
        return Finding::warn(QUESTION, "not tried: no object was read");
    };
    match answer.outcome() {
        Some(Ok(_)) => Finding::ok(QUESTION, "would succeed (a dry run: nothing was written)"),
        Some(Err(RefusalKind::Conflict)) => {
            Finding::warn(QUESTION, "another writer was faster just now, which a reporter takes in its stride")
                .advise("ask again")
        }
        Some(Err(RefusalKind::MissingRight)) => {
            Finding::fail(QUESTION, format!("would be refused, without {}", patch_status()))
        }
        Some(Err(kind)) if kind.is_forbidden() => {
            Finding::fail(QUESTION, format!("would be refused: {}", described(answer)))
                .advise("an admission webhook or policy is in the way: let the reporter through")
        }
        // Webhooks that do something themselves refuse dry runs.
        Some(Err(RefusalKind::DryRunUnsupported)) => {
            Finding::warn(QUESTION, format!("cannot be told: {}", described(answer)))
                .advise("a webhook takes no dry runs; start the reporter and see what it logs")
        }
        Some(Err(RefusalKind::Invalid | RefusalKind::PatchMismatch)) => {
            Finding::fail(QUESTION, format!("would be refused: {}", described(answer)))
                .advise("does the CRD match? compare with: vmcp-status crd")
        }
        _ => Finding::fail(QUESTION, format!("cannot be told: {}", described(answer)))
            .advise("the cluster has a problem, try again"),
    }
}

/// The three ways of looking at the object.
fn looks(rest: &Rest) -> [&Answer; 3] {
    [&rest.get_status, &rest.get_object, &rest.empty_patch]
}

fn all(rest: &Rest) -> Vec<&Answer> {
    [&rest.discovery].into_iter().chain(looks(rest)).chain([&rest.runtime]).chain(&rest.write).collect()
}

/// Whether the user holds the right that an answer needs. The server checks rights
/// before anything else, so "not found" means that the right is there.
fn is_held(answer: &Answer) -> Option<bool> {
    match answer.outcome()? {
        // A page of some proxy says nothing.
        Ok(body) => body.is_object().then_some(true),
        Err(RefusalKind::TooManyRequests | RefusalKind::ServerError | RefusalKind::Unexpected) => None,
        Err(kind) => Some(kind != RefusalKind::MissingRight),
    }
}

fn lacks_right(answer: &Answer) -> bool {
    answer.refused() == Some(RefusalKind::MissingRight)
}

fn is_unauthorized(answer: &Answer) -> bool {
    answer.refused() == Some(RefusalKind::Unauthorized)
}

/// A 404 for the object, not for the whole resource.
fn is_missing_object(answer: &Answer) -> bool {
    answer.refused() == Some(RefusalKind::ObjectNotFound)
}

/// As whom the server sees us, as far as a refusal tells.
fn user(rest: &Rest) -> Option<&str> {
    let is_forbidden = |answer: &&Answer| answer.refused().is_some_and(RefusalKind::is_forbidden);
    all(rest).into_iter().filter(is_forbidden).find_map(|answer| {
        let (_, after) = answer.message().split_once("User \"")?;
        after.split_once('"').map(|(user, _)| user)
    })
}

fn versions(discovery: &Answer) -> Vec<&str> {
    let versions = discovery.success().and_then(|body| body["versions"].as_array());
    versions.into_iter().flatten().filter_map(|version| version["version"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict::{self, Fail, Ok, Warn};
    use super::super::probe::tests::got;
    use super::*;
    use serde_json::json;

    fn target_in(namespace: &str) -> ObjectPath {
        ObjectPath::new(namespace, "it").and_then(|path| path.group_version("g", "v2")).expect("good names")
    }

    fn target() -> ObjectPath {
        target_in("ns")
    }

    fn object_in(phase: &str) -> Answer {
        got(200, json!({"metadata": {"resourceVersion": "1"}, "status": {"phase": phase}}))
    }

    fn forbidden() -> Answer {
        got(403, json!({"message": "x is forbidden: User \"system:serviceaccount:ns:sa\" cannot patch resource y"}))
    }

    fn missing() -> Answer {
        got(404, json!({"message": "not found", "details": {"name": "it", "kind": PLURAL}}))
    }

    fn served(versions: &[&str]) -> Answer {
        let versions: Vec<_> = versions.iter().map(|version| json!({"version": version})).collect();
        got(200, json!({"versions": versions}))
    }

    /// The answers to GET `/status`, GET of the object and the empty patch.
    fn rest(looks: [Answer; 3]) -> Rest {
        let [get_status, get_object, empty_patch] = looks;
        // The same right, asked in the same way.
        let runtime = empty_patch.clone();
        Rest { discovery: served(&["v2", "v1"]), get_status, get_object, empty_patch, runtime, write: None }
    }

    fn least() -> Rest {
        Rest { write: Some(object_in("Ready")), ..rest([forbidden(), forbidden(), object_in("Ready")]) }
    }

    fn judged(answers: &Answers) -> Vec<Finding> {
        judge(&target(), StatusLocation::Auto, answers, DateTime::UNIX_EPOCH)
    }

    fn verdicts(rest: Rest) -> Vec<Verdict> {
        let version = got(200, json!({"gitVersion": "v1.36.0"}));
        judged(&Answers { version, rest: Some(rest) }).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn the_least_role_is_enough() {
        assert_eq!(verdicts(least()), [Ok; 7]);
    }

    #[test]
    fn each_role_has_its_name() {
        let role = |looks| rights(&target(), &rest(looks)).found;
        let yes = || object_in("Ready");
        assert!(role([forbidden(), forbidden(), yes()]).contains("the least role"));
        assert!(role([yes(), forbidden(), yes()]).contains("the original reporter's"));
        assert!(role([forbidden(), yes(), yes()]).contains("operator"));
        assert!(role([yes(), yes(), yes()]).contains("more than"));
        let without = rights(&target(), &rest([yes(), yes(), forbidden()]));
        assert_eq!(without.verdict, Fail);
        assert!(
            without.found.contains(&patch_status()) && without.found.contains(&right("get", PLURAL)),
            "{without:?}"
        );
    }

    #[test]
    fn the_grant_names_the_account_if_it_lives_where_the_object_does() {
        let none = rest([forbidden(), forbidden(), forbidden()]);
        let advice = rights(&target(), &none).advice.expect("advice");
        assert!(advice.contains("vmcp-status rbac -n ns --service-account sa |"), "{advice}");
        let elsewhere = target_in("other");
        let advice = rights(&elsewhere, &none).advice.expect("advice");
        assert!(advice.contains("to system:serviceaccount:ns:sa in the namespace other"), "{advice}");
    }

    #[test]
    fn a_page_of_a_proxy_proves_nothing() {
        let page = || got(200, json!("<html>"));
        let rest = rest([page(), page(), page()]);
        assert_eq!(rights(&target(), &rest).verdict, Fail);
        assert_eq!(object(&target(), &rest).verdict, Fail);
    }

    #[test]
    fn what_is_missing_was_not_forbidden() {
        let rest = rest([forbidden(), forbidden(), missing()]);
        assert_eq!(rights(&target(), &rest).verdict, Ok);
        assert_eq!(verdicts(rest), [Ok, Ok, Ok, Fail, Ok, Warn, Warn]);
    }

    #[test]
    fn the_two_meanings_of_404_are_told_apart() {
        let nowhere = || got(404, json!("404 page not found"));
        let looks = || [forbidden(), forbidden(), nowhere()];
        let found = |discovery| {
            let rest = Rest { discovery, ..rest(looks()) };
            assert_eq!(object(&target(), &rest).verdict, Fail);
            crd(&target(), &rest)
        };
        let old = found(served(&["v1"]));
        assert!(old.advice.expect("advice").contains("--api-version g/v1"), "the version that is there");
        assert!(found(nowhere()).advice.expect("advice").contains("vmcp-status crd"));
        assert_eq!(found(served(&["v2"])).verdict, Fail);
        assert_eq!(found(forbidden()).verdict, Fail);
    }

    #[test]
    fn discovery_that_is_refused_does_no_harm() {
        let served = Rest { discovery: forbidden(), ..least() };
        assert_eq!(crd(&target(), &served).verdict, Ok);
        let unknown = Rest { discovery: forbidden(), ..rest([forbidden(), forbidden(), forbidden()]) };
        assert_eq!(verdicts(unknown), [Ok, Ok, Warn, Warn, Fail, Warn, Warn]);
    }

    #[test]
    fn bad_credentials_end_it() {
        let answers = Answers { version: got(401, json!({})), rest: None };
        let found = judged(&answers);
        assert_eq!(found.iter().map(|finding| finding.verdict).collect::<Vec<_>>(), [Ok, Fail]);
        // The version is often told to anybody, whatever the token.
        assert_eq!(verdicts(Rest { discovery: got(401, json!({})), ..least() }), [Ok, Fail]);
        let anonymous = || got(403, json!({"message": "User \"system:anonymous\" cannot get"}));
        assert_eq!(credentials(&rest([anonymous(), anonymous(), anonymous()])).verdict, Fail);
    }

    #[test]
    fn no_answer_is_the_end_and_a_strange_one_is_not() {
        let silent = Answers { version: Answer::Nothing("connection refused".into()), rest: None };
        let found = judged(&silent);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].verdict, Fail);
        assert!(found[0].found.contains("connection refused"));
        assert_eq!(cluster(&got(200, json!("<html>"))).verdict, Warn);
        assert_eq!(cluster(&got(503, json!(""))).verdict, Warn);
        assert_eq!(cluster(&got(403, json!({}))).verdict, Ok);
    }

    #[test]
    fn a_cluster_in_trouble_is_no_lack_of_rights() {
        let busy = || got(503, json!({"message": "etcd is away"}));
        let rest = Rest { discovery: busy(), ..rest([busy(), busy(), busy()]) };
        assert_eq!(verdicts(rest), [Ok, Warn, Warn, Fail, Fail, Warn, Warn]);
    }

    #[test]
    fn each_refusal_of_a_write_has_its_verdict() {
        let verdict = |code, message: &str| {
            write(&Rest { write: Some(got(code, json!({"message": message}))), ..least() }).verdict
        };
        assert_eq!(verdict(409, "conflict"), Warn);
        assert_eq!(verdict(403, "User \"a\" cannot patch"), Fail);
        assert_eq!(verdict(403, "admission webhook \"w\" denied the request"), Fail);
        assert_eq!(verdict(400, "admission webhook \"w\" does not support dry run"), Warn);
        assert_eq!(verdict(422, "status.phase: Unsupported value"), Fail);
        assert_eq!(verdict(500, ""), Fail);
        let denied = got(403, json!({"message": "admission webhook \"w\" denied the request"}));
        assert_eq!(is_held(&denied), Some(true), "it came as far as admission");
    }
}
