//! What stands for a lane where people read it. A lane is a plain hash of what its rule found: printed as it is,
//! whoever reads it could try values out.
use sha2::{Digest as _, Sha256};

use super::Privacy;
use crate::model::Lane;

/// Of a cipher of two halves, each round of which is a keyed hash.
const ROUNDS: u8 = 8;

impl Privacy {
    /// The same for the same lane, at this site alone; [`Privacy::lane_of`] leads back.
    pub fn lane_mark(&self, lane: Lane) -> String {
        let (mut left, mut right) = halves(lane.0);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.stirred(round, right));
        }
        format!("{left:08x}{right:08x}")
    }

    /// `None`: that is no mark. One of another site leads to a lane that nobody uses.
    pub fn lane_of(&self, mark: &str) -> Option<Lane> {
        let is_mark = mark.len() == 16 && mark.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (mut left, mut right) = halves(u64::from_str_radix(mark, 16).ok().filter(|_| is_mark)?);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.stirred(round, left), left);
        }
        Some(Lane(u64::from(left) << 32 | u64::from(right)))
    }

    fn stirred(&self, round: u8, half: u32) -> u32 {
        let hash = Sha256::new().chain_update(self.secret).chain_update(b"lane").chain_update([round]);
        let hash = hash.chain_update(half.to_be_bytes()).finalize();
        u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
    }
}

fn halves(number: u64) -> (u32, u32) {
    ((number >> 32) as u32, number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failure prints its seed; `SEED=n` repeats a run.
    #[test]
    fn a_mark_leads_back_to_its_lane_at_its_site_alone_and_says_nothing_of_it() {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
        println!("SEED={seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let (one, other) = (Privacy::new(Vec::new(), [7; 32]), Privacy::new(Vec::new(), [8; 32]));
        let card = Lane::of("json:/card/no", b"4111111111111111");
        for lane in [Lane::WHOLE_SERVICE, card, Lane(u64::MAX)].into_iter().chain((0..500).map(|_| Lane(rng.u64(..)))) {
            let mark = one.lane_mark(lane);
            assert_eq!(one.lane_of(&mark), Some(lane), "{mark}");
            assert_eq!(one.lane_of(&mark.to_ascii_uppercase()), Some(lane), "{mark}");
            assert_ne!(mark, format!("{:016x}", lane.0), "the hash itself can be guessed");
            assert_ne!(other.lane_mark(lane), mark);
            assert_ne!(other.lane_of(&mark), Some(lane));
        }
        for text in ["", "7", "+123456789abcdef", "0123456789abcdeg", "0123456789abcdef0", "0123456789abcdeü"] {
            assert_eq!(one.lane_of(text), None, "{text}");
        }
    }
}
