//! A soak: a hub and its stores under load, one random fault every so often, each kind in turn.
use std::collections::BTreeMap;
use std::time::Duration;

use super::scenario::{Direction, Fault, Load, Plane, Scenario, Services, Topology};
use super::site::faketime;
use super::success::Success;
use super::units::{Rate, Share, Size, Span};

pub struct Soak {
    pub minutes: u64,
    pub stores: u32,
    pub rate: f64,
    pub every: Duration,
    pub seed: u64,
    /// Rows of faults beside each other, each with one every so often.
    pub at_once: u32,
    /// Every store asks the hub's service first.
    pub hub_first: bool,
    /// Losing lines and small disks are possible.
    pub with_root: bool,
}

const DISK: u64 = 256 << 20;

impl Soak {
    /// The same seed is the same scenario.
    pub fn scenario(&self) -> Result<Scenario, String> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let seconds = self.minutes * 60;
        let mut faults = Vec::new();
        for row in 0..self.at_once {
            let begins = Duration::from_secs(5) + self.every * row / self.at_once;
            self.row(begins, seconds, &mut random, &mut faults);
        }
        let topology = Topology {
            hub: Some("cloud".into()),
            stores: self.stores,
            clients_per_store: 6,
            clients_at_hub: self.stores,
            first: self.hub_first.then(|| "cloud".to_owned()),
            ..Topology::default()
        };
        let load = Load { rate: self.rate, seconds, mix: None, give_up: Span(Duration::from_secs(60)) };
        let mut scenario = Scenario {
            name: "soak".into(),
            about: "random faults".into(),
            seed: self.seed,
            long: true,
            services: Services::Retail,
            topology,
            load,
            faults,
            success: Success::of(BTreeMap::new())?,
        };
        scenario.finish()?;
        if self.with_root {
            let stores = scenario.topology.sites.iter_mut().filter(|(name, _)| *name != "cloud");
            stores.for_each(|(_, spec)| spec.disk = Some(Size(DISK)));
        }
        Ok(scenario)
    }

    fn row(&self, begins: Duration, seconds: u64, random: &mut fastrand::Rng, faults: &mut Vec<Fault>) {
        let (mut at, mut kinds) = (begins, Vec::new());
        // The last fault ends before the load does, so that there is something to recover under.
        while at + self.every < Duration::from_secs(seconds) {
            if kinds.is_empty() {
                kinds = self.kinds();
                random.shuffle(&mut kinds);
            }
            let Some(kind) = kinds.pop() else { break };
            let store = format!("store-{:02}", random.u32(1..=self.stores));
            let at_hub = random.u32(0..100) < 30;
            let lasts = Duration::from_millis(random.u64(2_000..(self.every.as_millis() as u64 - 2_000).max(3_000)));
            let mut drawn = Drawn { store, at_hub, random };
            faults.push(Fault { at: Span(at), lasts: Some(Span(lasts)), ..kind(&mut drawn) });
            at += self.every;
        }
    }

    fn kinds(&self) -> Vec<fn(&mut Drawn) -> Fault> {
        let mut kinds: Vec<fn(&mut Drawn) -> Fault> = vec![
            |d| Fault { cut: d.line(), ..Fault::default() },
            |d| Fault { cut: d.line(), direction: Direction::OneWay, ..Fault::default() },
            |d| Fault { cut: d.line(), port: Some(Plane::Control), ..Fault::default() },
            |d| Fault { cut: d.line(), port: Some(Plane::Link), ..Fault::default() },
            |d| Fault { flap: d.line(), ..Fault::default() },
            |d| Fault {
                line: d.line(),
                delay: Some(Span(Duration::from_millis(80))),
                jitter: Some(Span(Duration::from_millis(40))),
                rate: Some(Rate(512_000)),
                ..Fault::default()
            },
            |d| Fault { reboot: d.site(), ..Fault::default() },
            |d| Fault { kill: d.site(), ..Fault::default() },
            |d| Fault { kill_service: d.site(), ..Fault::default() },
            |d| Fault { slow_service: d.site(), ..Fault::default() },
            |d| Fault { pause: d.site(), ..Fault::default() },
        ];
        if faketime().is_some() {
            kinds.push(|d| Fault { clock: d.site(), ..Fault::default() });
        }
        if self.with_root {
            kinds.push(|d| Fault { fill_disk: Some(d.store.clone()), ..Fault::default() });
            kinds.push(|d| Fault { line: d.line(), loss: Some(Share(0.05)), ..Fault::default() });
        }
        kinds
    }
}

struct Drawn<'a> {
    store: String,
    at_hub: bool,
    random: &'a mut fastrand::Rng,
}

impl Drawn<'_> {
    /// Between the store and the hub, either way round.
    fn line(&mut self) -> Option<[String; 2]> {
        let (store, hub) = (self.store.clone(), "cloud".to_owned());
        Some(if self.random.bool() { [store, hub] } else { [hub, store] })
    }

    fn site(&self) -> Option<String> {
        Some(if self.at_hub { "cloud".to_owned() } else { self.store.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soak_of_half_an_hour_has_each_kind_five_times() {
        let every = Duration::from_secs(15);
        let soak =
            Soak { minutes: 30, stores: 5, rate: 60.0, every, seed: 1, at_once: 1, hub_first: false, with_root: true };
        let scenario = soak.scenario().unwrap();
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for fault in &scenario.faults {
            *kinds.entry(fault.what().unwrap().kind()).or_default() += 1;
        }
        assert!(kinds.len() >= 12 && kinds.values().all(|count| *count >= 5), "{kinds:?}");
    }
}
