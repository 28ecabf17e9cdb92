//! Masks in the parameters of a query or a form.
use super::MASKED;

/// With the values of some parameters replaced: `hides` is given their names, decoded and in small letters. Some
/// services part parameters by semicolons too, for others these belong to the value: all up to the next `&` is masked.
pub(super) fn masked(pairs: &str, hides: &dyn Fn(&str) -> bool) -> String {
    let pairs: Vec<String> = pairs.split('&').map(|pair| pair_masked(pair, hides)).collect();
    pairs.join("&")
}

fn pair_masked(pair: &str, hides: &dyn Fn(&str) -> bool) -> String {
    let mut at = 0;
    for part in pair.split_inclusive(';') {
        if let Some((name, _)) = part.split_once('=').filter(|(name, _)| is_hidden(name, hides)) {
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
fn is_hidden(name: &str, hides: &dyn Fn(&str) -> bool) -> bool {
    let name = decoded(name);
    let whole = name.trim().to_lowercase();
    let base = whole.split('[').next().unwrap_or_default();
    hides(&whole) || hides(base)
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
