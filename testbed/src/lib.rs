//! Everything that tries to break Holdfast.
pub mod sim;
