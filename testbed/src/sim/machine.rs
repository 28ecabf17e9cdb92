//! What the simulator needs of a state machine: exactly the product's interface, as a trait, so that the world can be
//! tested with a toy as well.
use holdfast::journal::Recovered;
use holdfast::model::LogId;
use holdfast::service::{Core, Effect, Event, Now, Settings, View};

pub trait Machine: Sized {
    fn recover(settings: Settings, own: LogId, recovered: Recovered, now: Now, out: &mut Vec<Effect>) -> Self;
    fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>);
    fn deadline(&self) -> Option<u64>;
    fn view(&self) -> View;
}

impl Machine for Core {
    fn recover(settings: Settings, own: LogId, recovered: Recovered, now: Now, out: &mut Vec<Effect>) -> Self {
        Core::recover(settings, own, recovered, now, out)
    }
    fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        Core::handle(self, now, event, out);
    }
    fn deadline(&self) -> Option<u64> {
        Core::deadline(self)
    }
    fn view(&self) -> View {
        // Ages do not interest the simulator.
        Core::view(self, Now { mono_ms: 0, wall_ms: 0, clock_ms: 0 })
    }
}
