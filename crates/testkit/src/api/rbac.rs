//! Who may do what: the roles that are found in clusters.

use serde_json::json;

use super::{
    answer::{self, Answer},
    crd::{GROUP, PLURAL},
    request_info::{RequestInfo, Resource},
};

/// Under which role a client works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `virtualmcpservers/status`: get, update, patch.
    Seed,
    /// `virtualmcpservers`: get; `virtualmcpservers/status`: update, patch.
    Operator,
    /// `virtualmcpservers/status`: patch.
    Least,
    /// Everything.
    Admin,
    /// Nothing at all, not even what every user of a cluster may.
    None,
}

impl Role {
    pub fn user(self) -> &'static str {
        match self {
            Role::Seed => "system:serviceaccount:default:seed",
            Role::Operator => "system:serviceaccount:default:operator",
            Role::Least => "system:serviceaccount:default:least",
            Role::Admin => "admin",
            Role::None => "system:serviceaccount:default:none",
        }
    }

    pub fn allows(self, verb: &str, group: &str, resource: &str, subresource: Option<&str>) -> bool {
        let verbs: &[&str] = match (self, group, resource, subresource) {
            (Role::Admin, ..) => return true,
            (Role::None, ..) => &[],
            // Every user may ask what it may do.
            (_, "authorization.k8s.io", "selfsubjectaccessreviews", None) => &["create"],
            (Role::Seed, GROUP, PLURAL, Some("status")) => &["get", "update", "patch"],
            (Role::Operator, GROUP, PLURAL, None) => &["get"],
            (Role::Operator, GROUP, PLURAL, Some("status")) => &["update", "patch"],
            (Role::Least, GROUP, PLURAL, Some("status")) => &["patch"],
            _ => &[],
        };
        verbs.contains(&verb)
    }

    /// The answer to a request that the role gives no right to.
    pub fn authorize(self, info: &RequestInfo) -> Result<(), Answer> {
        let Some(resource) = &info.resource else {
            // Discovery is open to every user.
            return if self == Role::None { Err(self.forbidden_path(info)) } else { Ok(()) };
        };
        let subresource = resource.subresource.as_deref();
        if self.allows(info.verb, &resource.group, &resource.plural, subresource) {
            Ok(())
        } else {
            Err(self.forbidden(info.verb, resource))
        }
    }

    fn forbidden(self, verb: &str, resource: &Resource) -> Answer {
        let Resource { group, plural, .. } = resource;
        let mut details = json!({"group": group, "kind": plural});
        let mut what = format!("{plural}.{group}");
        if let Some(name) = &resource.name {
            details["name"] = json!(name);
            what = format!("{what} {name:?}");
        }
        let path =
            resource.subresource.iter().fold(plural.clone(), |path, subresource| format!("{path}/{subresource}"));
        let place = match &resource.namespace {
            Some(namespace) => format!("in the namespace {namespace:?}"),
            None => "at the cluster scope".to_owned(),
        };
        let user = self.user();
        let message = format!(
            "{what} is forbidden: User {user:?} cannot {verb} resource {path:?} in API group {group:?} {place}"
        );
        answer::failure(403, "Forbidden", message, Some(details))
    }

    fn forbidden_path(self, info: &RequestInfo) -> Answer {
        let message = format!("forbidden: User {:?} cannot {} path {:?}", self.user(), info.verb, info.path);
        answer::failure(403, "Forbidden", message, Some(json!({})))
    }
}
