/// Why a name cannot be that of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not a Kubernetes name: use up to 253 lower-case letters, digits, '-' and '.'")]
pub struct NameError {
    what: &'static str,
    value: String,
}

/// Checks that a name is a DNS subdomain (RFC 1123), like the names of most objects in
/// Kubernetes, and returns it. Such a name needs no escape in a URL. `what` is the thing
/// that has the name; the error names it.
///
/// # Errors
///
/// Fails when the API server would not take the name.
pub fn check_name(what: &'static str, value: &str) -> Result<String, NameError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    if value.len() <= 253 && bytes.iter().all(|&b| allowed(b)) && ends(bytes.first()) && ends(bytes.last()) {
        Ok(value.to_owned())
    } else {
        Err(NameError { what, value: value.to_owned() })
    }
}
