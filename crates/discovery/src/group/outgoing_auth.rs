//! Which credentials are configured for a member: those of its own, or those of
//! the vMCP. Pure.
//!
//! As ToolHive has it. It reads `spec.outgoingAuth` alone: its operator replaces
//! `spec.config.outgoingAuth` by that whatever it says.

use std::collections::BTreeMap;

use serde_json::Value;

/// `spec.outgoingAuth` of a vMCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OutgoingAuth {
    /// Whether a member's own reference comes first.
    is_discovered: bool,
    default: Option<Entry>,
    backends: BTreeMap<String, Entry>,
}

/// What the vMCP says of one member, or of those that it does not name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// `type: discovered`.
    Discovered,
    /// The name in `externalAuthConfigRef`.
    Config(String),
    /// It names nothing.
    Broken,
}

/// What is configured for one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberAuth<'a> {
    /// Nothing.
    Nothing,
    /// That there is no authentication.
    Unauthenticated,
    /// What the `MCPExternalAuthConfig` of this name says.
    Config(&'a str),
    /// Something that names no such object.
    Broken,
}

impl OutgoingAuth {
    /// Reads `spec.outgoingAuth`; an entry with nonsense in it is a broken one.
    pub(super) fn of(section: &Value) -> Self {
        let backends = section.get("backends").and_then(Value::as_object);
        let entries = backends.into_iter().flatten();
        OutgoingAuth {
            is_discovered: section.get("source").and_then(Value::as_str) == Some("discovered"),
            default: section.get("default").and_then(Entry::of),
            backends: entries.filter_map(|(name, entry)| Some((name.clone(), Entry::of(entry)?))).collect(),
        }
    }
}

impl Entry {
    fn of(entry: &Value) -> Option<Self> {
        if entry.is_null() {
            return None;
        }
        let text = |pointer| entry.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        Some(match (text("/type"), text("/externalAuthConfigRef/name")) {
            (Some("discovered"), _) => Entry::Discovered,
            (_, Some(name)) => Entry::Config(name.to_owned()),
            _ => Entry::Broken,
        })
    }
}

/// What is configured for the member of this name, whose own reference is this
/// one: with `source: discovered` its own comes first, then what the vMCP says of
/// it, then what the vMCP says of all; with another source what the vMCP says
/// comes first.
pub(super) fn of_member<'a>(vmcp: Option<&'a OutgoingAuth>, name: &str, own: &'a str) -> MemberAuth<'a> {
    let discovered = (!own.is_empty()).then_some(MemberAuth::Config(own));
    let configured = vmcp.and_then(|vmcp| vmcp.backends.get(name).or(vmcp.default.as_ref())).map(|entry| match entry {
        Entry::Discovered => discovered.unwrap_or(MemberAuth::Unauthenticated),
        Entry::Config(name) => MemberAuth::Config(name),
        Entry::Broken => MemberAuth::Broken,
    });
    let chosen =
        if vmcp.is_some_and(|vmcp| vmcp.is_discovered) { discovered.or(configured) } else { configured.or(discovered) };
    chosen.unwrap_or(MemberAuth::Nothing)
}

/// The type of an `MCPExternalAuthConfig` as ToolHive reports it: `headerInjection`
/// is `header_injection` there.
pub(super) fn reported_type(type_: &str) -> String {
    let mut reported = String::with_capacity(type_.len() + 2);
    for (index, letter) in type_.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            reported.push('_');
        }
        reported.push(letter.to_ascii_lowercase());
    }
    reported
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::MemberAuth::{Broken, Config, Nothing, Unauthenticated};
    use super::*;

    fn reference(name: &str) -> Value {
        json!({"type": "externalAuthConfigRef", "externalAuthConfigRef": {"name": name}})
    }

    #[test]
    fn source_decides_whether_the_member_or_the_vmcp_comes_first() {
        let discovered = json!({"type": "discovered"});
        let named = |entry: &Value| json!({"a": entry});
        // Source, default, backends; what holds for a member `a` with a reference
        // of its own, and for one without.
        for (source, default, backends, with_own, without) in [
            ("discovered", json!(null), json!(null), Config("own"), Nothing),
            ("discovered", reference("default"), json!(null), Config("own"), Config("default")),
            ("discovered", reference("default"), named(&reference("a")), Config("own"), Config("a")),
            ("discovered", reference("default"), named(&discovered), Config("own"), Unauthenticated),
            ("discovered", discovered.clone(), json!(null), Config("own"), Unauthenticated),
            ("inline", json!(null), json!(null), Config("own"), Nothing),
            ("inline", reference("default"), json!(null), Config("default"), Config("default")),
            ("inline", reference("default"), named(&reference("a")), Config("a"), Config("a")),
            ("inline", reference("default"), named(&discovered), Config("own"), Unauthenticated),
            ("inline", discovered.clone(), json!(null), Config("own"), Unauthenticated),
            ("inline", json!(null), json!({"b": reference("b")}), Config("own"), Nothing),
            ("", reference("default"), json!(null), Config("default"), Config("default")),
            ("new", reference("default"), json!(null), Config("default"), Config("default")),
        ] {
            let section = json!({"source": source, "default": default, "backends": backends});
            let auth = OutgoingAuth::of(&section);
            assert_eq!(of_member(Some(&auth), "a", "own"), with_own, "{section}");
            assert_eq!(of_member(Some(&auth), "a", ""), without, "{section}");
        }
    }

    #[test]
    fn without_a_section_the_member_has_what_is_its_own() {
        assert_eq!(of_member(None, "a", "own"), Config("own"));
        assert_eq!(of_member(None, "a", ""), Nothing);
        assert_eq!(of_member(Some(&OutgoingAuth::of(&json!({"source": "inline"}))), "a", "own"), Config("own"));
    }

    #[test]
    fn entry_that_names_nothing_is_not_taken_for_an_open_door() {
        for entry in [
            json!({}),
            json!("a"),
            json!([]),
            json!({"type": "externalAuthConfigRef"}),
            json!({"type": "externalAuthConfigRef", "externalAuthConfigRef": {"name": ""}}),
            json!({"type": 7, "externalAuthConfigRef": "a"}),
        ] {
            let auth = OutgoingAuth::of(&json!({"backends": {"a": entry}, "default": reference("default")}));
            assert_eq!(of_member(Some(&auth), "a", "own"), Broken, "{entry}");
            assert_eq!(of_member(Some(&auth), "b", "own"), Config("default"), "it costs no other: {entry}");
        }
        for odd in [json!(null), json!("discovered"), json!({"backends": [1]})] {
            assert_eq!(OutgoingAuth::of(&odd), OutgoingAuth::default(), "{odd}");
        }
    }

    #[test]
    fn types_are_reported_in_the_spelling_of_toolhive() {
        for (type_, reported) in [
            ("tokenExchange", "token_exchange"),
            ("headerInjection", "header_injection"),
            ("unauthenticated", "unauthenticated"),
            ("upstreamInject", "upstream_inject"),
            ("awsSts", "aws_sts"),
            ("obo", "obo"),
            ("xaa", "xaa"),
            ("bearerToken", "bearer_token"),
            ("embeddedAuthServer", "embedded_auth_server"),
            ("header_injection", "header_injection"),
            ("", ""),
        ] {
            assert_eq!(reported_type(type_), reported);
        }
    }
}
