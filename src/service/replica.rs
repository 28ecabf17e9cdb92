//! What this site knows of its own replica as one that decides: whether it is well, and busy with clients.
use super::AttemptResult;
use super::core::Core;
use super::hanging::Hanging;
use crate::model::WriteId;

#[derive(Debug, Default)]
pub(crate) struct Replica {
    endpoints_healthy: bool,
    /// The endpoints are, and no try of the life before may be under way unseen: writes can be sent.
    healthy: bool,
    hanging: Hanging,
    /// When a client's write, or a wish, was taken here last.
    written_ms: Option<u64>,
}

impl Replica {
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }

    pub fn has_healthy_endpoints(&self) -> bool {
        self.endpoints_healthy
    }

    /// `hides_a_try`: what a broken record hid may still be under way. Whether it is another state than before.
    pub fn health(&mut self, endpoints_healthy: bool, hides_a_try: bool) -> bool {
        self.endpoints_healthy = endpoints_healthy;
        let healthy = endpoints_healthy && !hides_a_try;
        std::mem::replace(&mut self.healthy, healthy) != healthy
    }

    pub fn is_written(&mut self, now_ms: u64) {
        self.written_ms = Some(now_ms);
    }

    pub fn was_written_within(&self, ms: u64, now_ms: u64) -> bool {
        self.written_ms.is_some_and(|at_ms| now_ms < at_ms + ms)
    }

    pub fn begins(&mut self, id: WriteId, attempt: u32, now_ms: u64) {
        self.hanging.begins(id, attempt, now_ms);
    }

    pub fn ends(&mut self, id: WriteId, attempt: u32, result: &AttemptResult, now_ms: u64) {
        self.hanging.ends(id, attempt, result, now_ms);
    }

    pub fn hangs(&self, now_ms: u64, within_ms: u64) -> bool {
        self.hanging.hangs(now_ms, within_ms)
    }
}

impl Core {
    pub(crate) fn hangs(&self, now_ms: u64) -> bool {
        self.replica.hangs(now_ms, self.settings.within_ms)
    }
}
