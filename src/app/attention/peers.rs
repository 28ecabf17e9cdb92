//! Other sites: away, silent, or of another mind.
use super::{Known, List, count};
use crate::admin::words::span;
use crate::app::numbers::PeerNumbers;

/// A link that is up confirms sooner, unless something is the matter.
const CONFIRMS_WITHIN_MS: u64 = 60_000;

pub(super) fn differ(known: &Known<'_>, found: &mut List) {
    for peer in &known.numbers.peers {
        for difference in &peer.link.differs {
            let keys = difference.keys.join(", ");
            let what =
                format!("defines services differently, nothing of them is exchanged: {}: {keys}", difference.service);
            found.critical(&peer.link.site, what, "holdfast peers --wide");
        }
    }
}

pub(super) fn away(known: &Known<'_>, found: &mut List) {
    for peer in &known.numbers.peers {
        let (link, site) = (&peer.link, &peer.link.site);
        let lasting = span(known.now_ms.saturating_sub(peer.since_ms));
        if !link.connected {
            // Where neither dials the other there is no line that could be cut, and nobody who confirms: what it lacks
            // is between it and the site in the middle.
            if !link.dials && !known.settings.listens {
                continue;
            }
            let error = link.last_error.as_ref().map_or_else(String::new, |error| format!("; last: {error}"));
            // A start forgets since when: it is not told as the begin of the cut.
            let away = match peer.was_linked {
                true => format!("away for {lasting}"),
                false => format!("not linked since the start, {lasting} ago"),
            };
            let what = format!("{away}, {}{error}", owed(peer));
            found.warning(site, what, "holdfast peers --wide");
        } else if peer.not_received_age_ms > CONFIRMS_WITHIN_MS {
            let what = format!("linked for {lasting}, and yet {}", owed(peer));
            found.warning(site, what, "holdfast peers --wide");
        } else if peer.not_decided_age_ms > CONFIRMS_WITHIN_MS {
            let (n, age) = (count(peer.not_decided, "write", "writes"), span(peer.not_decided_age_ms));
            let what = format!("has not decided {n}, the oldest of {age} ago, and its own `holdfast status` says why");
            found.warning(site, what, "holdfast peers --wide");
        } else if known.settings.has_control
            && !peer.hears
            && known.now_ms.saturating_sub(peer.since_ms) > CONFIRMS_WITHIN_MS
        {
            let why = known.numbers.control.trouble.as_ref().map_or_else(String::new, |why| format!("; {why}"));
            let what = format!("no hints reach it (control): duplicates across sites are found later{why}");
            found.warning(site, what, "holdfast peers --wide");
        }
    }
}

/// By this site's own log.
fn owed(peer: &PeerNumbers) -> String {
    match peer.not_received {
        0 => "it has confirmed all writes".to_owned(),
        n => {
            let age = span(peer.not_received_age_ms);
            format!("{} owed, the oldest of {age} ago", count(n, "write", "writes"))
        }
    }
}
