//! Masks in addresses, and in texts that may hold some.
use super::{MASKED, form};

/// Whether the value of a parameter with this name, as it is read by a service, is not to be shown.
pub(super) type Hides<'h> = &'h dyn Fn(&str) -> bool;

/// Around addresses in other texts: what stands in none as it is.
const AROUND: [char; 5] = ['<', '>', '"', ' ', '\t'];

/// A path or an address, with its query: parameters in whichever part of it, and who is named before its host.
pub(super) fn masked(address: &str, hides: Hides<'_>) -> String {
    parts_masked(&without_user(address, true), hides)
}

/// A text in which addresses and parameters may stand.
pub(super) fn text_masked(text: &str, hides: Hides<'_>) -> String {
    let text = without_user(text, false);
    let parts = text.split_inclusive(AROUND).map(|part| {
        let end = part.len() - part.chars().next_back().filter(|last| AROUND.contains(last)).map_or(0, char::len_utf8);
        format!("{}{}", parts_masked(&part[..end], hides), &part[end..])
    });
    parts.collect()
}

fn parts_masked(address: &str, hides: Hides<'_>) -> String {
    let parted = |text, sign| match str::split_once(text, sign) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    };
    let (address, fragment) = parted(address, '#');
    let (path, query) = parted(address, '?');
    let segments: Vec<String> = path.split('/').map(|segment| form::pair_masked(segment, hides)).collect();
    let mut shown = segments.join("/");
    for (sign, part) in [('?', query), ('#', fragment)] {
        if let Some(part) = part {
            shown.push(sign);
            shown.push_str(&form::masked(part, hides));
        }
    }
    shown
}

/// Without `name:password` before the hosts of addresses. `is_address`: the text is one, and may leave out its scheme.
pub(super) fn without_user(text: &str, is_address: bool) -> String {
    let is_slash = |sign: char| sign == '/' || sign == '\\';
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    if is_address && let Some(begin) = host_begin(text) {
        out.push_str(&text[..begin]);
        at = hide_user(text, begin, is_address, &mut out);
    }
    while let Some(found) = text[at..].find("//").map(|found| at + found) {
        let begin = found + text[found..].find(|sign| !is_slash(sign)).unwrap_or(text.len() - found);
        out.push_str(&text[at..begin]);
        at = hide_user(text, begin, is_address, &mut out);
    }
    out.push_str(&text[at..]);
    out
}

/// Where the host of an address stands, or who is named before it: behind its scheme, which may be left out.
fn host_begin(address: &str) -> Option<usize> {
    let is_slash = |sign: char| sign == '/' || sign == '\\';
    let slashes = |from: usize| address[from..].find(|sign| !is_slash(sign)).unwrap_or(address.len() - from);
    match slashes(0) {
        0 => {}
        1 => return None,
        some => return Some(some),
    }
    let is_of_scheme = |sign: char| sign.is_ascii_alphanumeric() || "+-.".contains(sign);
    let scheme = address.find(|sign| !is_of_scheme(sign)).filter(|end| address[*end..].starts_with(':'));
    let behind = scheme.map(|end| (end + 1, slashes(end + 1))).filter(|(_, slashes)| *slashes > 0);
    match behind {
        Some((end, slashes)) => Some(end + slashes),
        None => (!address.starts_with(['?', '#', '.'])).then_some(0),
    }
}

/// Where to go on.
fn hide_user(text: &str, begin: usize, is_address: bool, out: &mut String) -> usize {
    let rest = &text[begin..];
    let end = if is_address { None } else { rest.find(AROUND) };
    match user_end(&rest[..end.unwrap_or(rest.len())]) {
        Some(end) => {
            out.push_str(MASKED);
            begin + end
        }
        None => begin,
    }
}

/// Where the `@` stands behind who is named. People write passwords with signs that end them for a parser: in doubt it
/// is a password.
fn user_end(rest: &str) -> Option<usize> {
    let host = &rest[..rest.find(['/', '\\']).unwrap_or(rest.len())];
    let until_query = host.find(['?', '#']).filter(|end| !host[..*end].contains(':'));
    let host = &host[..until_query.unwrap_or(host.len())];
    if let Some(at) = host.rfind('@') {
        return Some(at);
    }
    let is_port = |text: &str| text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let may_be_password = !host.starts_with('[') && host.split_once(':').is_some_and(|(_, port)| !is_port(port));
    rest.rfind('@').filter(|_| may_be_password)
}
