//! The end of a write at this replica, whatever led to it.
//!
//! All in one transaction: its fate is durable; who wished it hears of it; what it held is free (its lane, its place at
//! the service, an entry on its way out of quarantine); its position and its id are decided, so that what waited for
//! them goes on; who brought a copy is answered; and memory lets go of it where nothing is left to be done.
use super::core::{Core, Cx};
use super::write::{Role, Stage};
use super::{Bug, WishWord};
use crate::journal::Fate;
use crate::model::WriteId;

/// How it ends.
pub(crate) struct Closing {
    pub fate: Fate,
    /// What the site that wished it is told.
    pub word: Word,
}

pub(crate) enum Word {
    /// It hears nothing, or has heard.
    None,
    This(WishWord),
    /// As the write stands then.
    AsItStands,
}

impl From<Fate> for Closing {
    fn from(fate: Fate) -> Self {
        Self { fate, word: Word::None }
    }
}

impl Core {
    pub(crate) fn close(&mut self, cx: &mut Cx, id: WriteId, closing: impl Into<Closing>) {
        let Closing { fate, word } = closing.into();
        self.has_fate(cx, id, fate);
        self.persist(cx, id);
        match word {
            Word::None => {}
            Word::This(word) => self.say_word(cx, id, word),
            Word::AsItStands => {
                let word = self.word_of(id);
                self.say_word(cx, id, word);
            }
        }
        self.ended(cx, id);
    }

    /// What it came to at this replica is known; the row is for the caller to write.
    pub(crate) fn has_fate(&mut self, cx: &mut Cx, id: WriteId, fate: Fate) {
        let Some(write) = self.live.get_mut(&id) else { return };
        let is_applied = fate == Fate::Applied;
        // A wish that was refused here is named nowhere; what was told ahead is, whatever became of it.
        let is_named = write.row.position.is_none() && (is_applied || write.role == Role::Shadow);
        write.stage = Stage::Decided(fate);
        write.tries.doubtful = false;
        if write.row.settled_clock_ms == 0 {
            write.row.settled_clock_ms = cx.now.clock_ms;
        }
        self.replay.alone.ended(id);
        if is_applied {
            self.note_applied(id);
            self.learn_creating(id);
        }
        if is_named && !self.bug(Bug::AheadNotNamed) {
            self.mirror.words.decided_without_position(id);
        }
    }

    /// Nothing is left to be done with it here.
    pub(crate) fn ended(&mut self, cx: &mut Cx, id: WriteId) {
        let Some(position) = self.live.get(&id).map(|write| write.row.position) else { return };
        self.release_held(cx, id);
        self.release_lane(id);
        match position {
            Some((position, _)) => self.position_decided(cx, id.log, position),
            None => self.wake_readers(cx),
        }
        self.decided_id(id);
        self.answer_copies(cx, id);
        self.evict_if_final(id);
    }
}
