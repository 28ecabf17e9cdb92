//! Tables that fit a terminal: what has no place in a row's first line stands in the next, and nothing that a person
//! must copy is cut.
use serde_json::Value;

use super::args::Ask;
use super::output::{Column, Show, align, cells};

/// Where nobody says how wide it is.
const WIDTH: usize = 80;
/// Below it nothing can be read.
const NARROWEST: usize = 40;
/// A cell longer than this is cut in a table that does not fit otherwise; an id is shorter.
const CELL_MAX: usize = 44;
/// What goes on in the next line begins here.
const INDENT: &str = "  ";

/// `None`: as wide as it becomes.
pub(super) fn width(ask: &Ask) -> Option<usize> {
    if ask.wide {
        return None;
    }
    let said = std::env::var("COLUMNS").ok();
    Some(said.as_deref().and_then(of_text).or_else(of_terminal).unwrap_or(WIDTH).max(NARROWEST))
}

/// 0 is said where nobody knows, as by a terminal.
fn of_text(columns: &str) -> Option<usize> {
    columns.parse().ok().filter(|columns| *columns > 0)
}

/// Of standard output, where it is one.
#[allow(unsafe_code)]
fn of_terminal() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: it writes to `size`, which is there, and to nothing else.
    let told = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (told == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// One row for each element of a list.
pub(super) fn table(list: &Value, columns: &[Column], width: Option<usize>) -> String {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return "none\n".to_owned();
    }
    let cells = cells(list, columns);
    match width {
        Some(width) => fitted(cells, columns, width),
        None => align(&cells),
    }
}

fn fitted(mut table: Vec<Vec<String>>, columns: &[Column], width: usize) -> String {
    if total(&widths(&table)) <= width {
        return align(&table);
    }
    without_spare_columns(&mut table, columns);
    for cell in table.iter_mut().flatten().filter(|cell| cell.chars().count() > CELL_MAX) {
        *cell = cut(cell, CELL_MAX);
    }
    let lines = folded(&widths(&table), width);
    if let [_] = lines.as_slice() {
        return align(&table);
    }
    // Each line of a row is a table of its own.
    let parts = lines.iter().enumerate().map(|(at, columns)| {
        let part = table.iter().map(|row| row[columns.clone()].to_vec()).collect::<Vec<_>>();
        let indent = if at == 0 { "" } else { INDENT };
        align(&part).lines().map(|line| format!("{indent}{line}").trim_end().to_owned()).collect::<Vec<_>>()
    });
    let parts: Vec<Vec<String>> = parts.collect();
    let mut out = String::new();
    for row in 0..table.len() {
        for part in &parts {
            out.push_str(&part[row]);
            out.push('\n');
        }
    }
    out
}

fn without_spare_columns(table: &mut [Vec<String>], columns: &[Column]) {
    for (column, (.., show)) in columns.iter().enumerate().rev() {
        let rows = &table[1..];
        let is_spare = match show {
            Show::Rare => rows.iter().all(|row| row[column] == "-"),
            Show::Common => rows.iter().all(|row| row[column] == rows[0][column]),
            _ => false,
        };
        if is_spare {
            table.iter_mut().for_each(|row| drop(row.remove(column)));
        }
    }
}

/// Which columns stand in which line.
fn folded(widths: &[usize], width: usize) -> Vec<std::ops::Range<usize>> {
    let (mut lines, mut from) = (Vec::new(), 0);
    for end in 1..=widths.len() {
        let indent = if lines.is_empty() { 0 } else { INDENT.len() };
        if end - from > 1 && indent + total(&widths[from..end]) > width {
            lines.push(from..end - 1);
            from = end - 1;
        }
    }
    lines.push(from..widths.len());
    lines
}

fn widths(table: &[Vec<String>]) -> Vec<usize> {
    let columns = table.first().map_or(0, Vec::len);
    let width = |i: usize| table.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    (0..columns).map(width).collect()
}

/// With two blanks between.
fn total(widths: &[usize]) -> usize {
    (widths.iter().sum::<usize>() + 2 * widths.len()).saturating_sub(2)
}

fn cut(text: &str, to: usize) -> String {
    let kept: String = text.chars().take(to.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Words in lines, each of which begins with `indent`, all but the first two blanks deeper; a word that is longer than
/// a line (an address, a path) goes on in the next one.
pub(super) fn wrapped(text: &str, indent: &str, width: Option<usize>) -> String {
    let width = width.unwrap_or(usize::MAX);
    let (mut out, mut line, mut is_empty) = (String::new(), indent.to_owned(), true);
    for word in text.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > width {
            out.push_str(&line);
            out.push('\n');
            (line, is_empty) = (format!("{indent}{INDENT}"), true);
        }
        if !is_empty {
            line.push(' ');
        }
        let mut word = word;
        // One sign, however narrow it is.
        let room = |line: &str| width.saturating_sub(line.chars().count()).max(1);
        while let Some((at, _)) = word.char_indices().nth(room(&line)) {
            out.push_str(&line);
            out.push_str(&word[..at]);
            out.push('\n');
            (line, word) = (format!("{indent}{INDENT}"), &word[at..]);
        }
        line.push_str(word);
        is_empty = false;
    }
    out.push_str(&line);
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Show;
    use serde_json::json;

    const COLUMNS: &[Column] =
        &[("A", "/a", Show::Plain), ("B", "/b", Show::Plain), ("C", "/c", Show::Rare), ("D", "/d", Show::Plain)];

    #[test]
    fn what_does_not_fit_goes_on_in_the_next_line() {
        let list = json!([
            { "a": "one", "b": "x".repeat(30), "d": "e".repeat(20) },
            { "a": "eleven", "b": "y", "d": "f" },
        ]);
        let (x, e) = ("x".repeat(30), "e".repeat(20));
        let head = format!("A       {:30}  C  D\n", "B");
        let wide = format!("{head}one     {x}  -  {e}\neleven  y{:29}  -  f\n", "");
        assert_eq!(table(&list, COLUMNS, None), wide);
        assert_eq!(table(&list, COLUMNS, Some(80)), wide);
        let narrow = format!("A       B\n  D\none     {x}\n  {e}\neleven  y\n  f\n");
        assert_eq!(table(&list, COLUMNS, Some(50)), narrow);
        assert_eq!(table(&json!([]), COLUMNS, Some(80)), "none\n");
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_and_an_id_stays_whole() {
        let id = "01010101010101010101010101010101.1:4711";
        let list = json!([{ "a": id, "b": "b".repeat(500), "c": "ü".repeat(90), "d": id }]);
        for width in 60..120 {
            let shown = table(&list, COLUMNS, Some(width));
            assert!(shown.lines().all(|line| line.chars().count() <= width), "{width}: {shown}");
            assert_eq!(shown.matches(id).count(), 2, "{width}: {shown}");
        }
    }

    #[test]
    fn a_width_of_nothing_is_none() {
        for (said, width) in [("0", None), ("", None), ("wide", None), ("-1", None), ("100", Some(100))] {
            assert_eq!(of_text(said), width, "{said}");
        }
    }

    #[test]
    fn text_is_wrapped_between_words() {
        let text = "no healthy endpoint at this site for 3 min";
        assert_eq!(wrapped(text, "  ", Some(20)), "  no healthy\n    endpoint at this\n    site for 3 min\n");
        assert_eq!(wrapped(text, "", None), format!("{text}\n"));
        assert_eq!(wrapped("a verylongwordindeed b", "", Some(8)), "a\n  verylo\n  ngword\n  indeed\n  b\n");
    }
}
