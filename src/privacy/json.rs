//! Masks in a JSON text. What is not masked is copied sign for sign: a person sees numbers, members that stand there
//! twice and their order as they were sent.
use serde::de::IgnoredAny;

use super::MASKED;
use super::rule::Token;

/// Deeper than any text that a person reads, and than most parsers go.
const DEPTH_MAX: usize = 128;

struct Frame<'p> {
    /// Patterns that have fitted as far as this.
    live: Vec<&'p [Token]>,
    place: Place,
}

enum Place {
    /// The name whose value comes next.
    Object(Option<String>),
    /// The index of the element that comes next.
    Array(usize),
}

/// The text with its masked values replaced, and whether there were any. `None`: it is no JSON that this reads without
/// doubt.
pub(super) fn masked(text: &str, patterns: &[&[Token]]) -> Option<(String, bool)> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let bytes = text.as_bytes();
    let (mut out, mut hid, mut at) = (String::with_capacity(text.len()), false, 0);
    let mut stack: Vec<Frame<'_>> = Vec::new();
    while let Some(&byte) = bytes.get(at) {
        match (byte, stack.last_mut().map(|frame| &mut frame.place)) {
            (b' ' | b'\t' | b'\n' | b'\r' | b':', _) => {
                out.push(char::from(byte));
                at += 1;
                continue;
            }
            (b',', place) => {
                if let Some(Place::Array(index)) = place {
                    *index += 1;
                }
                out.push(',');
                at += 1;
                continue;
            }
            (b']' | b'}', _) => {
                stack.pop();
                out.push(char::from(byte));
                at += 1;
                continue;
            }
            (b'"', Some(Place::Object(name @ None))) => {
                let end = string_end(bytes, at);
                let written = text.get(at..end)?;
                // Half a surrogate is a name for some parsers and none for others.
                *name = Some(serde_json::from_str::<String>(written).ok()?);
                out.push_str(written);
                at = end;
                continue;
            }
            _ => {}
        }
        let live = fitting(&mut stack, patterns);
        if live.iter().any(|pattern| pattern.len() == stack.len()) {
            at = value_end(bytes, at);
            out.push_str(&format!("\"{MASKED}\""));
            hid = true;
        } else if let b'{' | b'[' = byte {
            if stack.len() == DEPTH_MAX {
                return None;
            }
            stack.push(Frame { live, place: if byte == b'{' { Place::Object(None) } else { Place::Array(0) } });
            out.push(char::from(byte));
            at += 1;
        } else {
            let end = value_end(bytes, at);
            out.push_str(text.get(at..end)?);
            at = end;
        }
    }
    Some((out, hid))
}

/// Of those that fit the container, those that fit the value that begins in it now.
fn fitting<'p>(stack: &mut [Frame<'p>], patterns: &[&'p [Token]]) -> Vec<&'p [Token]> {
    let depth = stack.len();
    let Some(frame) = stack.last_mut() else { return patterns.to_vec() };
    let name = match &mut frame.place {
        Place::Object(name) => name.take().unwrap_or_default(),
        Place::Array(index) => index.to_string(),
    };
    let fits = |pattern: &&&[Token]| pattern.get(depth - 1).is_some_and(|token| token.takes(&name));
    frame.live.iter().filter(fits).copied().collect()
}

/// Behind the quote that ends the string which begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(&byte) = bytes.get(end) {
        match byte {
            b'"' => return end + 1,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    bytes.len()
}

fn value_end(bytes: &[u8], at: usize) -> usize {
    match bytes[at] {
        b'"' => string_end(bytes, at),
        b'{' | b'[' => {
            let (mut end, mut open) = (at, 0_usize);
            while let Some(&byte) = bytes.get(end) {
                match byte {
                    b'"' => end = string_end(bytes, end) - 1,
                    b'{' | b'[' => open += 1,
                    b'}' | b']' => open -= 1,
                    _ => {}
                }
                end += 1;
                if open == 0 {
                    break;
                }
            }
            end.min(bytes.len())
        }
        _ => {
            let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
            bytes[at..].iter().position(is_end).map_or(bytes.len(), |more| at + more)
        }
    }
}
