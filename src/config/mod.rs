//! The configuration: TOML to resolved settings, every problem at once (§14).
