//! Beginning again from what is durable. Recovery is the normal start path.
use std::collections::BTreeMap;

use super::agenda::Agenda;
use super::asking::Questions;
use super::chooser::Chooser;
use super::clients::Clients;
use super::core::{Core, Cx, Timer, Work};
use super::keys::Keys;
use super::live::Live;
use super::looking::LookUps;
use super::orders::OrdersUnderWay;
use super::queue::Queue;
use super::readers::Readers;
use super::replica::Replica;
use super::restored::StoreAge;
use super::whose::Strangers;
use super::write::{Role, Stage, Write};
use super::{CursorView, Effect, Find, Looking, Note, Now, SeriesView, Settings, View};
use crate::completer::{Completer, Quarantine};
use crate::dedup::Ring;
use crate::idempotency::KeyTable;
use crate::journal::{Fate, Here, Origin, Quarantined, Recovered};
use crate::mirror::{Mirror, Series};
use crate::model::{LogId, decision_of};
use crate::replay::{Replay, Stopping, Unknown};

/// More than these say nothing more to a person.
const SHOWN_WAITS: usize = 64;

impl Core {
    /// Rebuilds the machine from what is durable. `own` is the log of this store.
    pub fn recover(settings: Settings, own: LogId, recovered: Recovered, now: Now, out: &mut Vec<Effect>) -> Self {
        let limits = settings.limits;
        let chooser = Chooser::new(settings.order.clone(), settings.lag_ms);
        let mut core = Self {
            settings,
            own,
            age: StoreAge::recover(recovered.age, recovered.place),
            agenda: Agenda::default(),
            lookups: LookUps::default(),
            live: Live::default(),
            clients: Clients::default(),
            readers: Readers::default(),
            queue: Queue::default(),
            ring: Ring::new(limits.ring),
            idempotency: Keys {
                keys: KeyTable::recover(recovered.keys, limits.keys),
                questions: Questions::default(),
                strangers: Strangers::default(),
            },
            mirror: Mirror::begin(now.mono_ms),
            replay: Replay::begin(limits.lanes, Stopping::recover(recovered.stopped)),
            completer: Completer {
                quarantine: Quarantine::recover(recovered.quarantined),
                orders: OrdersUnderWay::default(),
                unknown: Unknown::recover(recovered.unknown),
            },
            replica: Replica::default(),
            chooser,
        };
        let cx = &mut Cx { now, out };
        for meta in recovered.series {
            core.mirror.series.insert(meta.log, Series::recover(meta, now.mono_ms));
        }
        let me = core.settings.me.clone();
        core.mirror.series.entry(own).or_insert_with(|| Series::new(own, me));
        for (log, position) in recovered.decided_beyond {
            // Beyond what was stored it is damage, and nothing was decided.
            if let Some(series) = core.mirror.series.get_mut(&log).filter(|series| position <= series.received) {
                series.mark_decided(position);
            }
        }
        for (lane, id, position) in recovered.lanes.into_iter().rev() {
            core.replay.lane_memory.applied(lane, id, Some(position));
        }
        recovered.creating.into_iter().rev().for_each(|lane| core.replay.creating.learn(lane));
        for (log, position) in recovered.broken {
            core.is_to_be_mended(cx, log, position);
        }
        if core.unreadable().next().is_some() {
            core.hide_a_try(now.mono_ms);
        }
        core.await_decisions_again(recovered.waiting);
        let open = core.consider_age(cx, recovered.open);
        if !core.is_held() {
            core.begin(cx, open);
        }
        core.at(now.mono_ms, Timer::Status);
        core.at(now.mono_ms, Timer::Clean);
        core.work_off(cx);
        core
    }

    /// Takes up what the journal holds open.
    pub(crate) fn begin(&mut self, cx: &mut Cx, mut open: Vec<super::Found>) {
        // In order of acceptance, so that queued writes and lanes keep it.
        open.sort_by_key(|found| found.row.id);
        for found in open {
            self.recover_write(cx, found);
        }
        self.agenda.extend(self.mirror.series.keys().map(|log| Work::Load(*log)));
    }

    fn recover_write(&mut self, cx: &mut Cx, found: super::Found) {
        let here = found.row.here.clone();
        let was_sending = matches!(here, Here::Sending { .. });
        let mut write = Write::recover(found, cx.ms());
        // What came before the restart may name it: that is not remembered.
        write.is_named = true;
        let (id, lane) = (write.row.id, write.row.facts.lane);
        match (&write.row.origin, &write.row.wish, write.row.position) {
            (Origin::Queued, _, None) => {
                self.queue.put(id, 0);
                self.recover_owed(&mut write);
            }
            (Origin::Wished { site, attempt, .. }, _, None) => {
                // Whether it was sent there nobody here knows any more: revoke, and let the word decide.
                write.placing.wish_attempts = *attempt;
                write.row.owed.insert(site.clone(), *attempt);
                write.placing.tried.push(site.clone());
                write.placing.orphan = !write.row.queued;
                write.row.origin = Origin::Wished { site: site.clone(), attempt: *attempt, revoked: true };
                write.tries.pass_at_ms = Some(cx.ms() + self.settings.give_up_ms());
                self.mirror.wishes.goes_out(id);
            }
            // It was on its way to this replica.
            (Origin::Here, _, None) => self.recover_owed(&mut write),
            _ => {}
        }
        let (origin, wish, position) = (write.row.origin.clone(), write.row.wish.clone(), write.row.position);
        let decided = matches!(write.stage, Stage::Decided(_));
        let followed = write.row.outcome.as_ref().is_some_and(|o| o.verdict == crate::model::Verdict::Applied);
        let pass_at = write.tries.pass_at_ms;
        if origin == Origin::Accepted || (origin == Origin::Here && !was_sending && !decided) {
            // Sent nowhere and nobody was told of it.
            write.row.origin = Origin::Cancelled;
            write.stage = Stage::Decided(Fate::Void);
            cx.note(Note::Cancelled);
            self.insert(write);
            self.persist(cx, id);
            return self.evict(id);
        }
        if write.row.facts.creates {
            self.replay.creating.learn(lane);
        }
        let applied_wish = wish.is_some() && position.is_none() && write.stage == Stage::Decided(Fate::Applied);
        let is_named = applied_wish || (decided && write.is_decided_ahead());
        self.insert(write);
        if matches!(origin, Origin::Here | Origin::Wished { .. }) && position.is_none() {
            self.replay.lanes.hold(lane, id);
            self.live.get_mut(&id).expect("inserted above").holds_lane = true;
        }
        if self.live[&id].row.queued && position.is_none() && !decided && origin != Origin::Queued {
            // It was having its turn: the others of the queue stay behind it.
            self.queue.is_offered_again(id);
        }
        if let Some(at) = pass_at {
            self.wake_write_at(at, id);
        }
        if wish.as_ref().is_some_and(|held| held.owed_word.is_some()) {
            self.mirror.words.owe(id);
            if position.is_some() {
                self.find(cx, Find::Id(decision_of(id)), Looking::Heard(id));
            }
        }
        if is_named {
            self.mirror.words.decided_without_position(id);
        }
        if applied_wish {
            self.replay.lane_memory.applied(lane, id, None);
        }
        if was_sending {
            let write = self.live.get_mut(&id).expect("inserted above");
            if origin == Origin::Settled && write.is_unfollowed() {
                // Sent by order of a person: what came of it is the decision.
                write.role = Role::Ordered;
            }
            self.enter_doubt(cx, id, "the appliance ended after it was sent".into());
        } else if self.live[&id].is_decided_ahead() && !decided {
            self.live.get_mut(&id).expect("inserted above").stage = Stage::Waiting;
            self.agenda.push(Work::Look(id));
        } else if let (Some(held), None, false) = (&wish, position, decided) {
            // A restart makes a stored wish void.
            self.void_wish(cx, id, held.attempt, super::WishWord::Void);
        } else if position.is_some() && !decided {
            let write = self.live.get_mut(&id).expect("inserted above");
            write.role = Role::Shadow;
            if followed {
                write.stage = Stage::Waiting;
                self.agenda.push(Work::Look(id));
            } else if let Some(reason) = self.completer.quarantine.get(&id).map(|entry| entry.reason) {
                // Its order waited when its position came, and was cut short.
                self.decide_shadow(cx, id, Fate::Quarantined(reason));
            } else {
                self.skip_settled(cx, id);
            }
        }
    }

    /// Sites that were given up on may have decided an own write: their words are asked for.
    fn recover_owed(&mut self, write: &mut Write) {
        if let Some(last) = write.row.owed.iter().map(|(_, attempt)| *attempt).max() {
            write.placing.wish_attempts = last;
            self.mirror.wishes.goes_out(write.row.id);
        }
    }

    /// In quarantine because their records are broken: no entry says so.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = &Quarantined> {
        self.completer.quarantine.unreadable()
    }

    pub fn view(&self, now: Now) -> View {
        let count = |f: fn(&Write) -> bool| self.live.values().filter(|w| f(w)).count();
        let others = self.settings.replicas.iter().filter(|site| **site != self.settings.me);
        let peers = others.map(|site| self.peer_view(site, now.mono_ms));
        View {
            decider: self.chooser.current().cloned(),
            healthy: self.replica.has_healthy_endpoints(),
            hidden_try_ms: self.replay.mending.hidden_try_left_ms(now.mono_ms),
            stopped: self.replay.stopping.stop().map(|stop| stop.why.clone()),
            stop: self.replay.stopping.stop().map(|stop| stop.kind),
            lag_ms: self.lag_ms(now.mono_ms),
            open_writes: self.live.len(),
            stages: self.live.values().fold(BTreeMap::new(), |mut stages, write| {
                *stages.entry(write.stage_name()).or_default() += 1;
                stages
            }),
            queued: self.queue.len(),
            unknown: count(|w| matches!(w.stage, Stage::Unknown(_))),
            waits: self.waits().take(SHOWN_WAITS).collect(),
            series: self
                .mirror
                .series
                .values()
                .map(|s| SeriesView {
                    log: s.log,
                    site: s.site.clone(),
                    received: s.received,
                    decided: s.decided,
                    next: self.next_of(s),
                    broken: self.replay.mending.first_of(s.log),
                })
                .collect(),
            peers: peers.collect(),
            cursors: self
                .mirror
                .series
                .values()
                .flat_map(|series| series.meta().confirmed.into_iter().map(move |of| (series.log, of)))
                .map(|(log, of)| CursorView { site: of.site, log, received: of.received, decided: of.decided })
                .collect(),
            // The journal counts its own.
            quarantine: self.unreadable().count() as u64,
            unreadable: self.unreadable().cloned().collect(),
            not_equal: 0,
            concurrent: self.replay.counts.concurrent,
            conflicts: self.replay.counts.conflicts,
            ring: self.ring.len(),
        }
    }
}
