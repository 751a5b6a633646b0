//! Whatever the file holds: no panic, nothing accepted that cannot be checked,
//! and no word of what may be a secret in an error.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// Stands in every value that may be a secret, and nowhere else.
const SECRET: &str = "s3cret";

fn read(yaml: &[u8]) -> Result<Config, String> {
    let file = File::parse(yaml)?;
    Config::check(file, None).map_err(|faults| faults.join("; "))
}

/// What holds of every configuration that is accepted.
fn check(config: &Config) -> Result<(), TestCaseError> {
    let mut names = HashSet::new();
    prop_assert!(config.max_concurrent_checks > 0);
    for backend in &config.backends {
        prop_assert!(!backend.name.is_empty() && names.insert(&backend.name));
        prop_assert!(matches!(backend.url.scheme(), "http" | "https") && backend.url.has_host());
        prop_assert!(!backend.interval.is_zero() && !backend.timeout.is_zero());
        prop_assert!(
            backend.circuit_breaker.is_none_or(|breaker| breaker.failure_threshold > 0 && !breaker.timeout.is_zero())
        );
    }
    Ok(())
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(words).prop_map(String::from)
}

fn revealing() -> impl Strategy<Value = String> {
    word(&[
        "s3cret",
        "http://me:s3cret@host/mcp",
        "https://host/mcp?key=s3cret#s3cret",
        "ftp://s3cret@host",
        "http://s3cret:x@",
        "s3cret: [",
        "'s3cret",
        "`s3cret`, expected one of `s3cret`",
        "&s3cret",
        "*s3cret",
        "!s3cret x",
        "${s3cret}",
        "{s3cret",
        "s3cret\n\ts3cret",
        "%s3cret",
        "line\n  s3cret: x",
    ])
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        revealing().prop_map(Value::from),
        word(&["http://a/mcp", "https://b", "5s", "0s", "-1s", "1y", "99999999999999999999y", "a", ""])
            .prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        let members = vec((prop_oneof![member(), revealing()], inner.clone()), 0..3);
        prop_oneof![
            vec(inner, 0..3).prop_map(Value::from),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn member() -> impl Strategy<Value = String> {
    word(&[
        "name",
        "interval",
        "timeout",
        "degradedAbove",
        "backends",
        "url",
        "bearerToken",
        "caFile",
        "intervall",
        "circuitBreaker",
        "healthCheckInterval",
    ])
}

fn other() -> impl Strategy<Value = (String, Value)> {
    let time = prop_oneof![
        word(&["5s", "0s", "1h 1ms", "99999999999999999999y"]).prop_map(Value::from),
        (-1..2i64).prop_map(Value::from),
    ];
    prop_oneof![
        3 => (word(&["interval", "timeout", "degradedAbove", "maxConcurrentChecks"]), time),
        2 => (member(), any_value()),
        1 => (revealing(), any_value()),
    ]
}

/// Mostly one that is right, so that each fault is met by itself.
fn backend() -> impl Strategy<Value = Value> {
    // A name is no secret, unless it is a URL.
    let name = word(&["a", "b", "c", "d", "", "http://me:s3cret@host"]);
    let url = prop_oneof![8 => word(&["http://a/mcp", "https://me:s3cret@b/?s3cret"]), 1 => revealing()];
    let other = other().prop_filter("another one", |(name, _)| name != "name" && name != "url");
    (name, url, vec(other, 0..2), prop::option::weighted(0.1, revealing())).prop_map(|(name, url, others, key)| {
        let mut backend = Map::from_iter(others);
        backend.extend([("name".to_owned(), json!(name)), ("url".to_owned(), json!(url))]);
        backend.extend(key.map(|key| (key, Value::Null)));
        Value::Object(backend)
    })
}

fn file() -> impl Strategy<Value = Value> {
    let backends = prop_oneof![9 => vec(backend(), 0..4).prop_map(Value::from), 1 => any_value()];
    (vec(other(), 0..2), backends).prop_map(|(others, backends)| {
        let mut file = Map::from_iter(others);
        file.insert("backends".to_owned(), backends);
        Value::Object(file)
    })
}

/// The same with the indents, quotes and line ends of a person who has begun
/// to learn YAML.
fn scribbled() -> impl Strategy<Value = String> {
    let line = (
        word(&["", "  ", "- ", "\t", "    "]),
        prop_oneof![member(), revealing()],
        word(&[": ", ":", " ", ": |\n", ": {", ": ["]),
        prop_oneof![revealing(), word(&["'", "\"", "a", "5s", "}", "]"])],
    );
    let line = line.prop_map(|(indent, member, colon, value)| format!("{indent}{member}{colon}{value}\n"));
    vec(line, 1..6).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn any_bytes_are_accepted_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(config) = read(&bytes) {
            check(&config)?;
        }
    }

    #[test]
    fn any_fields_are_accepted_whole_or_refused_without_what_they_hold(file in file(), pretty in any::<bool>()) {
        let yaml = if pretty { serde_saphyr::to_string(&file).expect("it is YAML") } else { file.to_string() };
        match read(yaml.as_bytes()) {
            Ok(config) => check(&config)?,
            Err(error) => prop_assert!(!error.contains(SECRET), "{error}\n{yaml}"),
        }
    }

    #[test]
    fn broken_yaml_is_refused_without_what_it_holds(yaml in scribbled()) {
        if let Err(error) = read(yaml.as_bytes()) {
            prop_assert!(!error.contains(SECRET), "{error}\n{yaml}");
        }
    }
}
