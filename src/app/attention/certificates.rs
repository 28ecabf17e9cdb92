//! Certificates that end, new ones that cannot be used, and codes that open nothing any more.
use super::{Known, List, word};
use crate::admin::Grade;
use crate::identity::{EXPIRES_SOON_S, span};
use crate::telemetry::CertificateUse;

/// Whoever must come for it has to be found, and a weekend may lie between.
const CRITICAL_S: i64 = 3 * 86_400;

pub(super) fn all(known: &Known<'_>, found: &mut List) {
    let numbers = known.numbers;
    let now_s = i64::try_from(known.now_ms / 1_000).unwrap_or(i64::MAX);
    if let Some(standing) = &numbers.identity {
        let left_s = standing.not_after_s.saturating_sub(now_s);
        let reasons = standing.reasons();
        let is_end = |at: usize| at == 0 && left_s < EXPIRES_SOON_S;
        let show = format!("holdfast identity show {}", word(&standing.cert.display().to_string()));
        for (at, reason) in reasons.iter().enumerate() {
            let what = reason.strip_prefix("certificate: ").unwrap_or(reason);
            match is_end(at) {
                true => found.add(grade(left_s), "certificate", what, show.clone()),
                false => found.warning("certificate", what, known.settings.with_file("holdfast check")),
            }
        }
    }
    for end in &numbers.other_ends {
        let show = format!("holdfast identity show {}", word(&end.path.display().to_string()));
        found.add(grade(end.left_s), "certificate", end.what.clone(), show);
    }
    for why in &numbers.invites {
        found.warning("invites", why.clone(), "holdfast identity invite SITE");
    }
    let of_gateway = numbers.certificates.iter().find(|(of, _)| *of == CertificateUse::Gateway);
    if let (Some((_, end_s)), Some(cert)) = (of_gateway, &known.settings.gateway_cert) {
        let left_s = end_s.saturating_sub(now_s);
        let what = match left_s {
            ..=0 => format!("{cert}, which clients are shown, expired {} ago", span(-left_s)),
            1..EXPIRES_SOON_S => format!("{cert}, which clients are shown, expires in {}: renew it", span(left_s)),
            _ => return,
        };
        found.add(grade(left_s), "certificate", what, format!("openssl x509 -noout -dates -in {}", word(cert)));
    }
}

fn grade(left_s: i64) -> Grade {
    if left_s <= CRITICAL_S { Grade::Critical } else { Grade::Warning }
}
