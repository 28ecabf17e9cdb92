//! File descriptors of this process: how many it may have, and for what the last ones are kept.
//!
//! Connections of clients take descriptors; so do the journal, links, the log and connections to services. Whoever
//! takes a connection asks [`kept`] with what it is for, and each use stops further below the limit than a more needful
//! one: clients, however many come and to whichever listener, leave room for the work on what was accepted already.
//!
//! Nothing is counted for it. A new descriptor always gets the lowest number that is free, so one with a high number
//! says that all below it are taken, by whomever.
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a connection is for; the more needful the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Of a client at the gateway, of whom there may be any number.
    Client,
    /// Of a person or a probe, who are few by a limit of their own; and to a service, for a client's request.
    Admin,
    Upstream,
    /// A link to another site.
    Link,
}

/// For journal, log, control plane, names, and what is read from files.
const OWN: u64 = 64;
const LINKS: u64 = 64;
/// Out of descriptors: accepting again at once would only spin.
const PAUSE: Duration = Duration::from_millis(50);
const SAY_EVERY: Duration = Duration::from_secs(10);

/// 0: not known; then every connection is kept.
static LIMIT: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static SAID: Mutex<Option<Instant>> = Mutex::new(None);

/// Raises what is allowed to all that may be allowed. Returns how many descriptors that is.
pub fn raise() -> io::Result<u64> {
    let limit = raise_to_hard()?;
    LIMIT.store(limit, Relaxed);
    Ok(limit)
}

#[allow(unsafe_code)]
fn raise_to_hard() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid pointer to what is read or written, for the length of each call.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        // Where it is forbidden the lower limit stands, and is kept to.
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
            limit = raised;
        }
    }
    Ok(limit.rlim_cur)
}

/// A share of what is allowed, for connections to one listener that have not said yet whose they are; within `range`,
/// whose end it is where the limit is not known.
pub fn share(of: u64, range: std::ops::RangeInclusive<usize>) -> usize {
    share_of(LIMIT.load(Relaxed), of, range)
}

fn share_of(limit: u64, of: u64, range: std::ops::RangeInclusive<usize>) -> usize {
    match limit {
        0 => *range.end(),
        limit => usize::try_from(limit / of).unwrap_or(usize::MAX).clamp(*range.start(), *range.end()),
    }
}

/// The first number that a use may not have.
fn ceiling(limit: u64, what: Use) -> u64 {
    let (own, links) = (OWN.min(limit / 8), LINKS.min(limit / 8));
    match what {
        Use::Link => limit - own,
        Use::Upstream | Use::Admin => limit - own - links,
        Use::Client => limit - own - links - limit / 4,
    }
}

/// Whether a connection that was just taken may be kept. If not it must be closed at once: it stands where work has to.
pub fn kept(what: Use, connection: &impl AsFd) -> bool {
    let limit = LIMIT.load(Relaxed);
    let number = connection.as_fd().as_raw_fd().unsigned_abs();
    if limit == 0 || u64::from(number) < ceiling(limit, what) {
        return true;
    }
    REFUSED.fetch_add(1, Relaxed);
    if is_due() {
        tracing::warn!(
            ?what,
            limit,
            "connections are refused: the last descriptors of this process are kept for its work"
        );
    }
    false
}

/// After an error of `accept`: says it, not too often, and waits where trying at once would only spin.
pub async fn accept_failed(listener: &'static str, error: &io::Error) {
    // The client went between its handshake and our taking it: there is nothing to wait for.
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    if is_due() {
        tracing::warn!(listener, %error, "cannot accept connections");
    }
    tokio::time::sleep(PAUSE).await;
}

/// Connections refused since the start.
pub fn refused() -> u64 {
    REFUSED.load(Relaxed)
}

fn is_due() -> bool {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
    if is_due {
        *said = Some(Instant::now());
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_needful_a_use_the_more_it_may_take() {
        for limit in [0, 1, 64, 256, 1_024, 65_536, 1 << 30] {
            let [client, admin, upstream, link] =
                [Use::Client, Use::Admin, Use::Upstream, Use::Link].map(|what| ceiling(limit, what));
            assert!(client <= admin && admin == upstream && upstream <= link && link <= limit, "{limit}");
            if limit >= 64 {
                assert!(client < admin && upstream < link && link < limit && client >= limit / 2, "{limit}");
            }
        }
    }

    #[test]
    fn strangers_share_what_little_there_is() {
        let shares = [0, 256, 1_024, 65_536, u64::MAX].map(|limit| share_of(limit, 16, 32..=1_000));
        assert_eq!(shares, [1_000, 32, 64, 1_000, 1_000]);
    }

    #[test]
    fn what_is_allowed_is_raised() {
        let limit = raise().unwrap();
        assert!(limit > 0);
        let connection = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(kept(Use::Client, &connection), "of {limit} there is one");
    }
}
