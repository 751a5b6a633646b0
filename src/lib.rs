//! Reports which backends a virtual MCP server (vMCP) found and how they are.

#![deny(unreachable_pub)]

mod actor;
mod backoff;
#[cfg(feature = "probe")]
pub mod discovery;
mod env;
mod error;
mod handle;
mod mailbox;
mod metrics;
mod reporter;
mod sink;
mod status;
mod update;

pub use backoff::BackoffPolicy;
pub use env::{EnvError, Mode, from_env};
pub use error::{Retry, SinkError};
pub use handle::{Attempt, AttemptError, FlushError, Progress, SourceHandle, StatusHandle};
pub use metrics::Counts;
pub use reporter::{Outcome, Reporter, ReporterBuilder, Unstored};
pub use sink::file::{FileSink, StateFile, StateFileError, StateMetadata, Writer};
#[cfg(feature = "kubernetes")]
pub use sink::kubernetes::{ConnectError, KubernetesSink, NameError, connect};
pub use sink::noop::NoOpSink;
pub use sink::{AnySink, Effect, Sink};
pub use status::{
    BackendStatus, CircuitBreakerState, Condition, ConditionStatus, Derived, DiscoveredBackend, Fault, Faults, Phase,
    SizeLimit, Status, condition_type, derive, reason,
};
pub use update::Update;
