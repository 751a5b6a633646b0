//! What the spec of a `VirtualMCPServer` says of the members of its group. Pure.

use std::time::Duration;

use serde_json::Value;

use super::check_options::CheckOptions;
use super::go_duration;
use super::outgoing_auth::OutgoingAuth;
use crate::health_checker::CircuitBreaker;

const FAILURE_HANDLING: &str = "/spec/config/operational/failureHandling";
/// ToolHive's default of `healthCheckInterval`.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
/// The least time-out of a circuit breaker, as in the CRD.
const LEAST_BREAKER_TIMEOUT: Duration = Duration::from_secs(1);

/// What is read of the spec. Nonsense in one key costs that key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VmcpSpec {
    /// The group that it names.
    pub(super) group: Option<String>,
    /// `spec.config.operational.failureHandling`, as far as it is set.
    pub(super) checks: CheckOptions,
    /// `spec.outgoingAuth`.
    pub(super) outgoing_auth: Option<OutgoingAuth>,
    /// What cannot be used, and what holds in its place.
    pub(super) faults: Vec<String>,
}

impl VmcpSpec {
    /// Reads an object.
    pub(super) fn of(object: &Value) -> Self {
        let mut faults = Vec::new();
        let checks = checks(object.pointer(FAILURE_HANDLING).unwrap_or(&Value::Null), &mut faults);
        let outgoing_auth = object.pointer("/spec/outgoingAuth").filter(|section| !section.is_null());
        VmcpSpec {
            group: group_of(object).map(String::from),
            checks,
            outgoing_auth: outgoing_auth.map(OutgoingAuth::of),
            faults,
        }
    }
}

/// The group that the spec of a `VirtualMCPServer` names: `spec.groupRef.name`,
/// or `spec.config.groupRef`.
pub fn group_of(object: &Value) -> Option<&str> {
    let named = ["/spec/groupRef/name", "/spec/config/groupRef", "/spec/config/groupRef/name"];
    named.into_iter().filter_map(|pointer| object.pointer(pointer)?.as_str()).find(|name| !name.is_empty())
}

/// How the spec of this `VirtualMCPServer` wants the members of its group checked:
/// `spec.config.operational.failureHandling`, save what is nonsense in it.
pub fn checks_of(object: &Value) -> CheckOptions {
    VmcpSpec::of(object).checks
}

fn checks(section: &Value, faults: &mut Vec<String>) -> CheckOptions {
    let interval = duration(section, "healthCheckInterval", faults);
    let timeout = duration(section, "healthCheckTimeout", faults);
    CheckOptions {
        interval,
        timeout: timeout_below(interval.unwrap_or(DEFAULT_INTERVAL), timeout, faults),
        unhealthy_threshold: count(section, "unhealthyThreshold", faults),
        circuit_breaker: section
            .get("circuitBreaker")
            .filter(|section| !section.is_null())
            .map(|section| circuit_breaker(section, faults)),
        ..CheckOptions::default()
    }
}

/// ToolHive refuses a time-out that is not below the interval.
fn timeout_below(interval: Duration, timeout: Option<Duration>, faults: &mut Vec<String>) -> Option<Duration> {
    match timeout {
        Some(timeout) if timeout < interval => return Some(timeout),
        None if CheckOptions::DEFAULT_TIMEOUT < interval => return None,
        _ => {}
    }
    let default = CheckOptions::DEFAULT_TIMEOUT;
    let held = if default < interval { default } else { interval / 2 };
    if let Some(timeout) = timeout {
        faults.push(format!(
            "healthCheckTimeout, {timeout:?}, is not below healthCheckInterval, {interval:?}: it is {held:?} here"
        ));
    }
    Some(held)
}

/// The operator writes the section without `enabled`, which means off.
fn circuit_breaker(section: &Value, faults: &mut Vec<String>) -> Option<CircuitBreaker> {
    let default = CircuitBreaker::default();
    match section.get("enabled") {
        None | Some(Value::Null | Value::Bool(false)) => return None,
        Some(Value::Bool(true)) => {}
        Some(_) => {
            faults.push("circuitBreaker.enabled is neither true nor false: it is off".into());
            return None;
        }
    }
    let timeout = duration(section, "timeout", faults).filter(|timeout| {
        let long_enough = *timeout >= LEAST_BREAKER_TIMEOUT;
        if !long_enough {
            faults.push(format!("circuitBreaker.timeout is below 1s: it is {:?} here", default.timeout));
        }
        long_enough
    });
    Some(CircuitBreaker {
        failure_threshold: count(section, "failureThreshold", faults).unwrap_or(default.failure_threshold),
        timeout: timeout.unwrap_or(default.timeout),
    })
}

/// A duration; zero counts as not set, as in ToolHive.
fn duration(section: &Value, key: &str, faults: &mut Vec<String>) -> Option<Duration> {
    let value = section.get(key).filter(|value| !value.is_null())?;
    let duration = value.as_str().and_then(go_duration::parse);
    if duration.is_none() {
        faults.push(format!("{key} is not a duration such as 30s or 1m30s: the default holds"));
    }
    duration.filter(|duration| !duration.is_zero())
}

/// A count; zero counts as not set, as in ToolHive.
fn count(section: &Value, key: &str, faults: &mut Vec<String>) -> Option<u32> {
    let value = section.get(key).filter(|value| !value.is_null())?;
    let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
    if count.is_none() {
        faults.push(format!("{key} is not a count: the default holds"));
    }
    count.filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn read(failure_handling: Value) -> (CheckOptions, Vec<String>) {
        let spec = VmcpSpec::of(&json!({
            "spec": {"config": {"operational": {"failureHandling": failure_handling}}},
        }));
        (spec.checks, spec.faults)
    }

    #[test]
    fn failure_handling_is_read_as_the_crd_has_it() {
        let (checks, faults) = read(json!({
            "healthCheckInterval": "1m30s", "healthCheckTimeout": "500ms", "unhealthyThreshold": 5,
            "statusReportingInterval": "1s", "partialFailureMode": "fail",
            "circuitBreaker": {"enabled": true, "failureThreshold": 2, "timeout": "10s"},
        }));
        let breaker = CircuitBreaker { failure_threshold: 2, timeout: 10 * SECOND };
        let expected = CheckOptions {
            interval: Some(90 * SECOND),
            timeout: Some(SECOND / 2),
            unhealthy_threshold: Some(5),
            circuit_breaker: Some(Some(breaker)),
            ..CheckOptions::default()
        };
        assert_eq!((checks, faults), (expected, vec![]));
    }

    #[test]
    fn what_is_absent_or_zero_is_not_set() {
        let zeros = json!({"healthCheckInterval": "0s", "healthCheckTimeout": "0s", "unhealthyThreshold": 0});
        for nothing in [json!(null), json!({}), json!({"healthCheckInterval": null}), json!([1]), json!("30s"), zeros] {
            assert_eq!(read(nothing.clone()), (CheckOptions::default(), vec![]), "{nothing}");
        }
    }

    #[test]
    fn circuit_breaker_without_enabled_is_off_and_what_it_lacks_is_the_default() {
        for (section, expected) in [
            (json!({"failureThreshold": 5, "timeout": "60s"}), Some(None)),
            (json!({"enabled": false, "failureThreshold": 5}), Some(None)),
            (json!({"enabled": null}), Some(None)),
            (json!({}), Some(None)),
            (json!(null), None),
            (json!({"enabled": true}), Some(Some(CircuitBreaker::default()))),
            (json!({"enabled": true, "failureThreshold": 0}), Some(Some(CircuitBreaker::default()))),
        ] {
            let (checks, faults) = read(json!({"circuitBreaker": section}));
            assert_eq!((checks.circuit_breaker, faults), (expected, vec![]), "{section}");
        }
    }

    #[test]
    fn nonsense_in_one_key_costs_that_key_and_is_said() {
        let good = json!({
            "healthCheckInterval": "20s", "healthCheckTimeout": "5s", "unhealthyThreshold": 4,
            "circuitBreaker": {"enabled": true, "failureThreshold": 6, "timeout": "7s"},
        });
        let (all, _) = read(good.clone());
        let breaker = CircuitBreaker { failure_threshold: 6, timeout: 7 * SECOND };
        let default = CircuitBreaker::default();
        for odd in [json!("soon"), json!(30), json!("-5s"), json!({"s3cret": 1}), json!("s3cret")] {
            for (pointer, expected) in [
                ("/healthCheckInterval", CheckOptions { interval: None, ..all.clone() }),
                ("/healthCheckTimeout", CheckOptions { timeout: None, ..all.clone() }),
                (
                    "/circuitBreaker/timeout",
                    CheckOptions {
                        circuit_breaker: Some(Some(CircuitBreaker { timeout: default.timeout, ..breaker })),
                        ..all.clone()
                    },
                ),
            ] {
                let mut section = good.clone();
                *section.pointer_mut(pointer).expect("it is there") = odd.clone();
                let (checks, faults) = read(section);
                assert_eq!((checks, faults.len()), (expected, 1), "{pointer} {odd}");
                let key = pointer.rsplit('/').next().expect("a key");
                assert!(faults[0].contains(key) && !faults[0].contains("s3cret"), "{faults:?}");
            }
        }
        for odd in [json!("3"), json!(-1), json!(1.5), json!(u64::MAX)] {
            for (pointer, expected) in [
                ("/unhealthyThreshold", CheckOptions { unhealthy_threshold: None, ..all.clone() }),
                (
                    "/circuitBreaker/failureThreshold",
                    CheckOptions {
                        circuit_breaker: Some(Some(CircuitBreaker {
                            failure_threshold: default.failure_threshold,
                            ..breaker
                        })),
                        ..all.clone()
                    },
                ),
            ] {
                let mut section = good.clone();
                *section.pointer_mut(pointer).expect("it is there") = odd.clone();
                let (checks, faults) = read(section);
                assert_eq!((checks, faults.len()), (expected, 1), "{pointer} {odd}");
            }
        }
        for odd in [json!({"enabled": "yes"}), json!({"enabled": 1})] {
            let (checks, faults) = read(json!({"circuitBreaker": odd}));
            assert_eq!((checks.circuit_breaker, faults.len()), (Some(None), 1), "{odd}");
        }
    }

    #[test]
    fn timeout_that_is_not_below_the_interval_is_cut() {
        for (interval, timeout, held, faults) in [
            ("30s", "29s", Some(29 * SECOND), 0),
            ("30s", "30s", Some(10 * SECOND), 1),
            ("5s", "10s", Some(5 * SECOND / 2), 1),
            ("5s", "0s", Some(5 * SECOND / 2), 0),
            ("15s", "0s", None, 0),
            ("0s", "40s", Some(10 * SECOND), 1),
        ] {
            let (checks, said) = read(json!({"healthCheckInterval": interval, "healthCheckTimeout": timeout}));
            assert_eq!((checks.timeout, said.len()), (held, faults), "{interval} {timeout} {said:?}");
        }
    }

    #[test]
    fn group_of_a_vmcp_is_the_one_its_spec_names_first() {
        for (spec, group) in [
            (json!({"groupRef": {"name": "a"}, "config": {"groupRef": "b"}}), Some("a")),
            (json!({"groupRef": {"name": ""}, "config": {"groupRef": "b"}}), Some("b")),
            (json!({"config": {"groupRef": {"name": "c"}}}), Some("c")),
            (json!({"groupRef": {"name": 7}}), None),
            (json!(null), None),
        ] {
            assert_eq!(group_of(&json!({"spec": spec})), group, "{spec}");
        }
    }
}
