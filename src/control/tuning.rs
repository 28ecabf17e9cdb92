//! Who a node is, and the numbers it works with.
use uuid::Uuid;

use crate::model::SiteName;

/// Numbers with their reasons; tests turn time up.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// While a hub has not echoed what came after what was said last: a deaf session is known before a fourth beat.
    pub beat_ms: u64,
    /// At rest.
    pub rest_beat_ms: u64,
    /// Three beats and a second.
    pub deaf_ms: u64,
    pub patience_max_ms: u64,
    /// An edge without a hub for so long opens a new session: the old one's redialling may be stuck.
    pub alone_ms: u64,
    /// Digests and repeated levels go out once a round.
    pub round_ms: u64,
    /// Rounds in which something is repeated after it changed; then only after so many: all who could have missed all
    /// of them came back meanwhile, and then it is repeated anew.
    pub fresh_rounds: u8,
    pub slow_rounds: u64,
    /// Own fingerprints per service that others may ask for: four seconds at 1,000/s, 330 KiB.
    pub window: usize,
    /// Fingerprints in one message: 60 bytes each, far below a zenoh batch of 64 KiB.
    pub batch: usize,
    /// Fingerprints in the answer to one question, so that repairs never fill a thin line; the next digest gets the
    /// rest.
    pub answer: usize,
    /// Ranges in one question.
    pub question_ranges: usize,
    /// Between two questions about the same stream.
    pub ask_every_ms: u64,
    /// Services for which this node speaks, streams it follows, levels it repeats, nodes it sees.
    pub services: usize,
    pub streams: usize,
    pub levels: usize,
    pub nodes: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            beat_ms: 5_000,
            rest_beat_ms: 600_000,
            deaf_ms: 16_000,
            patience_max_ms: 30 * 60_000,
            alone_ms: 60_000,
            round_ms: 3_000,
            fresh_rounds: 5,
            slow_rounds: 200,
            window: 4_096,
            batch: 256,
            answer: 1_024,
            question_ranges: 64,
            ask_every_ms: 1_000,
            services: 256,
            streams: 16_384,
            levels: 4_096,
            nodes: 16_384,
        }
    }
}

impl Tuning {
    pub(super) fn all_every_ms(&self) -> u64 {
        self.round_ms.saturating_mul(self.slow_rounds.max(1))
    }
}

/// Who this node is and what it does.
#[derive(Clone, Debug)]
pub struct Identity {
    pub realm: String,
    pub site: SiteName,
    pub node: String,
    pub boot: Uuid,
    pub expects_echo: bool,
    pub is_hub: bool,
    /// Sites that may speak; empty: any.
    pub sites: Vec<SiteName>,
}
