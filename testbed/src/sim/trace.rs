//! Two things under one name: a hash over everything that happened, always on, and lines for people, on demand.
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::rc::Rc;

/// Shared with the caller, so that it survives a panic inside a state machine.
#[derive(Clone, Default)]
pub struct Lines(Rc<RefCell<Vec<String>>>);

impl Lines {
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.borrow_mut())
    }
}

pub struct Trace {
    hash: u64,
    lines: Option<Lines>,
    /// How far the run has come, also when a state machine panics.
    reached_ms: Rc<Cell<u64>>,
}

impl Trace {
    pub fn new(lines: Option<Lines>, reached_ms: Rc<Cell<u64>>) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, lines, reached_ms }
    }
    pub fn passes(&self, now_ms: u64) {
        self.reached_ms.set(now_ms);
    }
    pub fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
    }
    pub fn hash(&self) -> u64 {
        self.hash
    }
    /// `text` is only formatted when somebody reads it.
    pub fn line(&self, now_ms: u64, text: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            let mut line = String::new();
            let _ = write!(line, "{:>9.3} {}", now_ms as f64 / 1000.0, text());
            lines.0.borrow_mut().push(line);
        }
    }
    pub fn is_read(&self) -> bool {
        self.lines.is_some()
    }
}
