//! The fingerprint of a request: the same key with another digest is an error.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::model::Digest;

/// SHA-256 over method, path and query, content type, body, and the store where a hub filled one in.
///
/// Every part but the last carries its length, so that parts do not run into each other.
pub fn of_request(method: &str, target: &str, content_type: &[u8], store: &str, body: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    for part in [method.as_bytes(), target.as_bytes(), content_type, store.as_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(body);
    Digest(hash.finalize().into())
}

/// SHA-256 over a body alone: what is kept of an answer that is too large to keep.
pub fn of_body(body: &[u8]) -> Digest {
    Digest(Sha256::digest(body).into())
}

/// The base64 form, as people and the manager's endpoints see it.
pub fn display(digest: &Digest) -> String {
    STANDARD.encode(digest.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_request_counts_and_parts_stay_apart() {
        let base = of_request("POST", "/a?b", b"application/json", "", b"{}");
        assert_eq!(base, of_request("POST", "/a?b", b"application/json", "", b"{}"));
        for other in [
            of_request("PUT", "/a?b", b"application/json", "", b"{}"),
            of_request("POST", "/a", b"application/json", "", b"{}"),
            of_request("POST", "/a?b", b"text/plain", "", b"{}"),
            of_request("POST", "/a?b", b"application/json", "store-1", b"{}"),
            of_request("POST", "/a?b", b"application/json", "", b"{} "),
            of_request("POST", "/a?bapplication/json", b"", "", b"{}"),
            of_request("POST/a?b", "", b"application/json", "", b"{}"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_base64_form_is_the_common_one() {
        assert_eq!(display(&of_body(b"")), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
