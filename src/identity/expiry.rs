//! A session lives no longer than the certificates with which it began: one that was issued for a day is not good for a
//! year of an open connection. The handshake has looked at both; this is for the time after it.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;

/// The wall clock is looked at this often: it may be set, or have slept, at any time.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Until when both certificates of a connection are valid, seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    own: i64,
    peer: i64,
}

impl Validity {
    pub fn of(own: i64, peer: i64) -> Self {
        Self { own, peer }
    }

    /// Returns when one of the two is over, and which.
    pub async fn over(&self) -> String {
        loop {
            let now = now_s();
            if let Some(why) = self.why_over(now) {
                return why;
            }
            let left = u64::try_from(self.own.min(self.peer).saturating_sub(now)).unwrap_or(0).saturating_add(1);
            tokio::time::sleep(LOOK_EVERY.min(Duration::from_secs(left))).await;
        }
    }

    fn why_over(&self, now_s: i64) -> Option<String> {
        match (self.own < now_s, self.peer < now_s) {
            (true, _) => Some("the certificate of this site is no longer valid".to_owned()),
            (_, true) => Some("the certificate of the peer is no longer valid".to_owned()),
            _ => None,
        }
    }
}

pub(crate) fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Result<i64, String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    Ok(parsed.validity().not_after.timestamp())
}

pub(super) fn not_before(certificate: &CertificateDer<'_>) -> Result<i64, String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    Ok(parsed.validity().not_before.timestamp())
}

/// When the first certificate of a chain ends, seconds since 1970; `None` where one cannot be read.
pub(crate) fn end_s(chain: &[CertificateDer<'_>]) -> Option<i64> {
    chain.iter().map(not_after).collect::<Result<Vec<_>, _>>().ok()?.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_ends_first_ends_the_session() {
        let validity = |own, peer| Validity { own, peer };
        // own | peer | now | whose
        for (own, peer, now, expected) in [
            (10, 20, 10, None),
            (10, 20, 11, Some("this site")),
            (20, 10, 11, Some("the peer")),
            (i64::MAX, i64::MAX, i64::MAX, None),
            (i64::MIN, 5, 0, Some("this site")),
        ] {
            let why = validity(own, peer).why_over(now);
            assert_eq!(why.is_some(), expected.is_some(), "{own} {peer} {now}");
            assert!(why.is_none_or(|why| why.contains(expected.unwrap())));
        }
    }

    #[tokio::test]
    async fn what_is_over_already_is_over_at_once() {
        let over = Validity { own: i64::MAX, peer: 1 }.over();
        let why = tokio::time::timeout(Duration::from_secs(60), over).await.unwrap();
        assert!(why.contains("peer"), "{why}");
    }
}
