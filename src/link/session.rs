//! One life of a link: from the opened message stream to the first thing that ends it.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tokio::sync::{Semaphore, watch};

use super::body::LinkBody;
use super::hub::{Hub, Peer};
use super::meter::Meter;
use super::parked::Reads;
use super::{large, messages, pages, parked};
use crate::contain::contained_in;
use crate::identity::Validity;
use crate::model::SiteName;
use crate::wire::{self, Beat, Difference};

pub(super) struct Session {
    /// Counts up within one life of the process.
    pub id: u64,
    pub peer: SiteName,
    pub boot: [u8; 16],
    /// Whose word it is: see [`wire::Hello`].
    pub store: [u8; 16],
    pub software: String,
    pub differs: Vec<Difference>,
    pub meter: Arc<Meter>,
    /// Of the two certificates with which it began; `None` on plain TCP.
    pub validity: Option<Validity>,
    pub since: Instant,
    /// At the side that dialled: where requests go.
    pub requests: Option<SendRequest<LinkBody>>,
    /// One fetched page at a time is on its way: what bulk can be on the line is one window.
    pub bulk: Arc<Semaphore>,
    /// At the side that accepted: reads on their way to the other side.
    pub reads: Reads,
    pub round_trip_us: AtomicU64,
    /// `sent_us` of the last beat, and when it came on our clock.
    last_beat: Mutex<Option<(u64, u64)>>,
    closed: watch::Sender<Option<String>>,
}

impl Session {
    pub fn new(
        id: u64,
        (peer, boot, store, software): (SiteName, [u8; 16], [u8; 16], String),
        differs: Vec<Difference>,
        (meter, validity): (Arc<Meter>, Option<Validity>),
        requests: Option<SendRequest<LinkBody>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            peer,
            boot,
            store,
            software,
            differs,
            meter,
            validity,
            since: Instant::now(),
            requests,
            bulk: Arc::new(Semaphore::new(1)),
            reads: Reads::new(),
            round_trip_us: 0.into(),
            last_beat: Mutex::default(),
            closed: watch::Sender::new(None),
        })
    }

    /// The first reason counts.
    pub fn close(&self, reason: &str) {
        self.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            if first {
                *closed = Some(reason.to_owned());
            }
            first
        });
    }

    /// Waits until the session is over; returns why.
    pub async fn closed(&self) -> String {
        let mut closed = self.closed.subscribe();
        let reason = closed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }

    pub fn is_closed(&self) -> bool {
        self.closed.borrow().is_some()
    }

    /// Runs what is spawned for this session.
    pub async fn guard<T>(self: Arc<Self>, work: impl Future<Output = T>) -> Option<T> {
        let worked = contained_in(work).await;
        worked.inspect_err(|bug| self.close(&bug.to_string())).ok()
    }

    pub fn on_beat(&self, beat: Beat) {
        let now_us = self.meter.now_us();
        if let Some((sent_us, held_us)) = beat.echo {
            self.round_trip_us.store(now_us.saturating_sub(sent_us).saturating_sub(held_us).max(1), Relaxed);
        }
        *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner) = Some((beat.sent_us, now_us));
    }

    fn next_beat(&self) -> Beat {
        let now_us = self.meter.now_us();
        let last = *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner);
        Beat { sent_us: now_us, echo: last.map(|(sent_us, came_us)| (sent_us, now_us.saturating_sub(came_us))) }
    }
}

/// Runs a session that has begun and whose message stream is open, until it is over.
pub(super) async fn run(hub: Arc<Hub>, session: Arc<Session>, incoming: Incoming) {
    let Some(peer) = hub.peer(&session.peer) else { return };
    let read = async {
        // Nothing is handed over before the peer was announced.
        hub.announced(peer, &session).await;
        messages::read(&hub, peer, &session, incoming).await
    };
    // All that is done for a session is polled here, or in [`Session::guard`]: a panic in it is the session's end, and
    // no more.
    let reason = contained_in(async {
        tokio::select! {
            reason = read => reason,
            reason = beat(&hub, peer, &session) => reason,
            reason = session.closed() => reason,
            () = hub.stopped() => "this site stops".to_owned(),
            reason = pages::post(&hub, peer, &session) => reason,
            reason = pages::fetch(&hub, peer, &session) => reason,
            reason = large::post(&hub, peer, &session) => reason,
            reason = large::fetch(&hub, &session) => reason,
            reason = parked::answer(&hub, peer, &session) => reason,
            reason = until_expiry(&session) => reason,
        }
    });
    let reason = reason.await.unwrap_or_else(|bug| bug.to_string());
    session.close(&reason);
    hub.end(peer, &session).await;
}

/// Shows that this side lives, and finds out when the other one does not.
async fn beat(hub: &Hub, peer: &Peer, session: &Session) -> String {
    let limits = &hub.settings.limits;
    let mut due_us = 0;
    // A new session has not been silent yet, whatever came before it on its connection.
    let mut awake = Instant::now();
    loop {
        let silence = session.meter.silence();
        if is_dead(silence, awake.elapsed(), limits.dead_after) {
            return format!("nothing heard for {:.1} s", silence.as_secs_f64());
        }
        let now_us = session.meter.now_us();
        if now_us >= due_us {
            due_us = now_us + u64::try_from(limits.beat.as_micros()).unwrap_or(u64::MAX / 2);
            peer.outgoing.beat(session.id, wire::encode_beat(&session.next_beat()));
        }
        let beat = Duration::from_micros(due_us.saturating_sub(now_us));
        let left = limits.dead_after.saturating_sub(silence.min(awake.elapsed()));
        let wake = Instant::now() + beat.min(left);
        tokio::time::sleep_until(wake.into()).await;
        // This process stood still: what the peer said meanwhile waits to be read.
        if wake.elapsed() > limits.dead_after / 2 {
            awake = Instant::now();
        }
    }
}

/// Waits until one of the two certificates is valid no longer.
async fn until_expiry(session: &Session) -> String {
    match &session.validity {
        Some(validity) => validity.over().await,
        None => std::future::pending().await,
    }
}

/// A silence counts from when this side was awake to hear it; a very long one always does.
fn is_dead(silence: Duration, awake: Duration, dead_after: Duration) -> bool {
    silence.min(awake) >= dead_after || silence >= dead_after * 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_that_slept_does_not_take_its_peers_for_dead() {
        let s = Duration::from_secs;
        // silence | awake | dead
        for (silence, awake, dead) in
            [(2, 100, false), (3, 100, true), (10, 1, false), (10, 3, true), (2, 1, false), (30, 0, true)]
        {
            assert_eq!(is_dead(s(silence), s(awake), s(3)), dead, "{silence} {awake}");
        }
    }
}
