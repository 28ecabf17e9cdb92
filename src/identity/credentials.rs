//! The identity as of now: read again while the site runs, and its end told long before.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::authority::Renewals;
use super::examine::{DAY_S, EXPIRES_SOON_S, Finding, Grade, date, examine, naming, span};
use super::expiry::now_s;
use super::files::{Files, IdentityError, read};
use super::loaded::Identity;
use crate::model::SiteName;

/// Files are read again this often: three small ones, from the page cache.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Days before the end at which it is said again.
const SAID_AT_DAYS: [i64; 5] = [30, 14, 7, 3, 1];

/// What a person must know of this site's certificate.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Standing {
    /// When it ends, or a certificate between it and its authority: seconds since 1970.
    pub not_after_s: i64,
    pub cert: PathBuf,
    /// Why the files as they are now are not used: an older pair is.
    pub trouble: Option<String>,
}

impl Standing {
    /// What a person should look at, as of now.
    pub fn reasons(&self) -> Vec<String> {
        let left_s = self.not_after_s.saturating_sub(now_s());
        let (cert, until) = (self.cert.display(), date(self.not_after_s));
        let end = match left_s {
            ..=0 => Some(format!("certificate: {cert} expired on {until}, no link can be opened until it is renewed")),
            1..EXPIRES_SOON_S => Some(format!("certificate: {cert} expires in {}, on {until}: renew it", span(left_s))),
            _ => None,
        };
        let trouble = self.trouble.iter().map(|why| format!("certificate: the new files cannot be used: {why}"));
        end.into_iter().chain(trouble).collect()
    }
}

struct Read {
    identity: Arc<Identity>,
    /// Of the files that `identity` was read from.
    digest: [u8; 32],
}

/// What was said, so that it is said once.
#[derive(Default)]
struct Said {
    /// How many of the days of [`SAID_AT_DAYS`] were over, and the end; of which end.
    stage: (usize, i64),
    /// Files that cannot be used: seen, and whether that was said.
    bad: Option<([u8; 32], bool)>,
    trouble: Option<String>,
}

/// Shared by all who open connections.
pub struct Credentials {
    files: Files,
    me: SiteName,
    listed: Arc<[SiteName]>,
    read: RwLock<Read>,
    said: Mutex<Said>,
    wanted: Notify,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Credentials {
    /// `listed`: all sites of the realm.
    pub fn open(files: Files, me: SiteName, listed: &[SiteName]) -> Result<Arc<Self>, IdentityError> {
        let listed: Arc<[SiteName]> = listed.into();
        let digest = digest(&files);
        let identity = Arc::new(Identity::load(&files, &me, &listed)?);
        let (read, said, wanted) = (RwLock::new(Read { identity, digest }), Mutex::default(), Notify::new());
        Ok(Arc::new(Self { files, me, listed, read, said, wanted }))
    }

    /// For one connection: the next may have another.
    pub(crate) fn current(&self) -> Arc<Identity> {
        self.read.read().unwrap_or_else(PoisonError::into_inner).identity.clone()
    }

    pub fn standing(&self) -> Standing {
        let trouble = self.said.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone();
        Standing { not_after_s: self.current().not_after_s, cert: self.files.cert.clone(), trouble }
    }

    /// All that is to be said of the files as they are now.
    pub fn findings(&self) -> Vec<Finding> {
        examine(&self.files, &self.me, &self.listed, now_s())
    }

    /// Somebody says that there are new files.
    pub fn look_now(&self) {
        self.wanted.notify_one();
    }

    /// For ever: takes up new files, and says how long is left. What is wrong at the start is said at once.
    pub async fn watch(self: Arc<Self>) {
        let once = self.clone();
        let first = move || {
            let found = once.findings();
            // How long is left is said below, in the same words as every day after.
            for finding in found.iter().filter(|finding| !is_end_of(&once, finding)) {
                match finding.grade {
                    Grade::Good => {}
                    Grade::Warning => tracing::warn!("{}: {}", finding.key, finding.text),
                    Grade::Bad => tracing::error!("{}: {}", finding.key, finding.text),
                }
            }
        };
        let _ = tokio::task::spawn_blocking(first).await;
        let mut asked = false;
        loop {
            self.say_how_long(now_s());
            let looking = self.clone();
            let _ = tokio::task::spawn_blocking(move || looking.look(asked)).await;
            self.say_how_long(now_s());
            asked = tokio::select! {
                () = self.wanted.notified() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
        }
    }

    /// Takes up the files where they have changed. Whoever replaces them does it one by one: what does not fit together
    /// is said when it still does not at the second look, or when a person asked for this one. Blocks.
    pub(super) fn look(&self, asked: bool) {
        let now = digest(&self.files);
        let is_known = self.read.read().unwrap_or_else(PoisonError::into_inner).digest == now;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if is_known {
            (said.bad, said.trouble) = (None, None);
            if asked {
                tracing::info!("the certificate files have not changed");
            }
            return;
        }
        match self.load_better() {
            // They are being replaced at this moment.
            Ok(_) if digest(&self.files) != now => {}
            Ok(identity) => {
                let until = date(identity.not_after_s);
                tracing::info!(cert = %self.files.cert.display(), %until, "new certificate taken up; new connections \
                    show it");
                let read = Read { identity: Arc::new(identity), digest: now };
                *self.read.write().unwrap_or_else(PoisonError::into_inner) = read;
                *said = Said::default();
            }
            Err(why) => {
                let seen = said.bad.filter(|(digest, _)| *digest == now);
                let is_said = seen.is_some_and(|(_, is_said)| is_said);
                let is_due = !is_said && (asked || seen.is_some());
                if is_due {
                    tracing::error!("the new certificate files cannot be used, the old ones stay: {why}");
                    said.trouble = Some(why);
                }
                said.bad = Some((now, is_said || is_due));
            }
        }
    }

    /// What the files say now, unless nobody would accept it and the old pair is still good.
    fn load_better(&self) -> Result<Identity, String> {
        let loaded = Identity::load(&self.files, &self.me, &self.listed).map_err(|error| error.to_string())?;
        let is_old_over = self.current().not_after_s <= now_s();
        match self.findings().into_iter().find(|finding| finding.grade == Grade::Bad && !is_old_over) {
            Some(finding) => Err(finding.text),
            None => Ok(loaded),
        }
    }

    /// Signs anew what this site shows, with what it has for others. Blocks.
    pub fn renew_with(&self, renewals: &Renewals) -> Result<(), String> {
        let (pem, _) = renewals.renew(&self.me, self.current().certificate()).map_err(|error| error.to_string())?;
        self.replace(&pem)
    }

    /// Only a third of the certificate's time is left.
    pub fn wants_renewal(&self) -> bool {
        now_s() >= self.current().renew_from_s
    }

    /// Puts a certificate that was signed elsewhere in the place of this one, where it fits the key and is better.
    /// Blocks.
    pub fn replace(&self, pem: &str) -> Result<(), String> {
        let new = self.files.cert.with_extension("pem.new");
        // What an interrupted renewal left is worth nothing.
        let _ = std::fs::remove_file(&new);
        let cannot = |error: std::io::Error| format!("{} cannot be written: {error}", new.display());
        write_new(&new, pem).map_err(cannot)?;
        let files = Files { cert: new.clone(), ..self.files.clone() };
        let fits =
            Identity::load(&files, &self.me, &self.listed).map_err(|error| error.to_string()).and_then(|loaded| {
                let found = examine(&files, &self.me, &self.listed, now_s());
                match found.into_iter().find(|finding| finding.grade == Grade::Bad) {
                    Some(finding) => Err(finding.text),
                    None if loaded.not_after_s <= self.current().not_after_s => Err("it ends no later".to_owned()),
                    None => Ok(()),
                }
            });
        // Nobody would find the name that it has for a moment.
        let fits = fits.map_err(|why| naming(&why, &new, "the certificate given"));
        let placed = fits.and_then(|()| std::fs::rename(&new, &self.files.cert).map_err(cannot));
        if placed.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        placed?;
        self.look(true);
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn look_at_once(&self) {
        self.look(true);
    }

    pub(super) fn say_how_long(&self, now_s: i64) {
        let not_after_s = self.current().not_after_s;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = (stage(not_after_s.saturating_sub(now_s)), not_after_s);
        // A clock that was set back says nothing twice.
        if stage.0 == 0 || (said.stage.1 == not_after_s && said.stage.0 >= stage.0) {
            return;
        }
        said.stage = stage;
        let (path, until, left_s) = (self.files.cert.display(), date(not_after_s), not_after_s.saturating_sub(now_s));
        if left_s > 0 {
            tracing::warn!("the certificate {path} expires in {}, on {until}: renew it", span(left_s));
        } else {
            tracing::error!("the certificate {path} expired on {until}: no link can be opened until it is renewed");
        }
    }
}

/// It is on the disk when this returns.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn is_end_of(credentials: &Credentials, finding: &Finding) -> bool {
    let left_s = credentials.current().not_after_s.saturating_sub(now_s());
    finding.key == "identity.cert" && stage(left_s) > 0 && finding.text.contains(" expire")
}

/// How many of the times to speak are over.
pub(super) fn stage(left_s: i64) -> usize {
    SAID_AT_DAYS.iter().filter(|days| left_s <= **days * DAY_S).count() + usize::from(left_s <= 0)
}

/// Of what is in the files; one that cannot be read counts as empty.
fn digest(files: &Files) -> [u8; 32] {
    let of = |path: &Path| Sha256::digest(read(path).unwrap_or_default());
    let each = [&files.ca, &files.cert, &files.key].map(|path| of(path));
    each.iter().fold(Sha256::new(), |all, one| all.chain_update(one)).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_said_at_thirty_fourteen_seven_three_and_one_days_and_when_it_is_there() {
        let spoken: Vec<i64> = (-1..=40).rev().filter(|day| stage(day * DAY_S) > stage((day + 1) * DAY_S)).collect();
        assert_eq!(spoken, [30, 14, 7, 3, 1, 0]);
    }
}
