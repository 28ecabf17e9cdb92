//! The patience of a start. What another moment may give (an address that the machine does not have yet, a port that
//! the process before still has, a disk that is not mounted) is tried again for a while, and said once; the service
//! manager goes on from there. What only a change of the file can mend is not tried again.
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::AppError;
use super::say;
use crate::cli::with_causes;
use crate::config::Config;
use crate::identity;
use crate::telemetry::{Notifier, Notify};

const PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Patience<'a> {
    until: Instant,
    notifier: &'a Option<Notifier>,
}

impl<'a> Patience<'a> {
    pub fn new(within: Duration, notifier: &'a Option<Notifier>) -> Self {
        Self { until: Instant::now() + within, notifier }
    }

    pub async fn with<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, AppError>
    where
        F: Future<Output = Result<T, AppError>>,
    {
        let mut said = String::new();
        loop {
            match attempt().await {
                Err(error) if error.may_pass() && Instant::now() < self.until => {
                    let why = with_causes(&error);
                    if why != said {
                        tracing::warn!(%why, "the start waits for this, and tries again");
                        say(self.notifier, Notify::Status(&format!("waits: {why}")));
                        said = why;
                    }
                }
                ended => {
                    if ended.is_ok() && !said.is_empty() {
                        tracing::info!("what the start waited for is there");
                        say(self.notifier, Notify::Status("starts"));
                    }
                    return ended;
                }
            }
            tokio::time::sleep_until(self.until.min(Instant::now() + PAUSE)).await;
        }
    }
}

/// Secrets and certificates may lie on what is mounted later. What stands in them is looked at by whoever uses them.
pub(super) fn files_are_there(config: &Config) -> Result<(), AppError> {
    let identity = config.identity.iter().flat_map(|identity| [&identity.ca, &identity.cert, &identity.key]);
    let renewals = config.identity.iter().filter_map(|identity| identity.renewals.as_ref());
    let renewals = renewals.flat_map(|renewals| [&renewals.cert, &renewals.key]);
    let tls = config.gateway.tls.iter().flat_map(|tls| [&tls.cert, &tls.key]);
    identity.chain(renewals).chain(tls).try_for_each(|path| is_there(path))
}

fn is_there(path: &Path) -> Result<(), AppError> {
    // A pipe would be waited for without an end.
    let read = identity::read_file(path);
    read.map(drop).map_err(|source| AppError::File { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;

    use super::*;

    fn refused(kind: io::ErrorKind) -> AppError {
        AppError::File { path: "key.pem".to_owned(), source: kind.into() }
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_for_a_while_and_nothing_else() {
        let (tries, notifier) = (Cell::new(0), None);
        let attempt = |ends: u32, error: fn() -> AppError| {
            tries.set(0);
            let tries = &tries;
            move || {
                tries.set(tries.get() + 1);
                std::future::ready(if tries.get() < ends { Err(error()) } else { Ok(()) })
            }
        };
        let passing: fn() -> AppError = || refused(io::ErrorKind::NotFound);
        let patient = Patience::new(Duration::from_secs(600), &notifier);
        patient.with(attempt(3, passing)).await.unwrap();
        assert_eq!(tries.get(), 3);
        patient.with(attempt(3, || AppError::Setting("wrong".to_owned()))).await.unwrap_err();
        assert_eq!(tries.get(), 1, "only a change of the file mends it");
        let error = Patience::new(PAUSE, &notifier).with(attempt(1_000, passing)).await.unwrap_err();
        assert!((2..100).contains(&tries.get()), "{}", tries.get());
        assert_eq!(error.exit(), crate::cli::Exit::TryAgain);
    }

    #[test]
    fn only_what_the_file_says_is_78() {
        let io = |kind: io::ErrorKind| io::Error::from(kind);
        let listen =
            |kind| AppError::Listen { key: "admin.listen", address: ([10, 0, 0, 1], 1).into(), source: io(kind) };
        let journal = |source| AppError::Journal { dir: "data".to_owned(), source: Box::new(source) };
        let folder = |kind| journal(crate::journal::Error::Directory { dir: "/nowhere".into(), source: io(kind) });
        // error | code
        for (error, code) in [
            (listen(io::ErrorKind::AddrInUse), 75),
            (listen(io::ErrorKind::AddrNotAvailable), 75),
            (listen(io::ErrorKind::PermissionDenied), 75),
            (folder(io::ErrorKind::PermissionDenied), 75),
            (folder(io::ErrorKind::NotFound), 75),
            (folder(io::ErrorKind::StorageFull), 74),
            (folder(io::ErrorKind::ReadOnlyFilesystem), 74),
            (journal(crate::journal::Error::InUse { dir: "/d".into() }), 75),
            (journal(crate::journal::Error::NoJournal { path: "/d".into() }), 74),
            (refused(io::ErrorKind::PermissionDenied), 75),
            (AppError::Setting("log.filter".to_owned()), 78),
        ] {
            assert_eq!(error.exit() as u8, code, "{error:?}");
        }
    }
}
