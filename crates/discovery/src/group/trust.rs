//! Which certificates an entry says to trust. Pure.

use std::collections::BTreeMap;

use vmcp_status::check_name;

use super::cluster_state::ListError;
use super::members::Objects;
use super::object::Object;
use crate::probe::CaBundle;

/// `ConfigMap`s by their names, as far as it is known whether they can be read.
pub(super) type ConfigMaps<'a> = BTreeMap<&'a str, Result<&'a Objects, ListError>>;

/// Certificates to trust beside those of the system.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trust {
    /// These, or no others.
    Known(Option<CaBundle>),
    /// Not known yet.
    Waiting,
    /// There should be some, and this is missing.
    Missing(String),
}

/// The `ConfigMap` that an object names, if there can be one of that name.
pub(super) fn config_map(object: &Object) -> Option<&str> {
    let (name, _) = object.ca_bundle.as_ref()?;
    check_name("ConfigMap", name).is_ok().then_some(name)
}

impl Trust {
    pub(super) fn of(object: &Object, config_maps: &ConfigMaps<'_>) -> Self {
        let Some((name, key)) = &object.ca_bundle else { return Trust::Known(None) };
        let missing = |what: &str| Trust::Missing(format!("CA bundle: ConfigMap {name:?} {what}"));
        if config_map(object).is_none() {
            return missing("cannot exist");
        }
        match config_maps.get(name.as_str()) {
            None => Trust::Waiting,
            Some(Err(error)) => missing(&format!("cannot be read: {error}")),
            Some(Ok(objects)) => match objects.get(name).map(|found| found.ca_bundles.get(key)) {
                None => missing("does not exist"),
                Some(None) => missing(&format!("has no key {key:?}")),
                Some(Some(None)) => missing(&format!("holds no certificate under {key:?}")),
                Some(Some(Some(bundle))) => Trust::Known(Some(bundle.clone())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use vmcp_status_testkit::mcp::{Behaviour, McpServer};

    use super::*;

    fn entry(reference: Value) -> Object {
        Object::of(&json!({"spec": {"caBundleRef": {"configMapRef": reference}}}), false)
    }

    fn missing(what: &str) -> Trust {
        Trust::Missing(format!("CA bundle: ConfigMap {what}"))
    }

    #[tokio::test]
    async fn certificates_are_those_under_the_key_or_what_is_missing_is_said() {
        let server = McpServer::start_tls(Behaviour::Modern).await;
        let root = server.certificate().expect("a TLS server");
        let data = json!({"ca.crt": root, "other": format!("# ours\n{root}"), "junk": "junk", "odd": 7});
        let (read, gone) =
            (Objects::from([("roots".into(), Object::of(&json!({"data": data}), false))]), Objects::new());
        let config_maps =
            ConfigMaps::from([("roots", Ok(&read)), ("gone", Ok(&gone)), ("secret", Err(ListError::Forbidden))]);
        let bundle = Trust::Known(CaBundle::from_pem(root).ok());
        for (reference, expected) in [
            (json!(null), Trust::Known(None)),
            (json!({"name": "roots"}), bundle.clone()),
            (json!({"name": "roots", "key": ""}), bundle.clone()),
            (json!({"name": "roots", "key": "other"}), bundle),
            (json!({"name": "roots", "key": "none"}), missing(r#""roots" has no key "none""#)),
            (json!({"name": "roots", "key": "odd"}), missing(r#""roots" has no key "odd""#)),
            (json!({"name": "roots", "key": "junk"}), missing(r#""roots" holds no certificate under "junk""#)),
            (json!({"name": "gone"}), missing(r#""gone" does not exist"#)),
            (json!({"name": "secret"}), missing(r#""secret" cannot be read: forbidden"#)),
            (json!({"name": "later"}), Trust::Waiting),
            (json!({}), missing(r#""" cannot exist"#)),
            (json!({"name": "a,metadata.name!=b"}), missing(r#""a,metadata.name!=b" cannot exist"#)),
        ] {
            assert_eq!(Trust::of(&entry(reference.clone()), &config_maps), expected, "{reference}");
        }
    }

    #[test]
    fn only_what_can_be_the_name_of_an_object_is_watched() {
        for (reference, expected) in [
            (json!(null), None),
            (json!({"name": "roots.example"}), Some("roots.example")),
            (json!({"name": ""}), None),
            (json!({"name": "a,metadata.name!=b"}), None),
        ] {
            assert_eq!(config_map(&entry(reference.clone())), expected, "{reference}");
        }
    }
}
