//! Exit codes, as sysexits.h has them.
use std::fmt;
use std::process::ExitCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Usage = 64,
    Internal = 70,
    Disk = 74,
    /// Another time may be better.
    TryAgain = 75,
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ends without a result.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(Exit::Internal, message)
    }
    pub fn disk(message: impl fmt::Display) -> Self {
        Self::new(Exit::Disk, message)
    }
    /// All problems, one a line.
    pub fn config(error: crate::config::ConfigError) -> Self {
        Self::new(Exit::Config, format!("\n{error}"))
    }
}

impl From<crate::app::AppError> for Failure {
    fn from(error: crate::app::AppError) -> Self {
        Self::new(error.exit(), with_causes(&error))
    }
}

/// What went wrong, and why, down to the first cause.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Some name their cause themselves, and go on.
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
