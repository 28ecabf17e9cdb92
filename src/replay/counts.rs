//! What was found at this replica that a person should know of.

/// What two sites did that cannot be put right, since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Conflicts {
    /// Keys taken for different requests.
    pub keys: u64,
    /// Copies of one write that were answered differently.
    pub answers: u64,
}

/// What has happened since the start of the process, for people.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Concurrent writes found.
    pub concurrent: u64,
    pub conflicts: Conflicts,
}
