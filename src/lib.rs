//! Reports which backends a virtual MCP server (vMCP) found and how they are: to
//! Kubernetes, to a state file, or to a store of your own.
//!
//! # A map
//!
//! * **What is said**: [`Status`] with its [`DiscoveredBackend`]s and
//!   [`Condition`]s. [`derive()`] makes phase, message and conditions from the
//!   backends alone; `validate` lists what a store would refuse.
//! * **Who says it**: a [`StatusHandle`], cloned into every task that has
//!   something to report, or a [`SourceHandle`] for a task that knows only its
//!   own backends. What they send is an [`Update`].
//! * **Who carries it**: the status actor, started by
//!   [`Reporter::builder`](Reporter::builder). It coalesces updates, writes at
//!   a pace, retries with back-off, and ends with an [`Outcome`].
//! * **Where to**: a [`Sink`]: [`NoOpSink`], [`FileSink`],
#![cfg_attr(feature = "kubernetes", doc = "  [`KubernetesSink`],")]
//!   or one of your own; [`from_env`] picks one.
//! * **Which of several replicas writes**: a [`Leadership`], which
//!   [`ReporterBuilder::leadership`] takes from an [`Election`]
#![cfg_attr(feature = "kubernetes", doc = "  such as [`LeaseElection`].")]
#![cfg_attr(not(feature = "kubernetes"), doc = "  of your own.")]
//! * **Who learns what was stored**: a [`StoredListener`]
#![cfg_attr(feature = "events", doc = "  such as [`KubernetesEvents`].")]
#![cfg_attr(not(feature = "events"), doc = "  of your own.")]
#![cfg_attr(
    feature = "metrics",
    doc = "* **How it goes**: [`StatusMetrics`] for Prometheus, registered with\n  [`StatusHandle::register_metrics`]."
)]
#![cfg_attr(feature = "http", doc = "  [`http`] has endpoints for the probes of a pod.")]
//!
//! The laws that doc comments name (law 1 to 12) are the promises that the
//! README lists. Tests keep them: `tests/laws` has a file for each, and what
//! concerns Kubernetes alone (law 9: only our fields) is in `tests/kubernetes`.
//!
//! # Features
//!
//! None by default, and then there is neither TLS nor HTTP in the library.
//! `kubernetes` has the Kubernetes sink and its elections, `events` Kubernetes
//! Events, `metrics` the collector for Prometheus, `http` the health endpoints.
//! Backends are found and checked by the package `vmcp-status-discovery`; the
//! program is `vmcp-status-cli`.

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

// Crates whose types are in signatures here, in the version that fits them: a
// caller who takes them from here need not find that version out.
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

/// So does the code in the page for those who come from the Go original.
#[cfg(all(doctest, feature = "kubernetes"))]
#[doc = include_str!("../docs/from-go.md")]
struct FromGo;
