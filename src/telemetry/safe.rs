//! Text that somebody else wrote, on its way to a terminal.
use std::borrow::Cow;
use std::fmt::Write as _;

/// Signs that steer a terminal, or turn what stands around them about, or hide: not only those of ASCII.
pub fn is_unsafe(sign: char) -> bool {
    sign.is_control()
        || matches!(sign, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(sign, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(sign, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One line, with such signs written out.
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        if is_unsafe(sign) { out.extend(sign.escape_unicode()) } else { out.push(sign) }
    }
    out
}

/// All lines of what is about to be printed, with such signs written as JSON has them, which it may be: whatever was
/// forgotten on the way steers nothing.
pub fn safe_lines(text: &str) -> Cow<'_, str> {
    without(text, |sign| is_unsafe(sign) && !matches!(sign, '\n' | '\t'))
}

/// The same where colours are.
pub(super) fn safe_but_colours(text: &str) -> Cow<'_, str> {
    without(text, |sign| is_unsafe(sign) && !matches!(sign, '\n' | '\t' | '\u{1b}'))
}

fn without(text: &str, is_not_printed: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_not_printed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for sign in text.chars() {
        match is_not_printed(sign) {
            true => {
                for unit in sign.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("a String takes everything");
                }
            }
            false => out.push(sign),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &str = "a\u{1b}[2J\u{9b}31m\u{202e}\u{61c}\u{e0041}b\r\u{7}";

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        for text in [safe(ODD), safe_lines(ODD).into_owned()] {
            assert!(text.chars().all(|sign| !is_unsafe(sign)), "{text:?}");
            assert!(text.starts_with("a\\u") && text.contains('b'), "{text:?}");
        }
        assert_eq!(safe("a\nb"), "a\\u{a}b", "one line stays one");
        assert_eq!(safe_lines("a\n\tü b"), "a\n\tü b");
        assert_eq!(safe_but_colours("\u{1b}[31ma\u{202e}"), "\u{1b}[31ma\\u202e");
    }

    #[test]
    fn json_says_the_same_as_before() {
        let value = serde_json::json!({ "a": [ODD, "\n"] });
        let text = format!("{value:#}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe_lines(&text)).unwrap(), value);
    }
}
