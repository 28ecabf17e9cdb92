//! JSON as it came, or a table for people.
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::args::Output;
use super::exit::Failure;
use crate::admin::words::{ago, span};
pub(super) use crate::telemetry::safe;
use crate::telemetry::{is_unsafe, safe_lines};

/// Clears a terminal, and begins above.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// A heading and where its value stands (a JSON pointer), with how it is shown.
pub(super) type Column = (&'static str, &'static str, Show);

#[derive(Clone, Copy, Debug)]
pub(super) enum Show {
    Plain,
    Bytes,
    /// Milliseconds as a duration.
    Ms,
    /// Milliseconds since 1970 as a date.
    Date,
    /// And as how long ago that is.
    Ago,
    /// Left out of a narrow table where no row has anything.
    Rare,
    /// Left out of a narrow table where all rows have the same.
    Common,
}

/// `-o json` prints exactly what the appliance said.
pub(super) fn print(output: Output, value: &Value, table: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
    result(&form(output, value, table))
}

/// As [`print`], of what nobody can be shown again: a reader that has gone is an error.
pub(super) fn print_once(output: Output, value: &Value, table: impl FnOnce(&Value) -> String) -> io::Result<()> {
    write(io::stdout().lock(), &safe_lines(&form(output, value, table)))
}

fn form(output: Output, value: &Value, table: impl FnOnce(&Value) -> String) -> String {
    match output {
        Output::Json => format!("{value:#}\n"),
        Output::Table => table(value),
    }
}

/// To standard output. Whatever somebody else wrote in it steers no terminal.
pub(super) fn result(text: &str) -> Result<(), Failure> {
    shown(text).map(drop)
}

/// As [`result`], and whether somebody may want more.
pub(super) fn shown(text: &str) -> Result<bool, Failure> {
    write_result(io::stdout().lock(), &safe_lines(text))
}

/// The same, in the place of all that stands on the terminal.
pub(super) fn screen(text: &str) -> Result<bool, Failure> {
    write_result(io::stdout().lock(), &format!("{CLEAR}{}", safe_lines(text)))
}

fn write(mut out: impl io::Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

fn write_result(out: impl io::Write, text: &str) -> Result<bool, Failure> {
    match write(out, text) {
        // A reader that has gone (`| head`) has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => {
            written.map(|()| true).map_err(|error| Failure::disk(format!("the result cannot be written: {error}")))
        }
    }
}

/// Waits for so long, or until nobody reads standard output any more: whether that is so.
pub(super) fn is_reader_gone(within: Duration) -> bool {
    is_gone(&io::stdout(), within)
}

#[allow(unsafe_code)]
fn is_gone(out: &impl std::os::fd::AsRawFd, within: Duration) -> bool {
    let until = Instant::now() + within;
    // Asks for nothing: that a pipe has no reader, or a terminal has been hung up, is told all the same.
    let mut asked = libc::pollfd { fd: out.as_raw_fd(), events: 0, revents: 0 };
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left_ms = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: it reads and writes `asked`, which is there, and nothing else.
        match unsafe { libc::poll(&raw mut asked, 1, left_ms) } {
            0 => return false,
            told @ 1.. => return told == 1,
            _ if left.is_zero() => return false,
            // Interrupted by a signal; whatever else it is, time passes.
            _ => std::thread::sleep(left.min(Duration::from_millis(10))),
        }
    }
}

/// One row for each element of a list.
pub(super) fn rows(list: &Value, columns: &[Column]) -> String {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return "none\n".to_owned();
    }
    align(&cells(list, columns))
}

/// The headings, and a row for each element.
pub(super) fn cells(list: &[Value], columns: &[Column]) -> Vec<Vec<String>> {
    let head = columns.iter().map(|(heading, ..)| (*heading).to_owned()).collect();
    let row =
        |value: &Value| -> Vec<String> { columns.iter().map(|(_, at, show)| cell(value.pointer(at), *show)).collect() };
    std::iter::once(head).chain(list.iter().map(row)).collect()
}

/// One line for each member of an object; what is nested stands there as JSON.
pub(super) fn fields(object: &Value) -> String {
    let Some(members) = object.as_object() else { return format!("{object}\n") };
    let date = |name: &str| if name.ends_with("since_ms") || name == "original_ms" { Show::Date } else { Show::Plain };
    align(&members.iter().map(|(name, value)| vec![name.clone(), cell(Some(value), date(name))]).collect::<Vec<_>>())
}

pub(super) fn align(table: &[Vec<String>]) -> String {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |i: usize| table.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in table {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:width$}  ").expect("a String takes everything");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Of this machine.
pub(super) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn cell(value: Option<&Value>, show: Show) -> String {
    match (value, show) {
        (None | Some(Value::Null), _) => "-".to_owned(),
        (Some(Value::Bool(yes)), _) => if *yes { "yes" } else { "no" }.to_owned(),
        // Control characters of a client's path must not reach a terminal.
        (Some(Value::String(text)), _) if text.is_empty() => "-".to_owned(),
        (Some(Value::String(text)), _) => text.chars().map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect(),
        (Some(Value::Array(items)), _) if items.iter().all(|item| !item.is_object()) => {
            items.iter().map(|item| cell(Some(item), show)).collect::<Vec<_>>().join(",")
        }
        (Some(Value::Number(number)), show) => number.as_u64().map_or(number.to_string(), |n| scaled(n, show)),
        (Some(other), _) => safe(&other.to_string()),
    }
}

fn scaled(n: u64, show: Show) -> String {
    match show {
        Show::Plain | Show::Rare | Show::Common => n.to_string(),
        Show::Ago => ago(n, now_ms()),
        Show::Bytes => match n {
            0..1024 => format!("{n} B"),
            1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
            1_048_576..1_073_741_824 => format!("{:.1} MiB", n as f64 / 1_048_576.0),
            _ => format!("{:.1} GiB", n as f64 / 1_073_741_824.0),
        },
        Show::Ms if n < 10_000 => format!("{n} ms"),
        Show::Ms => span(n),
        Show::Date => {
            let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(n));
            // The last second of the year 9999 is the last one that has such a form.
            time.filter(|_| n < 253_402_300_800_000).map_or(n.to_string(), httpdate::fmt_http_date)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    use super::*;
    use serde_json::json;

    #[test]
    fn a_result_that_nobody_wants_is_no_error_and_one_that_is_lost_is() {
        struct Fails(i32);
        impl io::Write for Fails {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(self.0))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(!write_result(Fails(libc::EPIPE), "text").unwrap(), "and nobody wants more");
        assert!(write_result(Vec::new(), "text").unwrap());
        let lost = write_result(Fails(libc::ENOSPC), "text").unwrap_err();
        assert_eq!(ExitCode::from(lost.exit), ExitCode::from(74));
    }

    #[test]
    fn a_reader_that_goes_is_seen_at_once_and_one_that_is_there_is_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!is_gone(&writer, Duration::ZERO) && !is_gone(&writer, Duration::from_millis(20)));
        let began = Instant::now();
        let going = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            drop(reader);
        });
        assert!(is_gone(&writer, Duration::from_secs(600)) && began.elapsed() < Duration::from_secs(300));
        assert!(is_gone(&writer, Duration::ZERO));
        assert!(!is_gone(&std::fs::File::create("/dev/null").unwrap(), Duration::ZERO));
        going.join().unwrap();
    }

    #[test]
    fn tables_are_aligned_and_safe_for_a_terminal() {
        let list = json!([
            { "site": "cloud", "linked": true, "since_ms": 0, "bytes": 2048, "deep": { "x": null } },
            { "site": "a\u{1b}[2J", "linked": false, "list": ["p", "q"] },
        ]);
        let columns: &[Column] = &[
            ("SITE", "/site", Show::Plain),
            ("UP", "/linked", Show::Plain),
            ("SINCE", "/since_ms", Show::Date),
            ("SIZE", "/bytes", Show::Bytes),
            ("X", "/deep/x", Show::Plain),
            ("LIST", "/list", Show::Plain),
        ];
        let expected = "SITE   UP   SINCE                          SIZE     X  LIST\n\
                        cloud  yes  Thu, 01 Jan 1970 00:00:00 GMT  2.0 KiB  -  -\n\
                        a\u{fffd}[2J  no   -                              -        -  p,q\n";
        assert_eq!(rows(&list, columns), expected);
        assert_eq!(rows(&json!([]), columns), "none\n");
        let odd = json!({ "a": ["\u{9b}31m\u{1b}[2J", { "b": "\u{202e}" }] });
        let json = format!("{odd:#}");
        let text = safe_lines(&json);
        assert!(text.chars().all(|sign| sign == '\n' || !is_unsafe(sign)), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), odd, "and it says the same");
        assert!(!fields(&odd).contains('\u{9b}'));
        assert_eq!(
            fields(&json!({ "a": 1, "original_ms": u64::MAX })),
            format!("a            1\noriginal_ms  {}\n", u64::MAX)
        );
    }
}
