//! One life of a link: from the opened message stream to the first thing that ends it.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tokio::sync::{Semaphore, watch};

use super::body::LinkBody;
use super::hub::{Hub, Peer};
use super::meter::Meter;
use super::parked::Reads;
use super::pulse::{Pulse, Signs};
use super::{Limits, large, messages, pages, parked};
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
    /// The other side asks at least so often, as it said; 0: it said nothing.
    promised_s: AtomicU64,
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
            promised_s: 0.into(),
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

    fn promised(&self) -> Option<Duration> {
        Some(self.promised_s.load(Relaxed)).filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    /// It is not known to be dead, though it may be.
    pub fn may_live(&self, limits: &Limits) -> bool {
        let silence = self.meter.now().saturating_sub(self.meter.heard());
        !self.is_closed() && silence < self.promised().unwrap_or(limits.keepalive) + limits.dead_after
    }

    /// The answer, where one is wanted.
    pub fn on_beat(&self, beat: Beat) -> Option<Beat> {
        let now_us = self.meter.now_us() as u32;
        if let Some((sent_us, held_us)) = beat.echo {
            let round_trip_us = now_us.wrapping_sub(sent_us).wrapping_sub(held_us);
            self.round_trip_us.store(u64::from(round_trip_us.max(1)), Relaxed);
        }
        if beat.every_s > 0 {
            self.promised_s.store(beat.every_s.into(), Relaxed);
        }
        // Written at once: what it waits for in the queue is part of the way.
        beat.asks.then_some(Beat { sent_us: now_us, echo: Some((beat.sent_us, 0)), asks: false, every_s: 0 })
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

/// Asks whether the other side lives, as often as it has to, and finds out when it does not.
async fn beat(hub: &Hub, peer: &Peer, session: &Session) -> String {
    let (limits, outgoing, meter) = (&hub.settings.limits, &peer.outgoing, &session.meter);
    let dials = session.requests.is_some();
    let every_s = if dials { u16::try_from(limits.keepalive.as_secs() + 1).unwrap_or(u16::MAX) } else { 0 };
    // A new session has not been silent yet, whatever came before it on its connection.
    let mut pulse = Pulse::new(limits, dials, meter.now());
    let mut stirs = outgoing.stirs();
    loop {
        let reads = peer.asking.available_permits() < limits.reads;
        let is_stirred = std::mem::replace(&mut stirs, outgoing.stirs()) != stirs;
        let promised = session.promised();
        let signs = Signs { now: meter.now(), heard: meter.heard(), stirs: is_stirred || reads, promised };
        let next = match pulse.turn(signs) {
            Ok(next) => next,
            Err(silence) => return format!("nothing heard for {:.1} s", silence.as_secs_f64()),
        };
        if next.asks {
            let beat = Beat { sent_us: meter.now_us() as u32, echo: None, asks: true, every_s };
            outgoing.ask(session.id, wire::encode_beat(&beat));
        }
        if next.rests {
            outgoing.rests(stirs);
        }
        let left = next.wake.map(|wake| wake.saturating_sub(meter.now()));
        let due = Instant::now() + left.unwrap_or(limits.keepalive);
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = outgoing.stirred.notified(), if next.rests => {}
        }
        if Instant::now().saturating_duration_since(due) > limits.dead_after / 2 {
            pulse.woke_late(meter.now());
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
