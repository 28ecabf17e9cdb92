//! What the rest of the appliance holds, and what it hears.
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use uuid::Uuid;

use super::event::{Hint, Level};
use super::inbox::Inbox;
use super::settings::{ControlError, ControlSettings, Role};
use super::status::{ControlStatus, Counters, Shown};
use super::tuning::Tuning;
use super::worker;
use crate::dedup::Fingerprint;
use crate::model::{Group, LogId, SiteName};

/// How long [`Control::stop`] waits for the farewell to the hubs. zenoh may take 10 s; the others notice without it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Called on the control thread, one call at a time. Must not block: hand over with `try_send`, drop when full (G7).
pub trait ControlEvents: Send + Sync + 'static {
    fn fingerprint(&self, group: &Group, fingerprint: Fingerprint);
    /// `site`'s series of `log` has come to `position`: wakes a sleeping link.
    fn head(&self, site: &SiteName, group: &Group, log: LogId, position: u64);
    /// How far `site` is with a series, for display.
    fn cursor(&self, site: &SiteName, group: &Group, log: LogId, received: u64, decided: u64) {
        let _ = (site, group, log, received, decided);
    }
    /// A node came or went. Down is known at once when its connection ends, within four times its `link.keepalive` when
    /// it falls silent.
    fn alive(&self, site: &SiteName, node: &str, boot: Uuid, up: bool);
    fn health(&self, site: &SiteName, group: &Group, healthy: bool, lag_ms: u64);
}

/// Calls the events for one hint.
pub(super) fn tell(events: &dyn ControlEvents, hint: Hint) {
    match hint {
        Hint::Fingerprints { group, prints } => {
            prints.into_iter().for_each(|print| events.fingerprint(&group, print));
        }
        Hint::Head { site, group, log, position } => events.head(&site, &group, log, position),
        Hint::Cursor { site, group, log, received, decided } => events.cursor(&site, &group, log, received, decided),
        Hint::Health { site, group, healthy, lag_ms } => events.health(&site, &group, healthy, lag_ms),
        Hint::Alive { site, node, boot, up } => events.alive(&site, &node, boot, up),
    }
}

/// Cheap to clone. Nothing here blocks (but [`Control::stop`]), fails, or decides anything (G7): what does not fit is
/// dropped and counted. The last clone to go stops the control plane.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    shown: Arc<Shown>,
    off: bool,
    /// Disconnects when the last thread has said farewell.
    farewell: std::sync::Mutex<Option<Receiver<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.inbox.stop();
    }
}

impl Control {
    /// Returns at once; dials in the background for ever. Fails only for what no other node can mend.
    pub fn start(settings: ControlSettings, events: Arc<dyn ControlEvents>) -> Result<Self, ControlError> {
        Self::start_with(settings, events, Tuning::default())
    }

    pub(super) fn start_with(
        settings: ControlSettings,
        events: Arc<dyn ControlEvents>,
        tuning: Tuning,
    ) -> Result<Self, ControlError> {
        settings.check()?;
        if settings.role == Role::Off {
            return Ok(Self::off());
        }
        let control = Self::unwatched();
        let (alive, farewell) = sync_channel(0);
        *control.inner.farewell.lock().expect("nothing panics while it is held") = Some(farewell);
        let Inner { inbox, counters, shown, .. } = &*control.inner;
        worker::spawn(settings, tuning, events, inbox.clone(), counters.clone(), shown.clone(), alive)?;
        Ok(control)
    }

    /// A control plane that says and hears nothing.
    pub fn off() -> Self {
        Self::with(true)
    }

    /// A handle whose queue somebody else empties.
    pub(super) fn unwatched() -> Self {
        Self::with(false)
    }

    fn with(off: bool) -> Self {
        let (inbox, counters, shown) = (Arc::new(Inbox::new()), Arc::default(), Arc::default());
        Self { inner: Arc::new(Inner { inbox, counters, shown, off, farewell: std::sync::Mutex::new(None) }) }
    }

    pub(super) fn parts(&self) -> (Arc<Inbox>, Arc<Counters>, Arc<Shown>) {
        (self.inner.inbox.clone(), self.inner.counters.clone(), self.inner.shown.clone())
    }

    /// Tells the other sites of a write that this site accepted (`fingerprint.origin` is this site). It leaves at once
    /// after a quiet time, else with the next batch within a millisecond.
    pub fn publish_fingerprint(&self, group: &Group, fingerprint: Fingerprint) {
        if !self.inner.off {
            self.inner.inbox.print(group, fingerprint, &self.inner.counters);
        }
    }

    /// Wakes sleeping links: this site's series of `log` has come to `position`.
    pub fn announce_head(&self, group: &Group, log: LogId, position: u64) {
        self.level(group, Some(log), Level::Head { position });
    }

    /// How far this site is with a series, for display.
    pub fn publish_cursor(&self, group: &Group, log: LogId, received: u64, decided: u64) {
        self.level(group, Some(log), Level::Cursor { received, decided });
    }

    pub fn publish_health(&self, group: &Group, healthy: bool, lag_ms: u64) {
        self.level(group, None, Level::Health { healthy, lag_ms });
    }

    fn level(&self, group: &Group, log: Option<LogId>, level: Level) {
        if !self.inner.off {
            self.inner.inbox.level(level.id(group.clone(), log), level, &self.inner.counters);
        }
    }

    pub fn status(&self) -> ControlStatus {
        self.inner.shown.status(&self.inner.counters)
    }

    /// Says farewell, so that the others see this node go at once; waits at most a second for it. Blocks: not for an
    /// async task.
    pub fn stop(&self) {
        self.inner.inbox.stop();
        let farewell = self.inner.farewell.lock().expect("nothing panics while it is held").take();
        if let Some(Err(RecvTimeoutError::Timeout)) = farewell.map(|farewell| farewell.recv_timeout(FAREWELL)) {
            tracing::debug!("control plane is still closing its session, left behind");
        }
    }
}
