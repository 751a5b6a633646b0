use super::*;
use proptest::prelude::*;

use crate::status::fault::MAX_QUOTE;
use crate::status::{BackendStatus, ConditionStatus};

#[test]
fn validate_lists_every_fault_of_a_status() {
    let status = Status {
        message: "x".repeat(40_000),
        observed_generation: Some(-1),
        conditions: vec![
            Condition::unchecked("", ConditionStatus::True, "Fine", ""),
            Condition::unchecked("Ready", ConditionStatus::True, "because I say so", ""),
            Condition::unchecked("Ready", ConditionStatus::True, "ServerReady", ""),
        ],
        ..Status::from_backends([
            DiscoveredBackend::named(""),
            DiscoveredBackend::named("a"),
            DiscoveredBackend { url: "http://me:pw@a/mcp?key=1".into(), ..DiscoveredBackend::named("a") },
        ])
    };
    let faults = status.validate().expect_err("it is full of faults");
    assert_eq!(
        faults.iter().cloned().collect::<Vec<_>>(),
        [
            Fault::LongMessage("the status".into()),
            Fault::NegativeGeneration("the status".into()),
            Fault::MalformedConditionType(String::new()),
            Fault::MalformedReason { type_: "Ready".into(), reason: "because I say so".into() },
            Fault::DuplicateCondition("Ready".into()),
            Fault::NamelessBackend,
            Fault::RevealingUrl("a".into()),
            Fault::DuplicateBackend("a".into()),
        ]
    );
}

#[test]
fn long_texts_of_a_backend_are_cut_and_a_long_name_leaves_it_out() {
    let long = || "x".repeat(MAX_MESSAGE + 1);
    let given = DiscoveredBackend {
        url: long(),
        auth_type: long(),
        auth_config_ref: long(),
        message: long(),
        mcp_revision: long(),
        ..DiscoveredBackend::named("a")
    };
    assert!(!backend_is_sound(&given));
    let (mut repaired, mut faults) = (given, Faults::default());
    assert!(backend(&mut repaired, &mut faults));
    let DiscoveredBackend { url, auth_type, auth_config_ref, message, mcp_revision, .. } = &repaired;
    for text in [url, auth_type, auth_config_ref, message, mcp_revision] {
        assert_eq!(text.chars().count(), MAX_MESSAGE);
        assert!(text.ends_with('…') && text.capacity() < MAX_MESSAGE + 8);
    }
    assert_eq!(faults.0.len(), 5);
    assert_eq!(repaired.validate(), Ok(()));

    let mut faults = Faults::default();
    assert!(!backend(&mut DiscoveredBackend::named(long()), &mut faults));
    let [Fault::LongName(quoted)] = &faults.0[..] else { panic!("{faults:?}") };
    assert_eq!(quoted.chars().count(), MAX_QUOTE);
}

#[test]
fn duplicate_backends_keep_the_last() {
    let mut status_ = Status::from_backends([
        DiscoveredBackend::named("a"),
        DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named("a") },
    ]);
    status(&mut status_, &mut Faults::default());
    assert_eq!(status_.discovered_backends.len(), 1);
    assert_eq!(status_.backend("a").map(|b| b.status), Some(BackendStatus::Ready));
}

#[test]
fn urls_lose_what_may_be_secret_and_nothing_else() {
    for (url, bare) in [
        ("http://a:8080/mcp", None),
        ("", None),
        ("http://u:p@a:1/mcp", Some("http://a:1/mcp")),
        ("http://u:p%40x@a/", Some("http://a/")),
        ("http://u@p@a/", Some("http://a/")),
        ("http://a/mcp?token=s#f", Some("http://a/mcp")),
        ("http://a/@scope/pkg", None),
        ("http://a?x=@b", Some("http://a")),
        ("user:secret@host", Some("host")),
        ("http:\\\\u:p@h", Some("h")),
    ] {
        assert_eq!(bare_url(url).as_deref(), bare, "{url}");
    }
}

#[test]
fn times_that_rfc_3339_cannot_write_are_left_out() {
    for impossible in [DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC] {
        let late_or_early = DiscoveredBackend {
            last_health_check: Some(impossible),
            circuit_last_changed: Some(DateTime::UNIX_EPOCH),
            ..DiscoveredBackend::named("a")
        };
        assert!(!backend_is_sound(&late_or_early));
        let (mut repaired, mut faults) = (late_or_early, Faults::default());
        assert!(backend(&mut repaired, &mut faults));
        assert_eq!((repaired.last_health_check, repaired.circuit_last_changed), (None, Some(DateTime::UNIX_EPOCH)));
        assert_eq!(faults.0, [Fault::ImpossibleTime("backend \"a\"".into())]);

        let mut repaired = Condition {
            last_transition_time: Some(impossible),
            ..Condition::unchecked("Ready", ConditionStatus::True, "Fine", "")
        };
        assert!(condition(&mut repaired, &mut Faults::default()));
        assert_eq!(repaired.last_transition_time, None);
    }
}

#[test]
fn condition_types_follow_the_pattern_of_the_crd() {
    for good in ["Ready", "a", "A.b-c_d", "toolhive.dev/Ready", "9"] {
        assert!(is_qualified_name(good), "{good}");
    }
    for bad in ["", "-a", "a-", "a b", "/a", "A.b/c", "a//b", "a/", "é", "a\n"] {
        assert!(!is_qualified_name(bad), "{bad:?}");
    }
}

#[test]
fn reasons_are_repaired_to_the_nearest_word() {
    for (given, repaired) in [
        ("not one word", "NotOneWord"),
        ("", "Unspecified"),
        ("…", "Unspecified"),
        ("42 is it", "IsIt"),
        ("Trailing:", "Trailing"),
        ("ok-ish", "OkIsh"),
    ] {
        assert!(!is_reason(given));
        assert_eq!(repair_reason(given), repaired);
    }
}

proptest! {
    #[test]
    fn repaired_value_has_no_fault_left(
        type_ in ".{0,12}", reason in "\\PC{0,40}|[A-Za-z,:]{0,5}|[a-z]{1100}", text in ".{0,20}",
        url in ".{0,30}|https?://[a-z:@/?#]{0,20}", generation in any::<Option<i64>>(),
    ) {
        let mut faults = Faults::default();
        let mut repaired = Condition {
            observed_generation: generation,
            ..Condition::unchecked(type_, ConditionStatus::True, reason, text)
        };
        if condition(&mut repaired, &mut faults) {
            prop_assert_eq!(repaired.validate(), Ok(()));
        }
        let mut repaired = DiscoveredBackend { url, ..DiscoveredBackend::named("a") };
        prop_assert!(backend(&mut repaired, &mut faults));
        prop_assert_eq!(repaired.validate(), Ok(()));
        prop_assert!(!repaired.url.contains('?'));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character(text in "[aé€😀]{0,10}") {
        let long = text.repeat(20_000);
        let mut cut = long.clone();
        message(&mut cut, String::new, &mut Faults::default());
        prop_assert!(cut.chars().count() <= MAX_MESSAGE);
        prop_assert!(long == cut || cut.ends_with('…'));
    }
}
