//! Hints between nodes (§13): zenoh behind a small trait, and an in-memory twin.
