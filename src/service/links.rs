//! Links coming and going, and what is said over them.
use super::core::{Core, Cx, Work};
use super::{Message, Note};
use crate::model::SiteName;

impl Core {
    pub(crate) fn link_up(&mut self, cx: &mut Cx, peer: SiteName) {
        let state = self.mirror.peers.entry(peer.clone()).or_default();
        state.linked = true;
        // Nothing is known of it until it speaks.
        state.healthy = false;
        state.status_count = 0;
        state.wants_nothing();
        self.say_status_to(cx, peer.clone());
        self.say_wishes_again(cx, &peer);
        self.say_owed_words(cx, &peer);
        self.mirror.statuses.say_soon();
        self.choose(cx);
    }

    pub(crate) fn link_down(&mut self, cx: &mut Cx, peer: SiteName) {
        let Some(state) = self.mirror.peers.get_mut(&peer) else { return };
        state.linked = false;
        state.healthy = false;
        state.wants_nothing();
        self.wishes_cut_short(cx, &peer);
        self.release_receipts(cx);
        self.save_confirmed(cx);
        self.mirror.statuses.say_soon();
        self.choose(cx);
        for token in self.idempotency.questions.of(&peer) {
            self.asking_deadline(cx, token);
        }
    }

    pub(crate) fn message(&mut self, cx: &mut Cx, from: SiteName, message: Message) {
        let Some(peer) = self.mirror.peers.get_mut(&from).filter(|peer| peer.linked) else {
            // Of a connection that is gone: everything that counts will be said again.
            return;
        };
        peer.heard_ms = cx.ms();
        // Links have looked at what can be looked at without knowing anything; who feeds this machine otherwise has
        // not.
        let wrong = message.check().err().map(|why| why.to_string());
        if let Some(why) = wrong.or_else(|| self.contradiction(&from, &message)) {
            return cx.note(Note::Invalid { peer: from, why });
        }
        match message {
            Message::Status(status) => self.peer_status(cx, from, status),
            Message::Page(page) => self.receive_page(cx, &from, page),
            Message::Wish(wish) => self.wished(cx, from, *wish),
            Message::Revoke { id, attempt } => self.revoked(cx, from, id, attempt),
            Message::Ask { id, attempt } => self.asked(cx, &from, id, attempt),
            Message::Word { id, attempt, word } => self.word(cx, from, id, attempt, word),
            Message::Question { token, key, digest, who } => {
                self.question(cx, from, token, key, super::whose::Asker { digest, who })
            }
            Message::Reply { token, known } => self.told(cx, &from, token, known),
            Message::Again(page) => self.mend_from(cx, &from, &page),
            Message::Ahead { site, item } => self.told_ahead(cx, &from, site, item),
        }
        self.mirror.wishes.look_soon();
        self.agenda.push(Work::Shadows);
    }
}
