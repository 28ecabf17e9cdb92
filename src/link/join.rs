//! Joining: a box that has no certificate yet asks, at the port of links, for its first one. A stranger says one thing
//! and hears one thing; it never comes as far as a link, and has the place of one that has not opened any.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::dial::chain;
use super::hub::Hub;
use crate::contain::contain;
use crate::identity::{Credentials, Invites, Refused, Renewals, Request, now_s};
use crate::model::SiteName;
use crate::telemetry::{self, Audit};
use crate::wire::{self, Given, Join, Joined, Kind};

/// Before a wrong code is answered. Its secret has 128 bits: this is for the log, and for whoever reads it.
const PAUSE: Duration = Duration::from_secs(1);
/// Of a name that a stranger gives, in a line of log.
const SHOWN_MAX: usize = 64;

/// Between two records of the audit of tries in vain for one site: whoever has an old code must not push other records
/// out.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// What a hub needs to let boxes join.
#[derive(Clone, Debug)]
pub struct Joins {
    pub invites: Arc<Invites>,
    pub renewals: Arc<Renewals>,
    refused: Arc<Mutex<Noted>>,
}

impl Joins {
    pub fn new(invites: Arc<Invites>, renewals: Arc<Renewals>) -> Self {
        Self { invites, renewals, refused: Arc::default() }
    }
}

/// Of each site (of those for which there is a code): when a try in vain was recorded last, and how many were since.
#[derive(Debug, Default)]
struct Noted(BTreeMap<SiteName, (Instant, u64)>);

impl Noted {
    /// Whether this one is to be recorded, with how many before it were not.
    fn note(&mut self, site: &SiteName, now: Instant) -> Option<u64> {
        match self.0.get_mut(site) {
            Some((last, more)) if now.saturating_duration_since(*last) < NOTED_EVERY => {
                *more += 1;
                None
            }
            _ => self.0.insert(site.clone(), (now, 0)).map_or(Some(0), |(_, more)| Some(more)),
        }
    }
}

/// One envelope, of the kind that is expected and no longer than it may be.
pub(super) async fn read<T: AsyncRead + Unpin>(io: &mut T, kind: Kind, limit: usize) -> Result<Bytes, String> {
    let mut header = [0; wire::HEADER_BYTES];
    io.read_exact(&mut header).await.map_err(|error| chain(&error))?;
    let length = wire::length_of(header, kind, limit).map_err(|error| error.to_string())?;
    let mut envelope = vec![0; length];
    envelope[..header.len()].copy_from_slice(&header);
    io.read_exact(&mut envelope[header.len()..]).await.map_err(|error| chain(&error))?;
    Ok(envelope.into())
}

/// Its end with it: whoever reads knows that nothing more comes.
pub(super) async fn write<T: AsyncWrite + Unpin>(io: &mut T, envelope: &[u8]) -> Result<(), String> {
    let written = async {
        io.write_all(envelope).await?;
        io.shutdown().await
    };
    written.await.map_err(|error: std::io::Error| chain(&error))
}

/// One join, over a connection on which this site has shown who it is.
pub(super) async fn serve<T>(hub: &Hub, joins: &Joins, mut io: T, remote: Option<SocketAddr>) -> Result<(), String>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let within = hub.settings.limits.connect;
    let Some(credentials) = hub.settings.tls.clone() else { return Err("this site has no identity".to_owned()) };
    let asked = timeout(within, read(&mut io, Kind::Join, wire::JOIN_BYTES_MAX)).await;
    let asked = asked.map_err(|_| "a box that joins said nothing")?.map_err(|why| format!("join: {why}"))?;
    let join = contain(|| wire::decode_join(&asked)).map_err(|bug| bug.to_string())?;
    let join = join.map_err(|error| format!("join: {error}"))?;
    join.check().map_err(|why| format!("join: {why}"))?;
    let refused = joins.refused.clone();
    let (joins, me, realm) = (joins.clone(), hub.settings.me.clone(), hub.settings.realm.clone());
    let judged = tokio::task::spawn_blocking(move || {
        let judged = contain(|| judge(&joins, &credentials, &join, &me, realm)).map_err(|bug| bug.to_string());
        (join.site, judged)
    });
    let (site, judged) = judged.await.map_err(|error| error.to_string())?;
    let answer = match judged? {
        Ok((given, until)) => {
            note(&site, remote, 200, serde_json::json!({ "certificate_until": until }));
            tracing::info!(%site, remote = address(remote), %until, "a box has joined by its code");
            Joined::Given(given)
        }
        Err(NotGiven { knows, code, detail }) => {
            let named: String = site.as_str().chars().take(SHOWN_MAX).collect();
            tracing::warn!(site = ?named, remote = address(remote), code, "a box may not join: {detail}");
            // A stranger who guesses must not push other records out.
            if knows {
                let due = refused.lock().unwrap_or_else(PoisonError::into_inner).note(&site, Instant::now());
                if let Some(more) = due {
                    let result = serde_json::json!({ "code": code, "detail": detail, "more_since_the_last": more });
                    note(&site, remote, 403, result);
                }
            } else {
                tokio::time::sleep(PAUSE).await;
            }
            Joined::Refused { code: code.to_owned(), detail }
        }
    };
    let answer = wire::encode_joined(&answer).map_err(|error| error.to_string())?;
    timeout(within, write(&mut io, &answer)).await.map_err(|_| "a box that joins takes no answer".to_owned())?
}

fn address(remote: Option<SocketAddr>) -> String {
    remote.map_or_else(|| "unknown".to_owned(), |remote| remote.to_string())
}

/// Among what people ordered: the code is the order of whoever made it.
fn note(site: &SiteName, remote: Option<SocketAddr>, status: u16, result: serde_json::Value) {
    telemetry::audit(&Audit {
        request_id: &uuid::Uuid::now_v7().to_string(),
        client: remote.map(|remote| remote.ip()),
        by: "join code",
        order: "join",
        choice: site.as_str(),
        status,
        result,
    });
}

#[derive(Debug)]
struct NotGiven {
    /// It has shown the secret of the invitation.
    knows: bool,
    code: &'static str,
    detail: String,
}

impl From<Refused> for NotGiven {
    fn from(refused: Refused) -> Self {
        let knows = !matches!(refused, Refused::Unknown);
        Self { knows, code: refused.code(), detail: refused.to_string() }
    }
}

/// The secret first: nothing else that a stranger sends is looked into. Its use is on the disk before anything is
/// signed. Blocks.
fn judge(
    joins: &Joins,
    credentials: &Credentials,
    join: &Join,
    me: &SiteName,
    realm: String,
) -> Result<(Given, String), NotGiven> {
    let now_s = now_s();
    joins.invites.knows(&join.site, &join.secret, now_s)?;
    let refused = |code, detail| NotGiven { knows: true, code, detail };
    let request = Request::read(&join.request)
        .map_err(|why| refused("bad-request", format!("the certificate request cannot be used: {why}")))?;
    joins.invites.redeem(&join.site, &join.secret, &request.key_hash, now_s)?;
    let (certificate, until) = joins
        .renewals
        .sign(&join.site, &request)
        .map_err(|error| refused("cannot-sign", format!("{me} cannot sign: {error}")))?;
    let authorities = credentials.current().authorities();
    Ok((Given { hub: me.clone(), realm, certificate, authorities }, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_tries_in_vain_one_a_minute_is_recorded_for_each_site() {
        let (mut noted, begin) = (Noted::default(), Instant::now());
        let (one, other) = (SiteName::new("one"), SiteName::new("other"));
        let at = |s: u64| begin + Duration::from_secs(s);
        assert_eq!(noted.note(&one, begin), Some(0));
        // Even at the very same moment.
        assert_eq!(noted.note(&one, begin), None);
        assert_eq!(noted.note(&other, at(1)), Some(0));
        for s in 1..60 {
            assert_eq!(noted.note(&one, at(s)), None);
        }
        assert_eq!(noted.note(&one, at(60)), Some(60));
        assert_eq!(noted.note(&one, at(61)), None);
        assert_eq!(noted.note(&one, at(1_000)), Some(1));
        assert_eq!(noted.note(&one, at(2_000)), Some(0));
    }
}
