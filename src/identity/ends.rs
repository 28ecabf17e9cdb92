//! The other certificates of a site that end some day: of its authorities, of what a hub signs with, of what clients
//! are shown. Each end is told as long before as that of the site's own ([`super::Credentials`]).
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::credentials::stage;
use super::examine::{EXPIRES_SOON_S, date, show, span};
use super::expiry::now_s;

/// Nobody waits for it; and a new file should be known before somebody wonders.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Certificates of one file that are told of.
const OF_A_FILE_MAX: usize = 16;

/// What stands in one file, and what to do when it ends.
#[derive(Clone, Debug)]
pub struct Watched {
    pub what: &'static str,
    pub path: PathBuf,
    pub right: &'static str,
}

/// One that a person must know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearEnd {
    pub path: PathBuf,
    pub what: String,
    pub left_s: i64,
}

/// Of these the caller tells by itself.
const GATEWAY: &str = "what clients are shown";

#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    what: &'static str,
    right: &'static str,
    path: PathBuf,
    subject: String,
    not_after_s: i64,
}

#[derive(Default)]
struct Known {
    ends: Vec<End>,
    /// By fingerprint: how many of the times to speak were over.
    said: BTreeMap<String, usize>,
}

pub struct Ends {
    watched: Vec<Watched>,
    known: Mutex<Known>,
}

impl Ends {
    /// All that the configuration names; what cannot be read is said where it is used.
    pub fn of(ca: Option<PathBuf>, renewals: Option<PathBuf>, gateway: Option<PathBuf>) -> Arc<Self> {
        let one = |path: Option<PathBuf>, what, right| path.map(|path| Watched { what, path, right });
        let watched = [
            one(ca, "the authority", "make another, and let every site trust both for some time"),
            one(renewals, "what renewals are signed with", "`holdfast identity delegate` makes another"),
            one(gateway, GATEWAY, "replace it, and start anew"),
        ];
        Arc::new(Self { watched: watched.into_iter().flatten().collect(), known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For ever.
    pub async fn watch(self: Arc<Self>) {
        if self.watched.is_empty() {
            return;
        }
        loop {
            let looking = self.clone();
            let _ = tokio::task::spawn_blocking(move || looking.look(now_s())).await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Reads the files, and says what is due. Blocks.
    pub(super) fn look(&self, now_s: i64) {
        let mut ends = Vec::new();
        let mut said = BTreeMap::new();
        for Watched { what, path, right } in &self.watched {
            for shown in show(path, now_s).unwrap_or_default().into_iter().take(OF_A_FILE_MAX) {
                let left_s = shown.left_s;
                let before = self.known().said.get(&shown.fingerprint).copied().unwrap_or(0);
                let stage = stage(left_s);
                let (subject, until) = (&shown.subject, &shown.not_after);
                if stage > before && left_s > 0 {
                    tracing::warn!(
                        "{what} {subject} in {} expires in {}, on {until}: {right}",
                        path.display(),
                        span(left_s)
                    );
                } else if stage > before {
                    tracing::error!("{what} {subject} in {} expired on {until}: {right}", path.display());
                }
                said.insert(shown.fingerprint, stage.max(before));
                ends.push(End {
                    what,
                    right,
                    path: path.clone(),
                    subject: shown.subject,
                    not_after_s: shown.not_after_s,
                });
            }
        }
        *self.known() = Known { ends, said };
    }

    /// What a person should look at; what clients are shown is told of elsewhere.
    pub fn near(&self, now_s: i64) -> Vec<NearEnd> {
        let of = |end: &End| {
            let left_s = end.not_after_s.saturating_sub(now_s);
            let when = match left_s {
                ..=0 => format!("expired on {}", date(end.not_after_s)),
                1..EXPIRES_SOON_S => format!("expires in {}, on {}", span(left_s), date(end.not_after_s)),
                _ => return None,
            };
            let what = format!("{} {} in {} {when}: {}", end.what, end.subject, end.path.display(), end.right);
            Some(NearEnd { path: end.path.clone(), what, left_s })
        };
        self.known().ends.iter().filter(|end| end.what != GATEWAY).filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Authority;
    use super::*;

    #[test]
    fn each_end_is_told_from_thirty_days_on() {
        let folder = tempfile::tempdir().unwrap();
        let made = |name: &str, days| Authority::init(&folder.path().join(name), name, days).unwrap().cert;
        let (long, short, near) = (made("long", 100), made("short", 20), made("near", 3));
        let ends = Ends::of(Some(short.clone()), Some(near.clone()), Some(made("gateway", 2)));
        assert_eq!(ends.near(now_s()), []);
        ends.look(now_s());
        let told = ends.near(now_s());
        assert_eq!(told.iter().map(|end| end.path.clone()).collect::<Vec<_>>(), [short, near.clone()]);
        assert!(
            told[0].what.starts_with("the authority CN=short in ") && told[0].what.contains(" expires in 20 days, on ")
        );
        let signs = &told[1].what;
        assert!(
            signs.starts_with("what renewals are signed with CN=near in ") && signs.contains(" expires in 3 days, on ")
        );
        assert!(signs.ends_with("`holdfast identity delegate` makes another"), "{signs}");
        // A file with two tells of each, and a new one is known.
        std::fs::write(&near, [std::fs::read(&long).unwrap(), std::fs::read(&near).unwrap()].concat()).unwrap();
        ends.look(now_s());
        assert_eq!(ends.near(now_s()).len(), 2);
        std::fs::copy(&long, &near).unwrap();
        ends.look(now_s());
        assert_eq!(ends.near(now_s()).len(), 1);
        let later = now_s() + 101 * 86_400;
        assert!(ends.near(later).iter().all(|end| end.left_s < 0 && end.what.contains(" expired on ")));
        ends.look(later);
        assert_eq!(ends.known().said.values().filter(|stage| **stage == 6).count(), 3);
    }
}
