//! Text for an Event: one line, short, and without secrets.

/// Replaces a secret.
const HIDDEN: &str = "***";
/// Headers whose value takes the rest of the text.
const HEADERS: [&str; 2] = ["authorization", "cookie"];
/// Labels that a single secret follows.
const LABELS: [&str; 5] = ["token", "secret", "password", "api-key", "apikey"];
const SCHEMES: [&str; 2] = ["bearer", "basic"];

/// Returns at most this many bytes of the text, with white space and control characters
/// as single spaces and without secrets.
pub(super) fn one_line(text: &str, max_bytes: usize) -> String {
    cut(without_secrets(&plain(text)), max_bytes)
}

/// Like [`one_line`] for a name, which does not contain secrets.
pub(super) fn name(text: &str, max_bytes: usize) -> String {
    cut(plain(text), max_bytes)
}

/// Cuts at a character boundary, and marks the cut.
pub(super) fn cut(mut text: String, max_bytes: usize) -> String {
    const MORE: &str = "…";
    if text.len() > max_bytes {
        let room = max_bytes.saturating_sub(MORE.len());
        text.truncate((0..=room).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default());
        text.push_str(MORE);
    }
    text
}

fn plain(text: &str) -> String {
    let blank = |c: char| c.is_whitespace() || c.is_control() || turns_direction(c);
    text.split(blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn turns_direction(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn without_secrets(text: &str) -> String {
    let mut shown = Vec::new();
    let mut hide = false;
    for word in text.split(' ').map(without_credentials) {
        let lower = word.to_ascii_lowercase();
        if SCHEMES.contains(&lower.trim_matches(|c: char| !c.is_alphanumeric())) {
            shown.push(word);
            hide = true;
        } else if std::mem::take(&mut hide) {
            shown.push(HIDDEN.into());
        } else if let Some(value) = value_after(&lower, &HEADERS) {
            shown.extend([word[..value].to_owned(), HIDDEN.into()]);
            break;
        } else if let Some(value) = value_after(&lower, &LABELS) {
            hide = value == word.len();
            shown.push(if hide { word } else { format!("{}{HIDDEN}", &word[..value]) });
        } else {
            shown.push(word);
        }
    }
    shown.join(" ")
}

/// Returns where the value begins in `label: value` or `label=value`.
fn value_after(lower: &str, labels: &[&str]) -> Option<usize> {
    labels.iter().find_map(|label| {
        let end = lower.find(label)? + label.len();
        lower[end..].find([':', '=']).map(|separator| end + separator + 1)
    })
}

/// Returns a word whose URLs have no user info, query and fragment.
fn without_credentials(word: &str) -> String {
    const AUTHORITY: &str = "://";
    let mut rest = match word.split_once('?') {
        Some((path, query)) if query.contains('=') || path.contains(AUTHORITY) => path,
        _ => word,
    };
    let mut bare = String::with_capacity(rest.len());
    while let Some(at) = rest.find(AUTHORITY) {
        let (scheme, after) = rest.split_at(at + AUTHORITY.len());
        bare.push_str(scheme);
        let authority = &after[..after.find(['/', '#', '\\']).unwrap_or(after.len())];
        rest = &after[authority.rfind('@').map_or(0, |at| at + 1)..];
        if let Some((path, _fragment)) = rest.split_once('#') {
            rest = path;
        }
    }
    bare.push_str(rest);
    bare
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_left_out_and_the_rest_is_kept() {
        for (text, shown) in [
            ("Connection failed", "Connection failed"),
            ("is it up? no: time-out", "is it up? no: time-out"),
            ("cannot reach https://u:p%40ss@host:8080/mcp?token=t#f now", "cannot reach https://host:8080/mcp now"),
            ("get HTTP://user@host", "get HTTP://host"),
            ("(http://a/b,http://u:pw@c/d)", "(http://a/b,http://c/d)"),
            ("http://host/@scope/package", "http://host/@scope/package"),
            ("http://host?sid", "http://host"),
            ("http://host/#secret", "http://host/"),
            ("GET /mcp?key=s3cret refused", "GET /mcp refused"),
            ("sent Authorization: Bearer abc.def and more", "sent Authorization: ***"),
            ("Set-Cookie: a=1; b=2", "Set-Cookie: ***"),
            ("with bearer abc.def refused", "with bearer *** refused"),
            ("token=abc, api-key: k3y refused", "token=*** api-key: *** refused"),
            ("client_secret=\"x\"", "client_secret=***"),
            ("two\nlines\t\u{7}\u{1b}[31m \u{202e}turned", "two lines [31m turned"),
            ("", ""),
        ] {
            assert_eq!(one_line(text, 1024), shown, "{text:?}");
        }
    }

    #[test]
    fn cut_is_at_a_character_boundary_and_marked() {
        assert_eq!(one_line("äöü", 6), "äöü");
        assert_eq!(one_line("äöüß", 6), "ä…");
        assert_eq!(name("https://u:p@host", 99), "https://u:p@host");
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_short_line(text in "\\PC{0,80}|[\\x00-\\x20?#@:/=a]{0,80}", max in 3usize..60) {
            let line = one_line(&text, max);
            prop_assert!(line.len() <= max);
            prop_assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        }

        #[test]
        fn no_user_info_and_no_query_is_shown(
            before in "[a-z ]{0,9}", user in "[a-z:%0-9]{1,9}", path in "(/[a-z]{1,5}){0,3}", query in "[A-Z0-9]{1,9}",
        ) {
            let line = one_line(&format!("{before} https://{user}SECRET@host{path}?q={query}SECRET#SECRET end"), 1024);
            prop_assert!(!line.contains("SECRET"), "{line}");
            prop_assert!(line.ends_with("end"), "{line}");
        }
    }
}
