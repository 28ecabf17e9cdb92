//! `quarantine`: what waits for a person, page by page, and what the person says of one write or of many.
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::account;
use super::args::{Ask, Chosen, Output, QuarantineCommand, Which};
use super::client::{escape, page, post};
use super::exit::{Exit, Failure};
use super::listing::{Done, order, show};
use super::output::{Column, Show, print, result, safe};
use super::table::{table, width};
use crate::config::duration_ms;

const PATH: &str = "/api/v1/quarantine";
/// Of many that an order is about a person sees the first.
const SHOWN: usize = 10;
/// The site is busy with those before.
const PAUSE: Duration = Duration::from_millis(200);

const ENTRIES: &[Column] = &[
    ("ID", "/id", Show::Plain),
    ("SINCE", "/since_ms", Show::Ago),
    ("REASON", "/reason", Show::Plain),
    ("SERVICE", "/service", Show::Common),
    ("STORE", "/store", Show::Common),
    ("METHOD", "/method", Show::Plain),
    ("TARGET", "/target", Show::Plain),
    ("STATUS", "/status", Show::Plain),
    ("BEHIND IT", "/others_behind", Show::Plain),
    ("DETAIL", "/detail", Show::Plain),
];

pub(super) fn run(command: QuarantineCommand) -> Done {
    match command {
        QuarantineCommand::Ls { chosen, all, after, limit, ask } => list(&chosen, all, after, limit, &ask),
        QuarantineCommand::Show { id, body, ask } => {
            show(&ask, &format!("{PATH}/{}?body={body}", escape(&id)), |entry| account::quarantined(entry, &ask))
        }
        QuarantineCommand::Applied { which, ask } => say("applied", "recorded as applied", which, &ask),
        QuarantineCommand::Resend { which, over_later, ask } => {
            say(if over_later { "resend-over-later" } else { "resend" }, "sent again", which, &ask)
        }
        QuarantineCommand::Discard { which, ask } => say("discard", "discarded", which, &ask),
    }
}

fn list(chosen: &Chosen, all: bool, after: Option<String>, limit: usize, ask: &Ask) -> Done {
    let mut path = format!("{PATH}?limit={limit}&firsts={}{}", !all, query(chosen)?);
    path.extend(after.map(|after| format!("&after={}", escape(&after))));
    let (value, total, next) = page(ask, &path)?;
    let more = next.map(|next| format!("there are more: --after {next}, or --limit\n")).unwrap_or_default();
    let count = if total > 0 { format!("{total} in quarantine\n") } else { String::new() };
    print(ask.output, &value, |value| format!("{}{count}{more}", table(value, ENTRIES, width(ask))))?;
    Ok(ExitCode::SUCCESS)
}

fn say(operation: &str, said: &str, which: Which, ask: &Ask) -> Done {
    if let Some(id) = &which.id {
        return order(ask, &format!("{PATH}/{}/{operation}", escape(id)), &format!("{id} is {said}"));
    }
    let query = query(&which.chosen)?;
    if query.is_empty() {
        let how = "name an ID, or choose writes with --service, --store, --reason, --since or --lane";
        return Err(Failure::usage(how));
    }
    if !which.yes {
        let (value, total, _) = page(ask, &format!("{PATH}?limit={SHOWN}{query}"))?;
        print(ask.output, &json!({ "would": operation, "total": total, "first": value }), |_| {
            let not_shown = total.saturating_sub(SHOWN as u64);
            let others = if not_shown > 0 { format!("and {not_shown} more\n") } else { String::new() };
            format!(
                "{}{others}{total} would be {said}: nothing is done without --yes\n",
                table(&value, ENTRIES, width(ask))
            )
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    many(operation, said, &query, which.keep_going, ask)
}

/// Page by page, in order of the positions.
fn many(operation: &str, said: &str, query: &str, keep_going: bool, ask: &Ask) -> Done {
    let (mut done, mut gone, mut rejected) = (0, 0, Vec::new());
    let mut after = String::new();
    loop {
        let path = format!("{PATH}/{operation}?keep_going={keep_going}&after={}{query}", escape(&after));
        let answer = post(ask, &path)?;
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
        (done, gone) = (done + number("done"), gone + number("gone"));
        let busy = answer.get("busy") == Some(&Value::Bool(true));
        if busy {
            std::thread::sleep(PAUSE);
        } else {
            rejected.extend(answer.get("rejected").and_then(Value::as_array).into_iter().flatten().cloned());
        }
        match answer.get("next").and_then(Value::as_str) {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    let text = |value: &Value, at: usize| value.get(at).and_then(Value::as_str).map_or("?".to_owned(), safe);
    let whys: String = rejected.iter().map(|one| format!("{}: {}\n", text(one, 0), text(one, 1))).collect();
    match ask.output {
        Output::Json => {
            let all = json!({ "done": done, "gone": gone, "rejected": rejected });
            result(&format!("{all:#}\n"))?;
        }
        Output::Table => {
            let gone = if gone > 0 { format!(", {gone} were decided meanwhile") } else { String::new() };
            result(&format!("{done} {} {said}{gone}\n", if done == 1 { "is" } else { "are" }))?;
        }
    }
    if rejected.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let stopped = if keep_going { "" } else { "; nothing is done with what stands behind it (--keep-going goes on)" };
    Err(Failure::new(Exit::Usage, format!("rejected: {}{stopped}", whys.trim_end())))
}

fn query(chosen: &Chosen) -> Result<String, Failure> {
    let Chosen { service, store, reason, since, lane } = chosen;
    let since = since.as_deref().map(since_ms).transpose()?.map(|ms| ms.to_string());
    let named = [("service", service), ("store", store), ("reason", reason), ("since_ms", &since), ("lane", lane)];
    let parts = named.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", escape(value.as_ref()?))));
    Ok(parts.collect())
}

/// An age, or a moment.
fn since_ms(text: &str) -> Result<u64, Failure> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let age_ms = duration_ms(text);
    let wrong =
        || Failure::usage(format!("--since {text:?}: write for example 30m, 2h, 7d, or milliseconds since 1970"));
    age_ms.map(|age_ms| now_ms.saturating_sub(age_ms)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_becomes_a_query() {
        let chosen = Chosen {
            service: Some("a b".to_owned()),
            since: Some("1700000000000".to_owned()),
            lane: Some("00ff".to_owned()),
            ..Chosen::default()
        };
        assert_eq!(query(&chosen).unwrap(), "&service=a%20b&since_ms=1700000000000&lane=00ff");
        assert_eq!(query(&Chosen::default()).unwrap(), "");
        assert!(since_ms("2h").unwrap() > since_ms("1d").unwrap());
        assert!(since_ms("yesterday").is_err());
    }
}
