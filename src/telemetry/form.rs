//! What a line of log looks like when it leaves: on one line, with systemd's priority where systemd reads it, without
//! colours where nobody sees them, and without the folders of the machine that built this program.
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use tracing::Level;

use super::safe::{safe_but_colours, safe_lines};

/// As syslog(3) numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

impl From<&Level> for Priority {
    fn from(level: &Level) -> Self {
        match *level {
            Level::ERROR => Priority::Error,
            Level::WARN => Priority::Warning,
            Level::INFO => Priority::Info,
            Level::DEBUG | Level::TRACE => Priority::Debug,
        }
    }
}

/// One event: whatever it says stays on one line.
pub(super) fn event(text: &[u8], priority: Priority) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = if text.contains(['\n', '\r']) {
        Cow::Owned(text.replace('\n', "\\n").replace('\r', "\\r"))
    } else {
        Cow::Borrowed(text)
    };
    // What events say the subscriber has made safe for its own colours.
    let text = if has_colours() { safe_but_colours(&text) } else { safe_lines(&text) };
    finished(&text, priority)
}

/// What may have several lines, each of which stands alone for systemd.
pub(super) fn lines(text: &str, priority: Priority) -> Vec<u8> {
    finished(&safe_lines(text), priority)
}

fn finished(text: &str, priority: Priority) -> Vec<u8> {
    let text = without_build_folders(text);
    if !is_journal() {
        return format!("{text}\n").into_bytes();
    }
    let line = |line: &str| format!("<{}>{line}\n", priority as u8);
    text.split('\n').map(line).collect::<String>().into_bytes()
}

/// A terminal is there, and nobody has asked for plain text.
pub(super) fn has_colours() -> bool {
    static HAS_COLOURS: OnceLock<bool> = OnceLock::new();
    let plain = || std::env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty());
    *HAS_COLOURS.get_or_init(|| io::stderr().is_terminal() && !plain())
}

/// Whether standard error is what systemd says that it reads (`JOURNAL_STREAM`, sd-daemon(3)).
fn is_journal() -> bool {
    static IS_JOURNAL: OnceLock<bool> = OnceLock::new();
    *IS_JOURNAL.get_or_init(|| {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        let own = io::stderr().as_fd().try_clone_to_owned().and_then(|own| File::from(own).metadata());
        own.is_ok_and(|own| stream == format!("{}:{}", own.dev(), own.ino()))
    })
}

/// Places in the source as whoever reads the source knows them: `zenoh-1.10.2/src/…`, `src/app/mod.rs`. Compilers and
/// crates put the whole path into messages and panics.
pub fn without_build_folders(text: &str) -> Cow<'_, str> {
    const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    // What stands behind the path of a folder of the build, and how many more parts of the path follow it.
    const MARKS: [(&str, usize); 3] = [("/registry/src/", 1), ("/git/checkouts/", 2), ("/rustlib/src/rust/", 0)];
    let mut text = Cow::Borrowed(text);
    if text.contains(HERE) {
        text = Cow::Owned(text.replace(HERE, ""));
    }
    for (mark, parts) in MARKS {
        let mut from = 0;
        while let Some(at) = text[from..].find(mark).map(|at| from + at) {
            let begins = text[..at].rfind(|c: char| c.is_whitespace() || "\"'`([{<=,;".contains(c));
            let begin = begins.map_or(0, |last| last + text[last..].chars().next().map_or(1, char::len_utf8));
            let mut end = at + mark.len();
            for _ in 0..parts {
                end += text[end..].find('/').map_or(text.len() - end, |slash| slash + 1);
            }
            text.to_mut().replace_range(begin..end, "");
            from = begin;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_build_are_left_out() {
        let here = env!("CARGO_MANIFEST_DIR");
        let own = format!("panicked at {here}/src/app/mod.rs:7:9");
        // text | what is left of it
        for (text, left) in [
            ("nothing of the kind: /var/lib/holdfast", "nothing of the kind: /var/lib/holdfast"),
            (own.as_str(), "panicked at src/app/mod.rs:7:9"),
            (
                "refused at /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/zenoh-1.10.2/src/a.rs:3.",
                "refused at zenoh-1.10.2/src/a.rs:3.",
            ),
            ("(/x/registry/src/i/a-1/b.rs) \"/y/registry/src/i/c-2/d.rs\"", "(a-1/b.rs) \"c-2/d.rs\""),
            ("at=/home/x/.cargo/git/checkouts/h2-0a/1b2c/src/lib.rs", "at=src/lib.rs"),
            ("/opt/rust/lib/rustlib/src/rust/library/std/src/io.rs:1", "library/std/src/io.rs:1"),
            ("ends in /registry/src/", "ends in "),
        ] {
            assert_eq!(without_build_folders(text), left, "{text}");
        }
    }

    #[test]
    fn an_event_is_one_line() {
        assert_eq!(event(b"peer says \"a\nERROR b\r\n\"\n", Priority::Info), b"peer says \"a\\nERROR b\\r\\n\"\n");
        assert_eq!(event("a\u{202e}b\u{9b}".as_bytes(), Priority::Info), b"a\\u202eb\\u009b\n");
        assert_eq!(lines("a\u{1b}[2J\nb", Priority::Error), b"a\\u001b[2J\nb\n");
    }
}
