//! Masks in the parameters of a query, a path or a form.
use super::MASKED;
use super::address::{self, Hides};

/// So often a value may be encoded within others.
const DECODED_MAX: usize = 3;
/// What may stand before a name in the value of another one.
const BETWEEN: [char; 13] = ['&', '?', ';', '#', '/', ',', ' ', '"', '\'', '<', '>', '{', '('];

/// With the values of some parameters replaced: `hides` is given their names, decoded. Some services part parameters by
/// semicolons too, for others these belong to the value: all up to the next `&` is masked.
pub(super) fn masked(pairs: &str, hides: Hides<'_>) -> String {
    let pairs: Vec<String> = pairs.split('&').map(|pair| pair_masked(pair, hides)).collect();
    pairs.join("&")
}

/// One of them, or a segment of a path with its own.
pub(super) fn pair_masked(pair: &str, hides: Hides<'_>) -> String {
    let mut at = 0;
    for part in pair.split_inclusive(';') {
        let (before, value) = part.split_once('=').map_or(("", part), |(name, _)| part.split_at(name.len() + 1));
        let name = before.strip_suffix('=').unwrap_or_default();
        if is_hidden(name, hides) || holds_hidden(value, hides) {
            return format!("{}{before}{MASKED}", &pair[..at]);
        }
        at += part.len();
    }
    pair.to_owned()
}

/// Whether a value is, or holds, an address with parameters that are hidden (`next=/pay%3Ftoken%3D…`), or with a
/// password.
fn holds_hidden(value: &str, hides: Hides<'_>) -> bool {
    let mut value = value.to_owned();
    for _ in 0..DECODED_MAX {
        let is_name = |part: &str| part.split_once('=').is_some_and(|(name, _)| is_hidden(name, hides));
        if value.split(BETWEEN).any(is_name) || address::without_user(&value, false) != value {
            return true;
        }
        match decoded(&value) {
            same if same == value => return false,
            other => value = other,
        }
    }
    false
}

/// Whether a form is what its sender has to call it, and encoded as browsers and libraries do: in anything else a name
/// could hide.
pub(super) fn is_form(content_type: &[u8], text: &str) -> bool {
    let kind = content_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    let is_sign = |b: u8| b.is_ascii_alphanumeric() || b"*-._~%+&=[]".contains(&b);
    kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") && text.bytes().all(is_sign)
}

/// `pan[]` and `pan[number]` are parts of `pan`.
fn is_hidden(name: &str, hides: Hides<'_>) -> bool {
    let name = decoded(name);
    let whole = name.rsplit(['&', '?', ',']).next().unwrap_or_default().trim();
    let base = whole.split('[').next().unwrap_or_default();
    !whole.is_empty() && (hides(whole) || hides(base))
}

fn decoded(name: &str) -> String {
    let bytes = name.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let encoded = (byte == b'%').then(|| digit(at + 1).zip(digit(at + 2))).flatten();
        match encoded {
            Some((high, low)) => {
                out.push((high << 4 | low) as u8);
                at += 2;
            }
            None => out.push(if byte == b'+' { b' ' } else { byte }),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
