//! What goes wrong, when, and when it is mended. It keeps to the fault model: disks that are reported durable stay so,
//! and a service never works on a request for longer than its declared longest request.
use super::history::CutOff;
use super::machine::Machine;
use super::plan::{CHAOS_MAX_MS, LongCut, Rates};
use super::rng::Rng;
use super::world::{Ev, Mend, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Partition,
    OneWay,
    Isolate,
    Flap,
    Kill,
    ServiceDown,
    ServiceSlow,
    ServiceHangs,
    SlowDisk,
    FullDisk,
    FsyncError,
    Pause,
    ClockJump,
    ControlCut,
    BrokenRecord,
}

/// One fault, drawn before the run. It meets its site only when that one is up.
#[derive(Clone, Debug)]
pub struct PlannedFault {
    pub at_ms: u64,
    pub(super) fault: Fault,
    pub site: usize,
    pub other: usize,
    pub lasts_ms: u64,
    /// Where its details are drawn from.
    details: u64,
}

impl PlannedFault {
    pub fn describe(&self) -> String {
        let (name, lasts) = (self.fault.name().trim_start_matches("fault: "), self.lasts_ms);
        let at = self.at_ms as f64 / 1_000.0;
        format!("{at:>9.3} {name} at site {}, the other site {}, lasting {lasts} ms", self.site, self.other)
    }
}

/// All faults that a run may meet, whatever else happens in it.
pub(super) fn draw_faults(mut rng: Rng, rates: &Rates, nemesis_ms: u64, sites: usize) -> Vec<PlannedFault> {
    let mut faults = Vec::new();
    let mut at_ms = rng.range(500, 2_000);
    while at_ms < CHAOS_MAX_MS {
        let fault = draw(rates, rng.next());
        let site = rng.below(sites as u64) as usize;
        let other = (site + 1 + rng.below(sites as u64 - 1) as usize) % sites;
        let (lasts_ms, details) = (rng.range(100, 10_000), rng.next());
        faults.extend(fault.map(|fault| PlannedFault { at_ms, fault, site, other, lasts_ms, details }));
        at_ms += rng.range(100, nemesis_ms);
    }
    faults
}

fn draw(rates: &Rates, pick: u64) -> Option<Fault> {
    let weights = weights(rates);
    let mut left = pick % weights.iter().map(|(weight, _)| weight).sum::<u64>().max(1);
    for (weight, fault) in weights {
        if left < weight {
            return Some(fault);
        }
        left -= weight;
    }
    None
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Partition => "fault: partition",
            Fault::OneWay => "fault: one-way cut",
            Fault::Isolate => "fault: isolated site",
            Fault::Flap => "fault: flapping",
            Fault::Kill => "fault: kill",
            Fault::ServiceDown => "fault: service down",
            Fault::ServiceSlow => "fault: service slow",
            Fault::ServiceHangs => "fault: service hangs",
            Fault::SlowDisk => "fault: slow disk",
            Fault::FullDisk => "fault: full disk",
            Fault::FsyncError => "fault: fsync error",
            Fault::Pause => "fault: pause",
            Fault::ClockJump => "fault: clock jump",
            Fault::ControlCut => "fault: control cut",
            Fault::BrokenRecord => "fault: broken record",
        }
    }
}

pub(super) fn weights(rates: &Rates) -> [(u64, Fault); 15] {
    [
        (rates.partition, Fault::Partition),
        (rates.one_way, Fault::OneWay),
        (rates.isolate, Fault::Isolate),
        (rates.flap, Fault::Flap),
        (rates.kill, Fault::Kill),
        (rates.service_down, Fault::ServiceDown),
        (rates.service_slow, Fault::ServiceSlow),
        (rates.slow_disk, Fault::SlowDisk),
        (rates.full_disk, Fault::FullDisk),
        (rates.fsync_error, Fault::FsyncError),
        (rates.pause, Fault::Pause),
        (rates.clock_jump, Fault::ClockJump),
        (rates.control_cut, Fault::ControlCut),
        (rates.broken_record, Fault::BrokenRecord),
        (rates.service_hangs, Fault::ServiceHangs),
    ]
}

impl<M: Machine> World<M> {
    pub fn nemesis(&mut self, number: usize) {
        if !self.has_faults() {
            return;
        }
        self.expect_fault(number + 1);
        let PlannedFault { fault, site, other, lasts_ms: lasts, details, .. } = self.plan.faults[number];
        let exist = site.max(other) < self.sites.len();
        if !exist || self.sites[site].core.is_none() || !self.plan.keep.has_fault(number) {
            return;
        }
        if fault == Fault::BrokenRecord && !self.break_records(&mut Rng::new(details), site) {
            return;
        }
        self.met.push(number);
        self.meets(fault.name(), site);
        let rng = &mut Rng::new(details);
        match fault {
            Fault::Partition => self.cut_lines(&[(site, other), (other, site)], lasts),
            Fault::OneWay => self.cut_lines(&[(site, other)], lasts),
            Fault::Isolate => {
                let others = (0..self.sites.len()).filter(|&o| o != site);
                let lines: Vec<_> = others.flat_map(|o| [(site, o), (o, site)]).collect();
                self.cut_lines(&lines, lasts);
            }
            Fault::Flap => self.flap(rng, site, other),
            Fault::Kill => self.crash(site),
            // What is in memory is not read: a start meets it.
            Fault::BrokenRecord => self.crash(site),
            _ => self.trouble(rng, fault, site, lasts),
        }
    }

    pub fn expect_fault(&mut self, number: usize) {
        if let Some(fault) = self.plan.faults.get(number) {
            self.after(fault.at_ms.saturating_sub(self.now_ms), Ev::Nemesis { number });
        }
    }

    /// A fault meets a site, and the writes that stand there.
    pub fn meets(&mut self, fault: &'static str, site: usize) {
        self.stats.hit(fault);
        self.faults += 1;
        let Some(core) = &self.sites[site].core else { return };
        let view = core.view();
        self.stats.meets(fault, &view.stages);
        let unconfirmed = view.peers.iter().filter(|peer| peer.not_received > 0).count();
        for (state, count) in [("unconfirmed", unconfirmed), ("quarantined", self.entries(site).len())] {
            if count > 0 {
                self.stats.meets(fault, [(&state, &count)]);
            }
        }
    }

    pub fn cut_lines(&mut self, lines: &[(usize, usize)], lasts: u64) {
        self.history.disturb();
        self.trace.line(self.now_ms, || format!("cut {lines:?} for {lasts} ms"));
        for &(from, to) in lines {
            self.network.cut(from, to);
            self.after(lasts, Ev::Mend { mend: Mend::Line(from, to) });
        }
    }

    fn flap(&mut self, rng: &mut Rng, site: usize, other: usize) {
        self.history.disturb();
        let mut at = 0;
        for _ in 0..rng.range(3, 8) {
            at += rng.range(10, 1_500);
            self.after(at, Ev::Mend { mend: Mend::CutLine(site, other) });
            at += rng.range(10, 1_500);
            self.after(at, Ev::Mend { mend: Mend::Line(site, other) });
        }
    }

    pub fn trouble(&mut self, rng: &mut Rng, fault: Fault, site: usize, lasts: u64) {
        let until = self.now_ms + lasts;
        match fault {
            Fault::ServiceDown => {
                self.sites[site].upstream.down = true;
                self.after(lasts, Ev::Mend { mend: Mend::Service(site) });
                self.check_health_soon(site);
            }
            Fault::ServiceSlow => {
                self.sites[site].upstream.slow = true;
                self.after(lasts, Ev::Mend { mend: Mend::Fast(site) });
            }
            Fault::ServiceHangs => {
                self.sites[site].upstream.hangs = true;
                self.after(lasts, Ev::Mend { mend: Mend::Answers(site) });
            }
            Fault::SlowDisk => {
                self.history.disturb();
                self.sites[site].slow_disk = true;
                self.excuse(site, until + 2_000);
                self.after(lasts, Ev::Mend { mend: Mend::Disk(site) });
            }
            Fault::FullDisk => {
                self.history.disturb();
                self.sites[site].disk_full_until_ms = until;
                self.excuse(site, until + 2_000);
            }
            Fault::FsyncError => self.sites[site].fsync_fails = true,
            Fault::Pause => {
                self.history.disturb();
                self.sites[site].paused_until_ms = until;
                self.excuse(site, until + 2_000);
            }
            Fault::ClockJump => {
                let jump = rng.range(0, 400_000_000) as i64 - 200_000_000;
                self.sites[site].wall_offset_ms += jump;
            }
            _ => {
                self.network.control_cut = true;
                self.after(lasts, Ev::Mend { mend: Mend::Control });
            }
        }
        self.trace.line(self.now_ms, || {
            let node = &self.sites[site];
            let (down, slow, hangs) = (node.upstream.down, node.upstream.slow, node.upstream.hangs);
            let disk = node.slow_disk;
            let service = format!("service down {down}, slow {slow}, hangs {hangs}");
            format!("trouble at site {site} for {lasts} ms: {service}, slow disk {disk}")
        });
    }

    fn excuse(&mut self, site: usize, until_ms: u64) {
        let node = &mut self.sites[site];
        node.excused_until_ms = node.excused_until_ms.max(until_ms);
    }

    pub fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Line(from, to) => self.network.mend(from, to),
            Mend::CutLine(from, to) if self.has_faults() => self.network.cut(from, to),
            Mend::CutLine(..) => {}
            Mend::Service(site) => {
                self.sites[site].upstream.down = false;
                self.check_health_soon(site);
            }
            Mend::Fast(site) => self.sites[site].upstream.slow = false,
            Mend::Answers(site) => self.sites[site].upstream.hangs = false,
            Mend::Disk(site) => self.sites[site].slow_disk = false,
            Mend::Control => self.network.control_cut = false,
        }
    }

    fn check_health_soon(&mut self, site: usize) {
        let delay = self.rng.range(5, 1_500);
        let life = self.sites[site].life;
        self.after(delay, Ev::HealthCheck { site, life });
    }

    /// One site stays cut off, and nothing else goes wrong.
    pub fn begin_long_cut(&mut self, cut: LongCut) {
        self.trace.line(self.now_ms, || format!("chaos ends, site {} stays cut off", cut.site));
        self.stats.hit("fault: long cut");
        let serves_ms = self.now_ms + cut.rest_ms;
        self.serves_alone_ms = Some(serves_ms);
        let answered_ms = serves_ms + cut.serve_ms - self.plan.settings[0].total_ms - 1_000;
        self.history.cut_off = Some(CutOff { from_ms: serves_ms, until_ms: answered_ms });
        self.history.disturb();
        self.end_faults();
        self.network.isolate(cut.site);
        self.after(cut.rest_ms, Ev::ServeAlone);
    }

    /// From now on nothing new goes wrong: everything must become quiet.
    pub fn heal(&mut self) {
        self.chaos = false;
        self.trace.line(self.now_ms, || "everything heals".into());
        self.end_faults();
        self.after(1_000, Ev::CheckQuiet);
    }

    fn end_faults(&mut self) {
        self.rates = Rates::default();
        self.network.mend_all();
        for site in 0..self.sites.len() {
            let node = &mut self.sites[site];
            node.upstream.down = false;
            node.upstream.slow = false;
            node.upstream.hangs = false;
            node.slow_disk = false;
            node.disk_full_until_ms = 0;
            node.fsync_fails = false;
            node.paused_until_ms = 0;
            self.check_health_soon(site);
        }
        let settings = &self.plan.settings[0];
        let person = 2 * settings.longest_request_ms + settings.hold_ms;
        if !std::mem::replace(&mut self.person_comes, true) {
            self.after(person, Ev::Operator);
        }
    }
}
