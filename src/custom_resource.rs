//! The names of the custom resource whose status is reported, and of this software
//! in a cluster.
//!
//! This module needs no feature, because state files have the form of the resource
//! too.
//!
//! ```
//! use vmcp_status::custom_resource::{API_VERSION, GROUP, PLURAL, VERSION};
//!
//! assert_eq!(API_VERSION, format!("{GROUP}/{VERSION}"));
//! assert_eq!(format!("{PLURAL}.{GROUP}"), "virtualmcpservers.toolhive.stacklok.dev");
//! ```

/// `concat!` takes literals only, so the three parts of the other names are macros.
macro_rules! group {
    () => {
        "toolhive.stacklok.dev"
    };
}
macro_rules! version {
    () => {
        "v1beta1"
    };
}
macro_rules! plural {
    () => {
        "virtualmcpservers"
    };
}

/// The API group of ToolHive's CRDs.
pub const GROUP: &str = group!();
/// The version in which ToolHive's CRDs are stored.
pub const VERSION: &str = version!();
/// Group and version, as `apiVersion` has them.
pub const API_VERSION: &str = concat!(group!(), "/", version!());
/// The kind of the resource.
pub const KIND: &str = "VirtualMCPServer";
/// The name of the resource in URLs and in the rules of a role.
pub const PLURAL: &str = plural!();
/// The subresource that the reporter writes, as the rules of a role name it.
pub const STATUS_SUBRESOURCE: &str = concat!(plural!(), "/status");
/// The name of this software in a cluster: its field manager, and the label
/// `app.kubernetes.io/name` of the objects that it makes.
pub const APP_NAME: &str = "vmcp-status";
