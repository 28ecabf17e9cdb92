//! Masks in the parameters of a query or a form.
use super::MASKED;

/// With the values of these parameters replaced; `names` in small letters. Some services part parameters by semicolons
/// too, for others these belong to the value: all up to the next `&` is masked.
pub(super) fn masked(pairs: &str, names: &[&str]) -> String {
    let pairs: Vec<String> = pairs.split('&').map(|pair| pair_masked(pair, names)).collect();
    pairs.join("&")
}

fn pair_masked(pair: &str, names: &[&str]) -> String {
    let mut at = 0;
    for part in pair.split_inclusive(';') {
        if let Some((name, _)) = part.split_once('=').filter(|(name, _)| is_named(name, names)) {
            return format!("{}{name}={MASKED}", &pair[..at]);
        }
        at += part.len();
    }
    pair.to_owned()
}

/// Whether a form is what its sender has to call it, and encoded as browsers and libraries do: in anything else a name
/// could hide.
pub(super) fn is_form(content_type: &[u8], text: &str) -> bool {
    let kind = content_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    let is_sign = |b: u8| b.is_ascii_alphanumeric() || b"*-._~%+&=[]".contains(&b);
    kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") && text.bytes().all(is_sign)
}

/// `pan[]` and `pan[number]` are parts of `pan`.
fn is_named(name: &str, names: &[&str]) -> bool {
    let name = decoded(name);
    let whole = name.trim().to_lowercase();
    let base = whole.split('[').next().unwrap_or_default();
    names.contains(&whole.as_str()) || names.contains(&base)
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
