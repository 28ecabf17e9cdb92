//! Words for people: how long, and where a write stands. No other source is needed to understand them.
use crate::journal::{Fate, Here, Origin, Row};
use crate::model::{SiteName, Verdict};
use crate::telemetry::Label;

/// `45 s`, `3 min`, `2 h`, `5 days`: one number, cut and never rounded up.
pub fn span(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..100 => format!("{s} s"),
        100..6_000 => format!("{} min", s / 60),
        6_000..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} days", s / 86_400),
    }
}

/// Of a moment on the wall clock, milliseconds since 1970. A clock that was set back is no reason to say nonsense.
pub fn ago(then_ms: u64, now_ms: u64) -> String {
    match now_ms.checked_sub(then_ms) {
        Some(ms) if ms < 1_000 => "now".to_owned(),
        Some(ms) => format!("{} ago", span(ms)),
        None => format!("in {}", span(then_ms - now_ms)),
    }
}

/// Where a write was accepted, and where that site stands with it as far as it is known here: `here, applied`,
/// `here, waits for cloud`, `store-042, settled`.
pub(super) fn origin(row: &Row, is_own: bool, site: Option<&SiteName>) -> String {
    let whose = match (is_own, site) {
        (true, _) => "here".to_owned(),
        (false, Some(site)) => site.to_string(),
        (false, None) => "another site".to_owned(),
    };
    let verdict = row.outcome.as_ref().map(|outcome| outcome.verdict);
    let stands = match (&row.origin, verdict) {
        (Origin::Cancelled, _) => "cancelled, never sent".to_owned(),
        (Origin::Wished { site, revoked: false, .. }, _) => format!("waits for {site}"),
        (Origin::Wished { site, .. }, _) => format!("taken back from {site}"),
        (Origin::Queued, _) => "queued".to_owned(),
        (Origin::Here, None) => match &row.here {
            Here::Sending { .. } => "sent, no answer yet".to_owned(),
            _ => "not sent yet".to_owned(),
        },
        (Origin::Accepted, _) => "not sent yet".to_owned(),
        (Origin::Foreign, None) => "asks this site to decide".to_owned(),
        (_, Some(verdict)) => settled(verdict).to_owned(),
        (Origin::Settled, None) => "settled".to_owned(),
    };
    format!("{whose}, {stands}")
}

fn settled(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Applied => "applied",
        Verdict::Refused => "refused",
        Verdict::NotExecuted => "refused, not executed",
        Verdict::MayHaveApplied => "answered 500",
        Verdict::Undecided => "outcome not known",
        Verdict::Void => "never applied",
        Verdict::Duplicate => "a copy",
    }
}

/// What this site's replica has done with it.
pub(super) fn decided(row: &Row) -> String {
    match &row.here {
        Here::Untouched if matches!(row.origin, Origin::Cancelled) => "never sent".to_owned(),
        Here::Untouched => "not yet".to_owned(),
        Here::Sending { .. } => "sent, no answer yet".to_owned(),
        Here::Decided(Fate::Applied) => "applied".to_owned(),
        Here::Decided(Fate::Refused) => "refused".to_owned(),
        Here::Decided(Fate::Skipped) => "nothing to apply".to_owned(),
        Here::Decided(Fate::Duplicate(of)) => format!("a copy of {of}"),
        Here::Decided(Fate::Void) => "never sent".to_owned(),
        Here::Decided(Fate::Quarantined(reason)) => format!("quarantine: {}", reason.value()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::QuarantineReason;
    use crate::model::{After, Chain, Digest, Facts, Lane, LogId, Outcome, WriteId};

    #[test]
    fn a_time_is_one_number_and_a_unit() {
        // milliseconds | words
        for (ms, words) in [
            (0, "0 s"),
            (99_999, "99 s"),
            (100_000, "1 min"),
            (3_600_000, "60 min"),
            (6_000_000, "1 h"),
            (172_799_999, "47 h"),
            (172_800_000, "2 days"),
        ] {
            assert_eq!(span(ms), words);
        }
        assert_eq!(
            (ago(500, 1_000), ago(1_000, 181_000), ago(9_000, 1_000)),
            ("now".into(), "3 min ago".into(), "in 8 s".into())
        );
    }

    fn row(origin: Origin, here: Here, verdict: Option<Verdict>) -> Row {
        let facts = Facts {
            lane: Lane(1),
            key: None,
            digest: Digest([0; 32]),
            client: None,
            original_ms: 0,
            traceparent: None,
            renews: Vec::new(),
            creates: false,
        };
        let outcome = verdict.map(|verdict| Outcome {
            verdict,
            after: After::default(),
            repeats: None,
            status: 201,
            answer: None,
            told_by_probe: false,
            unknown: Vec::new(),
        });
        Row {
            id: WriteId { log: LogId { store: [1; 16], incarnation: 1 }, n: 1 },
            facts,
            origin,
            queued: false,
            owed: Default::default(),
            wish: None,
            here,
            outcome,
            ours: None,
            position: None::<(u64, Chain)>,
            decides: None,
            settled_clock_ms: 0,
        }
    }

    #[test]
    fn where_a_write_stands_is_said_in_words() {
        let cloud = SiteName::new("cloud");
        let wished = |revoked| Origin::Wished { site: cloud.clone(), attempt: 1, revoked };
        let sending = || Here::Sending { attempt: 1, after: After::default() };
        let applied = || Here::Decided(Fate::Applied);
        let held = Here::Decided(Fate::Quarantined(QuarantineReason::MayHaveApplied));
        // origin | here | verdict | of this site | words of the origin | of this replica
        for (origin_is, here, verdict, is_own, at_origin, at_replica) in [
            (Origin::Settled, applied(), Some(Verdict::Applied), true, "here, applied", "applied"),
            (Origin::Foreign, applied(), Some(Verdict::Applied), false, "cloud, applied", "applied"),
            (Origin::Foreign, Here::Untouched, Some(Verdict::Applied), false, "cloud, applied", "not yet"),
            (wished(false), Here::Untouched, None, true, "here, waits for cloud", "not yet"),
            (wished(true), Here::Untouched, None, true, "here, taken back from cloud", "not yet"),
            (Origin::Here, sending(), None, true, "here, sent, no answer yet", "sent, no answer yet"),
            (Origin::Queued, Here::Untouched, None, true, "here, queued", "not yet"),
            (Origin::Cancelled, Here::Untouched, None, true, "here, cancelled, never sent", "never sent"),
            (Origin::Foreign, Here::Untouched, None, false, "cloud, asks this site to decide", "not yet"),
            (
                Origin::Settled,
                held,
                Some(Verdict::MayHaveApplied),
                true,
                "here, answered 500",
                "quarantine: may-have-applied",
            ),
        ] {
            let row = row(origin_is, here, verdict);
            let words = (origin(&row, is_own, Some(&cloud)), decided(&row));
            assert_eq!(words, (at_origin.to_owned(), at_replica.to_owned()));
        }
    }
}
