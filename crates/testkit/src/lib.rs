//! What the tests and benches of `vmcp-status` stand on. Not published.
//!
//! | module | what it is |
//! |---|---|
//! | [`api`] | a double of the API server, in memory and in virtual time |
//! | [`mod@bench`] | what the benches share |
//! | [`client`] | the product's own client of a real cluster |
//! | [`cluster`] | a whole control plane, with ToolHive's own operator and reporter |
//! | [`events`], [`leases`] | a double that takes Events and Leases too |
//! | [`group`] | a real cluster with the kinds of a group |
//! | [`fleet`] | a fleet of reporters in simulation |
//! | [`logged`] | what is logged while a test runs |
//! | [`manifests`] | what users apply to a cluster |
//! | [`mcp`] | MCP servers, good and bad |
//! | [`openmetrics`] | a strict reader of the metrics' text format |
//! | [`projection`] | the table of what ToolHive's operator makes of a report |
//! | [`served`] | the double on a port, with a kubeconfig |
//! | [`store`] | a sink that does what a test tells it to |

#![allow(clippy::missing_panics_doc, reason = "whatever goes wrong here ends the test by a panic")]
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::new_without_default,
    reason = "the names say it, and only tests call it"
)]

pub mod api;
pub mod bench;
pub mod client;
pub mod cluster;
pub mod events;
pub mod fleet;
pub mod group;
pub mod leases;
pub mod logged;
pub mod manifests;
pub mod mcp;
pub mod openmetrics;
pub mod projection;
pub mod served;
pub mod store;
