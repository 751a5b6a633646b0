//! Reports to a `VirtualMCPServer`: a Lease elects the one of several replicas that
//! writes, and changes become Kubernetes Events.
//!
//! Needs a cluster with the CRD of `VirtualMCPServer` (ToolHive, or `vmcp-status
//! crd | kubectl apply -f -`), an object, and the rights that `vmcp-status rbac
//! --leader-elect --events` prints. It uses the pod's service account, else the
//! kubeconfig.
//!
//! ```text
//! VMCP_NAME=my-vmcp VMCP_NAMESPACE=my-namespace \
//!   cargo run --example kubernetes --features events
//! ```
//!
//! Start it twice: the second one stands by until the first has ended.

use std::time::Duration;

use vmcp_status::{
    BackendStatus, DiscoveredBackend, ElectionOptions, EventOptions, KubernetesEvents, KubernetesSink, LeadershipState,
    LeaseElection, Mode, Reporter, StatusHandle, StatusLocation, connect,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Mode::Kubernetes { namespace, name } = Mode::from_env()? else {
        return Err("set VMCP_NAME and VMCP_NAMESPACE to the VirtualMCPServer to report for".into());
    };
    // A client of your own works too, if it does not repeat requests by itself.
    let client = connect(None, None).await?;
    let sink = KubernetesSink::new(client.clone(), &namespace, &name)?
        // The default: `status.runtime` where the CRD has it, else the top level.
        .location(StatusLocation::Auto);
    let events = KubernetesEvents::new(client.clone(), sink.identity(), EventOptions::from_env());
    let options = ElectionOptions { lease_duration: Duration::from_secs(15), ..ElectionOptions::default() };
    let election = LeaseElection::start(client, &namespace, &name, options)?;
    let span = sink.span();
    let (handle, reporter) = Reporter::builder(sink)
        .leadership(election)
        .on_stored(events)
        .span(span)
        .derive_phase(true)
        // Repairs what another writer overwrote, and notices an object that was deleted
        // and created again.
        .periodic_interval(Some(Duration::from_secs(300)))
        .start();
    println!("reporting to {namespace}/{name}");

    println!("leadership: {:?}", settled(&handle).await);
    for (round, search) in
        [BackendStatus::Ready, BackendStatus::Unavailable, BackendStatus::Ready].into_iter().enumerate()
    {
        let backends = [("weather", BackendStatus::Ready), ("search", search)];
        let accepted = handle.source("example").replace_backends(backends.map(|(name, status)| DiscoveredBackend {
            url: format!("http://{name}.{namespace}.svc:8080/mcp"),
            status,
            ..DiscoveredBackend::named(name)
        }));
        assert!(accepted, "the reporter runs");
        // On standby this is `FlushError::Standby`: the leader stores what it sees
        // itself.
        match handle.flush().await {
            Ok(()) => println!("round {round}: stored"),
            Err(error) => println!("round {round}: {error}"),
        }
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }

    // Writes what is left, then releases the Lease.
    let outcome = reporter.shutdown().await;
    if let Some(location) = &outcome.location {
        println!("the status is in {}: {}", location.place, location.reason);
    }
    match (&outcome.unstored, &outcome.stored) {
        (Some(unstored), _) => println!("not stored: {}", unstored.why),
        (None, Some(stored)) => println!("stored: {}: {}", stored.phase, stored.message),
        (None, None) => println!("nothing was stored: another replica leads"),
    }
    Ok(())
}

/// Waits at most 20 s until it is decided which replica writes.
async fn settled(handle: &StatusHandle) -> LeadershipState {
    for _ in 0..200 {
        if handle.leadership_state() != LeadershipState::Undecided {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    handle.leadership_state()
}
