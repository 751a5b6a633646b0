//! Reports which backends a virtual MCP server (vMCP) found and how they are: to
//! Kubernetes, to a state file, or to a store of your own.
//!
//! # A map
//!
//! * **The model** is [`Status`] with its [`DiscoveredBackend`]s and
//!   [`Condition`]s. [`derive()`] computes phase, message and conditions from the
//!   backends alone; `validate` lists what a store would refuse.
//! * **Callers** hold a [`StatusHandle`], cloned into every task that reports, or
//!   a [`SourceHandle`] for a task that knows only its own backends. Handles send
//!   an [`Update`].
//! * **The status actor**, which [`Reporter::builder`](Reporter::builder) starts,
//!   coalesces updates, writes at most once per interval, retries with back-off,
//!   and ends with an [`Outcome`].
//! * **The store** is behind a [`Sink`]: [`NoOpSink`], [`FileSink`],
#![cfg_attr(feature = "kubernetes", doc = "  [`KubernetesSink`],")]
//!   or one of your own; [`from_env`] picks one.
//! * **An election** decides which of several replicas writes.
//!   [`ReporterBuilder::leadership`] takes an [`Election`]
#![cfg_attr(feature = "kubernetes", doc = "  such as [`LeaseElection`].")]
#![cfg_attr(not(feature = "kubernetes"), doc = "  of your own.")]
//! * **A listener** learns what each write changed.
//!   [`ReporterBuilder::on_stored`] takes a [`StoredListener`]
#![cfg_attr(feature = "events", doc = "  such as [`KubernetesEvents`].")]
#![cfg_attr(not(feature = "events"), doc = "  of your own.")]
#![cfg_attr(
    feature = "metrics",
    doc = "* **Metrics** are [`StatusMetrics`] for Prometheus;\n  [`StatusHandle::register_metrics`] registers them."
)]
#![cfg_attr(feature = "http", doc = "* **Health endpoints** for the probes of a pod are in [`http`].")]
//!
//! # An example
//!
//! ```
//! use vmcp_status::{BackendStatus, DiscoveredBackend, NoOpSink, Reporter};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! # runtime.block_on(async {
//! let (handle, reporter) = Reporter::builder(NoOpSink::logging()).derive_phase(true).start();
//! let weather = DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named("weather") };
//! assert!(handle.upsert_backend(weather), "the reporter runs");
//! let outcome = reporter.shutdown().await;
//! let stored = outcome.stored.as_ref().expect("something was reported");
//! assert_eq!(stored.message, "1 of 1 backend routable");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Laws
//!
//! Doc comments name laws (law 1 to 12): the promises that the README lists. Tests
//! keep them: `tests/laws` has a file for each, and `tests/kubernetes` covers what
//! concerns Kubernetes alone (law 9: only our fields).
//!
//! # Features
//!
//! The library has no features by default, and then it brings neither TLS nor HTTP.
//!
//! | feature | adds |
//! |---|---|
//! | `kubernetes` | the Kubernetes sink, and the election by a Lease |
//! | `events` | Kubernetes Events |
//! | `metrics` | the collector for Prometheus |
//! | `http` | the health endpoints |
//!
//! The package `vmcp-status-discovery` finds and checks backends; the package
//! `vmcp-status-cli` is the program.

#![deny(unreachable_pub)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod actor;
mod backoff;
pub mod custom_resource;
mod env;
mod error;
mod handle;
#[cfg(feature = "http")]
pub mod http;
mod human_duration;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod leadership;
mod listener;
mod log_throttle;
mod mailbox;
mod metrics;
#[cfg(feature = "metrics")]
mod prometheus;
mod reporter;
mod sink;
mod status;
mod update;

pub use backoff::{BackoffPolicy, Backoffs};
pub use env::{EnvError, Mode, from_env};
pub use error::{Retry, SinkError, error_causes, error_chain};
pub use handle::{Attempt, AttemptError, FlushError, Progress, SourceHandle, StatusHandle};
pub use human_duration::human_duration;
#[cfg(feature = "kubernetes")]
pub use kubernetes::api as api_server;
#[cfg(feature = "kubernetes")]
pub use kubernetes::{
    ConnectError, ElectionOptions, KubernetesSink, LeaseElection, NameError, ObjectIdentity, StatusLocation,
    check_name, connect, crd,
};
#[cfg(feature = "events")]
pub use kubernetes::{EventOptions, KubernetesEvents};
pub use leadership::{Election, Leadership, LeadershipSender, LeadershipState};
pub use listener::{StoredChange, StoredListener};
pub use metrics::Counts;
#[cfg(feature = "metrics")]
pub use prometheus::{MetricsOptions, StatusMetrics};
pub use reporter::{Outcome, Reporter, ReporterBuilder, Unstored};
pub use sink::file::{FileSink, StateFile, StateFileError, StateMetadata, Writer};
pub use sink::noop::NoOpSink;
pub use sink::{Advice, AnySink, Location, Refreshed, Sink, WriteOutcome};
pub use status::{
    BackendStatus, CircuitBreakerState, Condition, ConditionStatus, Derived, DiscoveredBackend, Fault, Faults, Phase,
    SizeLimit, Status, condition_type, derive, reason,
};
pub use update::Update;

// Crates whose types stand in signatures here. A caller that takes them from here
// gets the version that fits.
#[cfg(feature = "http")]
pub use axum;
pub use chrono;
#[cfg(feature = "kubernetes")]
pub use kube;
#[cfg(feature = "metrics")]
pub use prometheus_client;
pub use tokio_util;

/// The code in the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code in the page for users of the Go reporter compiles too.
#[cfg(all(doctest, feature = "kubernetes"))]
#[doc = include_str!("../docs/from-go.md")]
struct FromGo;
