//! The owner of a group's decisions.
use super::{Effect, Event, Now, Settings, View};
use crate::journal::Recovered;
use crate::model::LogId;

/// All that a group knows and decides. Rebuilt from the journal at every start: recovery is the normal start path.
pub struct Core {
    settings: Settings,
    own: LogId,
}

impl Core {
    /// Rebuilds the machine from what is durable. `own` is the log of this store.
    pub fn recover(settings: Settings, own: LogId, recovered: Recovered, now: Now, out: &mut Vec<Effect>) -> Self {
        let _ = (recovered, now, out);
        Self { settings, own }
    }

    /// Learns one thing. Everything pushed to `out` by one call is one transaction and what follows from it.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        let _ = (now, event, out, self.own, &self.settings);
    }

    /// When [`Event::Tick`] is due next, on the monotonic clock.
    pub fn deadline(&self) -> Option<u64> {
        None
    }

    pub fn view(&self) -> View {
        View::default()
    }
}
