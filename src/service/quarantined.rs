//! Writes into quarantine and out of it.
use super::Note;
use super::core::{Core, Cx};
use crate::journal::{Fate, Here, Op, QuarantineReason, Quarantined, Row};
use crate::model::WriteId;

impl Core {
    pub(crate) fn quarantine_shadow(
        &mut self,
        cx: &mut Cx,
        id: WriteId,
        reason: QuarantineReason,
        detail: String,
        status: u16,
    ) {
        self.quarantine(cx, id, reason, detail, status);
        self.decide_shadow(cx, id, Fate::Quarantined(reason));
    }

    pub(crate) fn quarantine(
        &mut self,
        cx: &mut Cx,
        id: WriteId,
        reason: QuarantineReason,
        detail: String,
        status: u16,
    ) {
        let entry = Quarantined { status, ..Quarantined::new(id, reason, detail, cx.now.wall_ms) };
        self.put_into_quarantine(cx, entry);
    }

    pub(crate) fn put_into_quarantine(&mut self, cx: &mut Cx, entry: Quarantined) {
        let (id, reason) = (entry.id, entry.reason);
        cx.note(Note::Quarantined { id, reason });
        self.keep_entry(cx, entry);
        self.completer.quarantine.hold_no_more(id);
    }

    /// In the journal, and in memory as long as its write is.
    pub(crate) fn keep_entry(&mut self, cx: &mut Cx, entry: Quarantined) {
        let id = entry.id;
        cx.persist(Op::Quarantine(entry.clone()));
        self.entry_changed(id);
        if entry.reason == QuarantineReason::UnknownOutcome {
            self.completer.unknown.is_unknown(id);
        }
        self.completer.quarantine.keep(entry, self.live.contains_key(&id));
    }

    pub(crate) fn release_quarantine(&mut self, cx: &mut Cx, id: WriteId) {
        if self.completer.quarantine.take_out(id) {
            cx.persist(Op::Release(id));
            self.has_left_quarantine(id);
        }
    }

    pub(crate) fn has_left_quarantine(&mut self, id: WriteId) {
        self.entry_changed(id);
        self.completer.unknown.is_known(id);
        self.completer.unknown.wait_no_more(id);
    }

    /// Sent by order at a position that is decided long since, and not taken: a crash must find it in quarantine (G1).
    pub(crate) fn hold_for_person(&mut self, cx: &mut Cx, id: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        let decided = |position| self.mirror.series.get(&id.log).is_some_and(|series| series.is_decided(position));
        if !write.row.position.is_some_and(|(position, _)| decided(position)) {
            return;
        }
        let reason = QuarantineReason::UnknownOutcome;
        let here = Here::Decided(Fate::Quarantined(reason));
        cx.persist(Op::Row(Box::new(Row { here, ..write.record() })));
        let detail = "sent again by order; the service did not take it".to_owned();
        cx.persist(Op::Quarantine(Quarantined::new(id, reason, detail, cx.now.wall_ms)));
        self.entry_changed(id);
        self.completer.quarantine.is_held_again(id);
    }

    /// It is released when what was ordered has begun durably: [`Core::release_held`].
    pub(crate) fn hold_quarantine(&mut self, id: WriteId) {
        self.completer.quarantine.hold(id);
    }

    pub(crate) fn release_held(&mut self, cx: &mut Cx, id: WriteId) {
        if self.completer.quarantine.hold_no_more(id) {
            cx.persist(Op::Release(id));
            self.has_left_quarantine(id);
        }
    }
}
