//! Everything that tries to break Holdfast.
pub mod bench;
pub mod load;
pub mod sim;
