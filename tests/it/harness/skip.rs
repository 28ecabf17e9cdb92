//! A test that this machine cannot play says so past the capture of its output, so that nobody takes it for played.
use std::io::Write;

pub fn skipped(what: &str, why: &str) {
    // Nothing to do where even this cannot be written.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: {why}");
}

/// As root, which mounts and injected errors need.
pub fn is_root() -> bool {
    let id = std::process::Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}
