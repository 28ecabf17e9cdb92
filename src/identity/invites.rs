//! Who may join: one open invitation for each site, in a file of the hub. It holds no secret, only a hash of it, and
//! the use of a code is on the disk before anything is signed for it.
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::code::{JoinCode, Secret, hex, unhex};
use super::examine::date;
use crate::model::SiteName;

/// Below the data directory.
pub const FILE: &str = "invites.json";
/// A file of all sites of a large fleet has less.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// A code that nobody uses for so long is one that somebody else finds.
pub const HOURS_MAX: u32 = 30 * 24;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Used {
    at_s: i64,
    /// SHA-256 of the key that it was used for.
    key: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Invite {
    /// Of [`JoinCode::secret_hash`].
    secret: String,
    until_s: i64,
    used: Option<Used>,
}

#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    #[error("site {0} is not listed in [realm] sites")]
    NotListed(SiteName),
    #[error("{0} is this site itself")]
    Myself(SiteName),
    #[error("a code is good for 1 to {HOURS_MAX} hours, not {0}")]
    Hours(u32),
    #[error("{path} cannot be written: {source}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// Why a code opens nothing. Who has not shown the secret learns [`Refused::Unknown`] and no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("this code is not known here: it is of another hub, or a later code for the same site has replaced it")]
    Unknown,
    #[error("this code was used on {at} by a box with another key; a code is good for one box")]
    Used { at: String },
    #[error("this code was good until {until}")]
    Expired { until: String },
    #[error("site {0} is no longer listed in [realm] sites of the hub")]
    NotListed(SiteName),
    #[error("the hub cannot keep a record of it: {0}")]
    NotKept(InviteError),
}

impl Refused {
    /// Stable, for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Refused::Unknown => "unknown-code",
            Refused::Used { .. } => "used-code",
            Refused::Expired { .. } => "expired-code",
            Refused::NotListed(_) => "site-not-listed",
            Refused::NotKept(_) => "not-kept",
        }
    }
}

/// One invitation, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invited {
    pub site: SiteName,
    pub until: String,
    pub until_s: i64,
    pub used: Option<String>,
}

pub struct Invites {
    path: PathBuf,
    me: SiteName,
    /// All sites of the realm; only for those is there an invitation.
    listed: Vec<SiteName>,
    open: Mutex<BTreeMap<SiteName, Invite>>,
}

impl std::fmt::Debug for Invites {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invites").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Invites {
    /// A file that cannot be read invites nobody: an operator makes new codes, and the site serves.
    pub fn open(path: PathBuf, me: SiteName, listed: &[SiteName]) -> Self {
        let open = read(&path).unwrap_or_else(|why| {
            tracing::error!("{}: {why}; codes that were made before open nothing", path.display());
            BTreeMap::new()
        });
        let mut listed = listed.to_vec();
        listed.sort();
        Self { path, me, listed, open: Mutex::new(open) }
    }

    fn guard(&self) -> MutexGuard<'_, BTreeMap<SiteName, Invite>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_listed(&self, site: &SiteName) -> bool {
        self.listed.binary_search(site).is_ok()
    }

    /// A new invitation, in place of an earlier one for the same site. Blocks.
    pub fn invite(
        &self,
        site: &SiteName,
        secret_hash: &[u8; 32],
        hours: u32,
        now_s: i64,
    ) -> Result<Invited, InviteError> {
        if *site == self.me {
            return Err(InviteError::Myself(site.clone()));
        }
        if !self.is_listed(site) {
            return Err(InviteError::NotListed(site.clone()));
        }
        if !(1..=HOURS_MAX).contains(&hours) {
            return Err(InviteError::Hours(hours));
        }
        let until_s = now_s.saturating_add(i64::from(hours) * 3_600);
        let invite = Invite { secret: hex(secret_hash), until_s, used: None };
        let mut open = self.guard();
        let mut changed = open.clone();
        // Whoever is no longer listed cannot join: nothing is kept for him.
        changed.retain(|site, _| self.is_listed(site));
        let shown = shown(site, &invite);
        changed.insert(site.clone(), invite);
        self.keep(&changed)?;
        *open = changed;
        Ok(shown)
    }

    /// Whether this is the secret of the invitation for this site, and it may still be used by some key.
    pub(crate) fn knows(&self, site: &SiteName, secret: &Secret, now_s: i64) -> Result<(), Refused> {
        self.judge(&self.guard(), site, secret, None, now_s)
    }

    fn judge(
        &self,
        open: &BTreeMap<SiteName, Invite>,
        site: &SiteName,
        secret: &Secret,
        key: Option<&str>,
        now_s: i64,
    ) -> Result<(), Refused> {
        let invite = open.get(site).ok_or(Refused::Unknown)?;
        let kept: [u8; 32] = unhex(&invite.secret).ok_or(Refused::Unknown)?;
        // How long this takes says something about a hash of what nobody can guess, and nothing of the secret.
        if JoinCode::secret_hash(secret) != kept {
            return Err(Refused::Unknown);
        }
        if !self.is_listed(site) {
            return Err(Refused::NotListed(site.clone()));
        }
        if let (Some(used), Some(key)) = (&invite.used, key)
            && used.key != key
        {
            return Err(Refused::Used { at: date(used.at_s) });
        }
        match now_s >= invite.until_s {
            true => Err(Refused::Expired { until: date(invite.until_s) }),
            false => Ok(()),
        }
    }

    /// Uses an invitation for a key. The same key may come again until its end: its answer may have been lost. Blocks.
    pub(crate) fn redeem(
        &self,
        site: &SiteName,
        secret: &Secret,
        key_hash: &[u8; 32],
        now_s: i64,
    ) -> Result<(), Refused> {
        let mut open = self.guard();
        let key = hex(key_hash);
        self.judge(&open, site, secret, Some(&key), now_s)?;
        let mut changed = open.clone();
        if let Some(invite) = changed.get_mut(site).filter(|invite| invite.used.is_none()) {
            invite.used = Some(Used { at_s: now_s, key });
            self.keep(&changed).map_err(Refused::NotKept)?;
            *open = changed;
        }
        Ok(())
    }

    /// It is on the disk when this returns.
    fn keep(&self, open: &BTreeMap<SiteName, Invite>) -> Result<(), InviteError> {
        let named: BTreeMap<&str, &Invite> = open.iter().map(|(site, invite)| (site.as_str(), invite)).collect();
        let text = serde_json::to_string_pretty(&named).expect("texts and numbers always serialise");
        let new = self.path.with_extension("json.new");
        let written = || {
            // What a crash left is worth nothing.
            let _ = std::fs::remove_file(&new);
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            std::fs::File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        written().map_err(|source| InviteError::Write { path: self.path.clone(), source })
    }
}

fn shown(site: &SiteName, invite: &Invite) -> Invited {
    let used = invite.used.as_ref().map(|used| date(used.at_s));
    Invited { site: site.clone(), until: date(invite.until_s), until_s: invite.until_s, used }
}

/// What is in the file, for people; none where there is none.
pub fn invited(data_dir: &Path) -> Result<Vec<Invited>, String> {
    Ok(read(&data_dir.join(FILE))?.iter().map(|(site, invite)| shown(site, invite)).collect())
}

fn read(path: &Path) -> Result<BTreeMap<SiteName, Invite>, String> {
    use std::io::Read as _;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    let named: BTreeMap<String, Invite> =
        serde_json::from_str(&text).map_err(|error| format!("is no file of invitations: {error}"))?;
    Ok(named.into_iter().map(|(site, invite)| (SiteName::new(site), invite)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_600;

    fn site(name: &str) -> SiteName {
        SiteName::new(name)
    }

    #[test]
    fn a_code_is_for_one_site_one_key_and_some_hours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let open = || Invites::open(path.clone(), site("cloud"), &["cloud", "a", "b"].map(site));
        let invites = open();
        let (of_a, of_b): (Secret, Secret) = ([1; 16], [2; 16]);
        let invite =
            |name: &str, secret: &Secret| invites.invite(&site(name), &JoinCode::secret_hash(secret), 24, NOW).unwrap();
        assert_eq!(invite("a", &of_a).until_s, NOW + 24 * 3_600);
        invite("b", &of_b);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&hex(&of_a)) && text.contains(&hex(&JoinCode::secret_hash(&of_a))), "{text}");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let (one, other) = ([3; 32], [4; 32]);
        let later = NOW + 24 * 3_600;
        // It lasts over a restart, as does its use.
        let refused = |name: &str, secret: &Secret, key: &[u8; 32], now_s: i64| {
            open().redeem(&site(name), secret, key, now_s).err().map(|refused| refused.code())
        };
        // site | secret | key | when | refused
        for (name, secret, key, now_s, expected) in [
            ("a", &of_b, &one, NOW, Some("unknown-code")),
            ("b", &of_a, &one, NOW, Some("unknown-code")),
            ("c", &of_a, &one, NOW, Some("unknown-code")),
            ("cloud", &of_a, &one, NOW, Some("unknown-code")),
            ("a", &[9; 16], &one, later, Some("unknown-code")),
            ("a", &of_a, &one, later, Some("expired-code")),
            ("a", &of_a, &one, NOW, None),
            // The box asks again: its answer was lost.
            ("a", &of_a, &one, later - 1, None),
            ("a", &of_a, &other, NOW, Some("used-code")),
            ("a", &of_a, &other, later, Some("used-code")),
            ("a", &of_a, &one, later, Some("expired-code")),
            ("b", &of_b, &other, NOW, None),
        ] {
            assert_eq!(refused(name, secret, key, now_s), expected, "{name} {secret:?} {key:?} {now_s}");
            let knows = open().knows(&site(name), secret, now_s).err().map(|refused| refused.code());
            assert_eq!(knows == Some("unknown-code"), expected == Some("unknown-code"), "{name} {secret:?}");
        }
        // A new one for the same site takes the old one's place, used or not.
        open().invite(&site("a"), &JoinCode::secret_hash(&[7; 16]), 1, NOW).unwrap();
        assert_eq!(refused("a", &of_a, &one, NOW), Some("unknown-code"));
        assert_eq!(refused("a", &[7; 16], &one, NOW), None);
        // Whoever is taken out of the list does not come in, and is told so.
        let fewer = Invites::open(path.clone(), site("cloud"), &["cloud", "a"].map(site));
        let refused = fewer.redeem(&site("b"), &of_b, &other, NOW).unwrap_err();
        assert_eq!(refused.code(), "site-not-listed");
        fewer.invite(&site("a"), &[0; 32], 1, NOW).unwrap();
        assert_eq!(invited(folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn nobody_is_invited_who_may_not_join() {
        let folder = tempfile::tempdir().unwrap();
        let invites = Invites::open(folder.path().join(FILE), site("cloud"), &["cloud", "a"].map(site));
        // site | hours | why not
        for (name, hours, why) in [
            ("b", 1, "site b is not listed in [realm] sites"),
            ("cloud", 1, "cloud is this site itself"),
            ("a", 0, "1 to 720 hours, not 0"),
            ("a", 721, "1 to 720 hours, not 721"),
            ("a", u32::MAX, "1 to 720 hours"),
        ] {
            let error = invites.invite(&site(name), &[0; 32], hours, NOW).unwrap_err().to_string();
            assert!(error.contains(why), "{name} {hours}: {error}");
        }
        assert!(invites.invite(&site("a"), &[0; 32], 1, i64::MAX).is_ok());
        assert!(!folder.path().join(FILE).with_extension("json.new").exists());
        let gone = Invites::open(folder.path().join("none").join(FILE), site("cloud"), &["cloud", "a"].map(site));
        let error = gone.invite(&site("a"), &JoinCode::secret_hash(&[1; 16]), 1, NOW).unwrap_err();
        assert!(matches!(error, InviteError::Write { .. }), "{error}");
        // What could not be kept was not made.
        assert_eq!(gone.redeem(&site("a"), &[1; 16], &[0; 32], NOW).unwrap_err().code(), "unknown-code");
    }

    #[test]
    fn a_file_that_is_no_such_file_invites_nobody_and_new_codes_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for text in
            ["", "[]", "{\"a\":{}}", "{\"a\":{\"secret\":\"zz\",\"until_s\":9223372036854775807,\"used\":null}}"]
        {
            std::fs::write(&path, text).unwrap();
            let invites = Invites::open(path.clone(), site("cloud"), &["cloud", "a"].map(site));
            assert_eq!(
                invites.redeem(&site("a"), &[0; 16], &[0; 32], NOW).unwrap_err().code(),
                "unknown-code",
                "{text}"
            );
            invites.invite(&site("a"), &JoinCode::secret_hash(&[1; 16]), 1, NOW).unwrap();
            assert!(invites.redeem(&site("a"), &[1; 16], &[0; 32], NOW).is_ok());
        }
    }
}
