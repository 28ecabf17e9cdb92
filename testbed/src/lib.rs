//! Everything that tries to break Holdfast.
pub mod bench;
pub mod field;
pub mod load;
pub mod reservation;
pub mod sim;
