//! Keys, digests, replayed answers (§9).
