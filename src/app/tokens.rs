//! The token of a write: unguessable, so that a status address can be handed to a client.
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::journal::{Error, Journal};
use crate::model::{LogId, WriteId};

const SECRET: &str = "token-secret";
const ID_BYTES: usize = 28;
const SEAL_BYTES: usize = 16;

/// Seals the id with a secret of this store.
#[derive(Clone)]
pub(super) struct TokenCodec {
    secret: [u8; 32],
}

impl TokenCodec {
    /// The secret is made once for a store. Blocks.
    pub fn open(journal: &Journal) -> Result<Self, Error> {
        if let Some(secret) = journal.meta_get(SECRET)?.and_then(|bytes| bytes.try_into().ok()) {
            return Ok(Self { secret });
        }
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        secret[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        if journal.meta_put(SECRET, &secret).is_err() {
            // The journal has failed and says so itself; tokens of this life are good until it ends.
            tracing::warn!("the secret of status addresses could not be kept");
        }
        Ok(Self { secret })
    }

    /// Another secret of this store: for marks in the place of what people are not shown.
    pub fn secret_of_shown(&self) -> [u8; 32] {
        Sha256::new().chain_update(self.secret).chain_update(b"shown to people").finalize().into()
    }

    pub fn encode(&self, id: WriteId) -> String {
        let bytes = id_bytes(id);
        let mut sealed = [0; ID_BYTES + SEAL_BYTES];
        sealed[..ID_BYTES].copy_from_slice(&bytes);
        sealed[ID_BYTES..].copy_from_slice(&self.seal(&bytes));
        URL_SAFE_NO_PAD.encode(sealed)
    }

    pub fn decode(&self, token: &str) -> Option<WriteId> {
        let sealed: [u8; ID_BYTES + SEAL_BYTES] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let (bytes, seal) = sealed.split_at(ID_BYTES);
        let expected = self.seal(bytes);
        // In constant time: how much of a guess was right must not show.
        let differs = seal.iter().zip(&expected).fold(0, |differs, (a, b)| differs | (a ^ b));
        let log = LogId {
            store: bytes[..16].try_into().ok()?,
            incarnation: u32::from_be_bytes(bytes[16..20].try_into().ok()?),
        };
        (differs == 0).then_some(WriteId { log, n: u64::from_be_bytes(bytes[20..].try_into().ok()?) })
    }

    /// Two passes, so that nobody can extend a seal (as in HMAC).
    fn seal(&self, bytes: &[u8]) -> [u8; SEAL_BYTES] {
        let inner = Sha256::new().chain_update(self.secret).chain_update(bytes).finalize();
        let outer = Sha256::new().chain_update(self.secret).chain_update(inner).finalize();
        outer[..SEAL_BYTES].try_into().expect("SHA-256 has 32 bytes")
    }
}

fn id_bytes(id: WriteId) -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    bytes[..16].copy_from_slice(&id.log.store);
    bytes[16..20].copy_from_slice(&id.log.incarnation.to_be_bytes());
    bytes[20..].copy_from_slice(&id.n.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_write_and_cannot_be_made_up() {
        let codec = TokenCodec { secret: [7; 32] };
        let id = WriteId { log: LogId { store: [3; 16], incarnation: 2 }, n: 4711 };
        let token = codec.encode(id);
        assert_eq!(codec.decode(&token), Some(id));
        assert_eq!(TokenCodec { secret: [8; 32] }.decode(&token), None);
        let mut other = token.into_bytes();
        other[30] = if other[30] == b'A' { b'B' } else { b'A' };
        assert_eq!(codec.decode(std::str::from_utf8(&other).unwrap()), None);
        assert_eq!(codec.decode("4711"), None);
    }

    /// A failure prints its seed; `SEED=n` repeats a run.
    #[test]
    fn none_of_many_tokens_that_are_nearly_right_names_a_write() {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
        println!("SEED={seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let codec = TokenCodec { secret: [7; 32] };
        let token = codec.encode(WriteId { log: LogId { store: [3; 16], incarnation: 2 }, n: 4711 });
        for _ in 0..50_000 {
            let mut bytes = token.clone().into_bytes();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..bytes.len());
                match rng.u8(..4) {
                    0 => bytes.insert(at, rng.u8(..)),
                    1 => drop(bytes.remove(at)),
                    _ => bytes[at] = b"ABab01-_=%\0"[rng.usize(..11)],
                }
            }
            let text = String::from_utf8_lossy(&bytes);
            assert!(text == token || codec.decode(&text).is_none(), "{text}");
        }
    }
}
