//! Asking the site that a hint names what it knows of a key, and answering such questions.
use std::collections::BTreeMap;

use super::core::{Core, Cx, Timer};
use super::whose::{Asker, KeyState};
use super::{Effect, Find, Found, Looking, Message, NewWrite, Note, OnUnreachable, Reply, ReqId};
use crate::model::{DECISION, KeyHash, NUMBER_MAX, Problem, SiteName, WriteId};

use super::accept::RETRY_AFTER_S;

/// How long an origin may take to answer a question about a key.
const QUESTION_MS: u64 = 1_000;
/// A write found in flight at its origin is asked for again this often.
const ASK_AGAIN_MS: u64 = 20;

/// A client's write whose key another site was asked about.
pub(crate) struct Asking {
    pub req: ReqId,
    pub id: WriteId,
    pub write: NewWrite,
    pub site: SiteName,
    /// Waiting to ask again, not for an answer.
    pub pausing: bool,
}

/// Questions that are under way, by their numbers.
#[derive(Default)]
pub(crate) struct Questions(BTreeMap<u64, Asking>);

impl Questions {
    fn ask(&mut self, token: u64, asking: Asking) {
        self.0.insert(token, asking);
    }

    /// This site has answered, if it was asked.
    fn answered(&mut self, token: u64, by: &SiteName) -> Option<Asking> {
        let is_asked = self.0.get(&token).is_some_and(|asking| asking.site == *by && !asking.pausing);
        if is_asked { self.0.remove(&token) } else { None }
    }

    /// Its time is over, or its site out of reach.
    fn is_over(&mut self, token: u64) -> Option<Asking> {
        self.0.remove(&token)
    }

    pub fn of(&self, site: &SiteName) -> Vec<u64> {
        self.0.iter().filter(|(_, asking)| asking.site == *site).map(|(token, _)| *token).collect()
    }

    /// For this client's write: whether the question waits to be asked again.
    pub fn is_pausing(&self, req: ReqId) -> Option<bool> {
        self.0.values().find(|asking| asking.req == req).map(|asking| asking.pausing)
    }

    pub fn forget(&mut self, req: ReqId) {
        self.0.retain(|_, asking| asking.req != req);
    }
}

impl Core {
    pub(super) fn ask(&mut self, cx: &mut Cx, asking: Asking) {
        if !self.mirror.peers.get(&asking.site).is_some_and(|p| p.linked) {
            return self.unreachable(cx, asking);
        }
        let Some(key) = asking.write.facts.key else { return };
        cx.note(Note::AskedOrigin);
        let token = self.token();
        let to = asking.site.clone();
        let Asker { digest, who } = self.asker(&asking.write);
        self.idempotency.questions.ask(token, asking);
        self.at(cx.ms() + QUESTION_MS, Timer::Asking(token));
        cx.out.push(Effect::Send { to, message: Message::Question { token, key, digest, who } });
    }

    fn unreachable(&mut self, cx: &mut Cx, asking: Asking) {
        if !self.clients.contains(asking.req) {
            return;
        }
        match self.settings.on_unreachable {
            // The copies become one on healing.
            OnUnreachable::Accept => self.consider(cx, asking.req, asking.id, asking.write, true),
            OnUnreachable::Refuse => {
                let problem = Problem::OriginUnreachable { site: asking.site.0 };
                self.answer(cx, asking.req, Reply::Problem { id: None, problem });
            }
        }
    }

    /// The origin said what it knows of a key.
    pub(crate) fn told(&mut self, cx: &mut Cx, from: &SiteName, token: u64, mut known: super::Known) {
        use super::Known;
        if let Known::Recorded { id, position, pages, .. } = &mut known {
            if id.n > NUMBER_MAX | DECISION || *position > NUMBER_MAX {
                let why = format!("a recorded answer of {id} at position {position}, numbers that no log gives");
                return cx.note(Note::Invalid { peer: from.clone(), why });
            }
            for page in std::mem::take(pages) {
                self.receive_page(cx, from, page);
            }
        }
        let Some(asking) = self.idempotency.questions.answered(token, from) else { return };
        if !self.clients.contains(asking.req) {
            return;
        }
        let (id, problem) = match known {
            Known::Nothing => return self.consider(cx, asking.req, asking.id, asking.write, true),
            Known::OtherRequest => (None, Problem::KeyReused),
            Known::OfAnother(state) => (None, Problem::KeyOfAnother { state }),
            Known::InFlight => {
                let again = self.token();
                self.at(cx.ms() + ASK_AGAIN_MS, Timer::Asking(again));
                self.idempotency.questions.ask(again, Asking { pausing: true, ..asking });
                return;
            }
            Known::Recorded { id, answer: Some(answer), mut seen, verdict, repeats, position, .. }
                if answer.omitted.is_none() =>
            {
                let position = (position > 0).then_some(position);
                let outcome = (verdict, repeats);
                let is_bound =
                    self.has_entry_of(id, outcome, position) && self.bind_to(cx, id, outcome, &seen, position);
                if !is_bound {
                    let problem = Problem::KeyInFlight { retry_after_s: RETRY_AFTER_S };
                    return self.answer(cx, asking.req, Reply::Problem { id: None, problem });
                }
                cx.note(Note::Replayed);
                seen.merge(&self.decided_here());
                let reply = Reply::Answer { id, answer, replayed: true, served_by: asking.site, seen };
                return self.answer(cx, asking.req, reply);
            }
            Known::Recorded { id, .. } => (Some(id), Problem::ReplayUnavailable),
            Known::Unknown => (None, Problem::OutcomeUnknown),
        };
        self.answer(cx, asking.req, Reply::Problem { id, problem });
    }

    pub(crate) fn asking_deadline(&mut self, cx: &mut Cx, token: u64) {
        let Some(asking) = self.idempotency.questions.is_over(token) else { return };
        if !self.clients.contains(asking.req) {
            return;
        }
        if asking.pausing {
            // Its page may have come meanwhile.
            let known = asking.write.facts.key.is_some_and(|k| !self.idempotency.keys.live(&k).is_empty());
            if known {
                return self.consider(cx, asking.req, asking.id, asking.write, false);
            }
            return self.ask(cx, Asking { pausing: false, ..asking });
        }
        self.unreachable(cx, asking);
    }

    /// Another site asks what is known of a key here.
    pub(crate) fn question(&mut self, cx: &mut Cx, from: SiteName, token: u64, key: KeyHash, asker: Asker) {
        if self.idempotency.keys.may_be_stored(&key) {
            return self.find(cx, Find::Key(key), Looking::Question { from, token, key, asker });
        }
        self.tell(cx, from, token, key, asker, &[]);
    }

    pub(super) fn tell(&self, cx: &mut Cx, to: SiteName, token: u64, key: KeyHash, asker: Asker, rows: &[Found]) {
        let known = self.known(cx, &to, key, asker, rows);
        cx.out.push(Effect::Send { to, message: Message::Reply { token, known } });
    }

    fn known(&self, cx: &Cx, to: &SiteName, key: KeyHash, asker: Asker, rows: &[Found]) -> super::Known {
        use super::Known;
        match self.key_state(cx, key, asker, rows) {
            KeyState::New => Known::Nothing,
            KeyState::OtherRequest => Known::OtherRequest,
            KeyState::OfAnother(state) => Known::OfAnother(state),
            KeyState::InFlight(_) => Known::InFlight,
            KeyState::Recorded(id, outcome, position) => Known::Recorded {
                id,
                verdict: outcome.verdict,
                repeats: outcome.repeats,
                position: position.unwrap_or(0),
                // So that who asks need not wait for it when its client goes on.
                pages: self.pages_for(to, &Self::after_of(id, &outcome, position)).unwrap_or_default(),
                seen: self.with_itself(outcome.after.clone(), id, &outcome, position),
                answer: outcome.answer.filter(|a| a.weight() <= self.settings.answer_max),
            },
            KeyState::Unknown(_) => Known::Unknown,
        }
    }
}
