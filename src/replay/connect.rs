//! A connection to the service, had before anything is written down: a service that is down must not fill a disk.
//!
//! A connection that is kept is there at once, in the same event: then nothing is different but the order.
use crate::model::WriteId;
use crate::service::Effect;
use crate::service::core::{Core, Cx, Work};
use crate::service::outcome::Class;
use crate::service::write::{Role, Stage};

impl Core {
    /// The write keeps its lane's place. Copies of it wait for it from now on, as if it were sent.
    pub(super) fn connect(&mut self, cx: &mut Cx, id: WriteId) {
        let Some(write) = self.live.get_mut(&id) else { return };
        write.stage = Stage::Connecting;
        cx.out.push(Effect::Connect { id, attempt: write.tries.attempts + 1 });
    }

    pub(crate) fn ready(&mut self, cx: &mut Cx, id: WriteId, attempt: u32, result: Result<(), String>) {
        let Some(write) = self.live.get(&id) else { return };
        if write.stage != Stage::Connecting || write.tries.attempts + 1 != attempt {
            return;
        }
        let (lane, role) = (write.row.facts.lane, write.role);
        match (role, result) {
            (Role::Own | Role::Wish, Ok(())) if !self.must_not_decide(id) => self.send_now(cx, id),
            (Role::Own | Role::Wish, Ok(())) => {
                // Named as decided elsewhere while it waited.
                self.set_stage(id, Stage::Waiting);
                self.free_place(lane, id);
                self.want_place(id);
            }
            (Role::Own, Err(why)) => {
                self.free_place(lane, id);
                self.finish_own(cx, id, Class::NeverSent { why });
            }
            (Role::Wish, Err(why)) => {
                self.free_place(lane, id);
                self.finish_wish(cx, id, Class::NeverSent { why });
            }
            // Its position came meanwhile: it has more to come after, and is sent as what it is now.
            (Role::Shadow | Role::Ordered, _) => {
                self.set_stage(id, Stage::Waiting);
                self.free_place(lane, id);
                self.agenda.push(Work::Look(id));
            }
        }
    }

    /// Whether this try is on its way to the service, or about to be: its connection is still wanted.
    /// Some write has its turn at this replica: it is, or is about to be, at the service.
    pub(crate) fn is_at_service(&self) -> bool {
        let is_there =
            |stage: &Stage| matches!(stage, Stage::Checking | Stage::Connecting | Stage::Sending | Stage::Judging);
        self.live.values().any(|write| is_there(&write.stage))
    }

    pub(crate) fn is_sending(&self, id: WriteId, attempt: u32) -> bool {
        self.live.get(&id).is_some_and(|write| write.stage == Stage::Sending && write.tries.attempts == attempt)
    }
}
