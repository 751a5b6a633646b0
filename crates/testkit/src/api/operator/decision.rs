//! What the operator thinks of the vMCP: its own phase, message and `Ready`,
//! from the pods and from the backends that are reported.

use serde_json::Value;

use super::Pods;

pub struct Decision {
    pub phase: &'static str,
    pub message: String,
    pub ready: &'static str,
    pub reason: &'static str,
    pub why: &'static str,
}

pub fn decide(pods: Pods, backends: &[Value]) -> Decision {
    match pods {
        Pods::Absent => not_ready("No pods found for Virtual MCP server"),
        Pods::NotReady => not_ready("Virtual MCP server is starting"),
        Pods::Failed => Decision {
            phase: "Failed",
            message: "Virtual MCP server failed to start".to_owned(),
            ready: "False",
            reason: "DeploymentFailed",
            why: "Deployment failed",
        },
        Pods::Ready => from_backends(backends),
    }
}

/// How many backends can be routed to. Whatever status the operator does not
/// know, or none, counts as unhealthy.
pub fn routable(backends: &[Value]) -> usize {
    let routes = |backend: &&Value| matches!(backend["status"].as_str(), Some("ready" | "unauthenticated"));
    backends.iter().filter(routes).count()
}

fn not_ready(message: &str) -> Decision {
    Decision {
        phase: "Pending",
        message: message.to_owned(),
        ready: "False",
        reason: "DeploymentNotReady",
        why: "Deployment is not yet ready",
    }
}

fn from_backends(backends: &[Value]) -> Decision {
    let (routable, total) = (routable(backends), backends.len());
    if routable == total {
        return Decision {
            phase: "Ready",
            message: "Virtual MCP server is running".to_owned(),
            ready: "True",
            reason: "DeploymentReady",
            why: "Deployment is ready",
        };
    }
    let (message, reason, why) = if routable == 0 {
        let message = format!("Virtual MCP server is running but all {total} backends are unhealthy");
        (message, "BackendsUnavailable", "All backends are unhealthy")
    } else {
        let message = format!("Virtual MCP server is running with {routable}/{total} backends available");
        (message, "BackendsDegraded", "Some backends are unhealthy")
    };
    Decision { phase: "Degraded", message, ready: "False", reason, why }
}
