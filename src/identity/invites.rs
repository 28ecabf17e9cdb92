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
use super::files::read_text;
use crate::model::SiteName;

/// Below the data directory.
pub const FILE: &str = "invites.json";
/// What cannot be used is kept under this, with a number.
const ASIDE: &str = ".damaged-";
const ASIDE_MAX: u32 = 9;
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
    /// It is there, and is not overwritten.
    #[error("{0}")]
    Damaged(String),
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
            Refused::NotKept(_) => Self::NOT_KEPT,
        }
    }

    /// The disk of the hub, and not the code.
    pub const NOT_KEPT: &str = "not-kept";
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
    /// Why the file that is there is not used, where it could not be moved aside: it is not written, either.
    stuck: Option<String>,
    open: Mutex<BTreeMap<SiteName, Invite>>,
}

impl std::fmt::Debug for Invites {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invites").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Invites {
    /// A file that cannot be read invites nobody, and is moved aside: an operator looks at it and makes new codes, and
    /// the site serves.
    pub fn open(path: PathBuf, me: SiteName, listed: &[SiteName]) -> Self {
        let (mut stuck, mut open) = (None, BTreeMap::new());
        match read(&path) {
            Ok(read) => open = read,
            Err(why) => match move_aside(&path) {
                Ok(aside) => {
                    let (path, aside) = (path.display(), aside.display());
                    tracing::error!("{path} {why}: moved aside to {aside}; codes that were made before open nothing");
                }
                Err(error) => {
                    let (path, right) = (path.display(), "move it away, and start anew");
                    let why = format!("{path} {why}, and cannot be moved aside ({error}): nobody can join; {right}");
                    tracing::error!("{why}");
                    stuck = Some(why);
                }
            },
        }
        let mut listed = listed.to_vec();
        listed.sort();
        Self { path, me, listed, stuck, open: Mutex::new(open) }
    }

    /// What a person must know of the file: until those that were moved aside are taken away.
    pub fn trouble(&self) -> Vec<String> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        self.stuck.iter().cloned().chain(aside(folder).iter().map(|path| of_aside(path))).collect()
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
        if let Some(why) = &self.stuck {
            return Err(InviteError::Damaged(why.clone()));
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

/// What the files below a data directory say, to people.
#[derive(Debug, Default)]
pub struct Told {
    pub invited: Vec<Invited>,
    /// A file that cannot be used, or was moved aside for that: what it is, and what to do.
    pub trouble: Vec<String>,
}

/// Who was invited; nobody where there is no file.
pub fn invited(data_dir: &Path) -> Told {
    let path = data_dir.join(FILE);
    let mut trouble: Vec<String> = aside(data_dir).iter().map(|path| of_aside(path)).collect();
    let invited = match read(&path) {
        Ok(read) => read.iter().map(|(site, invite)| shown(site, invite)).collect(),
        Err(why) => {
            let right = "a start moves it aside, and codes that were made before open nothing: `holdfast identity \
                         invite SITE` makes others";
            trouble.push(format!("{} {why}; {right}", path.display()));
            Vec::new()
        }
    };
    Told { invited, trouble }
}

fn of_aside(path: &Path) -> String {
    format!(
        "{} was no file of invitations, and was moved aside: codes that were made before it open nothing; make others, \
         and take it away when nobody needs it",
        path.display()
    )
}

/// To a name that nothing else has.
fn move_aside(path: &Path) -> std::io::Result<PathBuf> {
    for n in 1..=ASIDE_MAX {
        let aside = path.with_file_name(format!("{FILE}{ASIDE}{n}"));
        if aside.symlink_metadata().is_err() {
            return std::fs::rename(path, &aside).map(|()| aside);
        }
    }
    Err(std::io::Error::other(format!("there are {ASIDE_MAX} such files already")))
}

fn aside(folder: &Path) -> Vec<PathBuf> {
    let at = |n: u32| folder.join(format!("{FILE}{ASIDE}{n}"));
    (1..=ASIDE_MAX).map(at).filter(|path| path.symlink_metadata().is_ok()).collect()
}

fn read(path: &Path) -> Result<BTreeMap<SiteName, Invite>, String> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let none = |why: &dyn std::fmt::Display| format!("is no file of invitations: {why}");
    let named: BTreeMap<String, Invite> = serde_json::from_str(&text).map_err(|error| none(&error))?;
    let invite = |(site, invite): (String, Invite)| {
        let is_name = (1..=64).contains(&site.len())
            && site.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        match is_name && unhex::<32>(&invite.secret).is_some() {
            true => Ok((SiteName::new(site), invite)),
            false => Err(none(&format!("{site:?} is no site with the hash of a code"))),
        }
    };
    named.into_iter().map(invite).collect()
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
        let told = invited(folder.path());
        assert_eq!((told.invited.len(), told.trouble.len()), (1, 0), "{told:?}");
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
    fn a_file_that_is_no_such_file_invites_nobody_and_is_kept_and_new_codes_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let hash = hex(&[0; 32]);
        let escapes = format!("{{\"a\\u001b[2J\":{{\"secret\":\"{hash}\",\"until_s\":1,\"used\":null}}}}");
        let texts = [
            "",
            "[]",
            "{\"a\":{}}",
            "{\"a\":{\"secret\":\"zz\",\"until_s\":9223372036854775807,\"used\":null}}",
            escapes.as_str(),
        ];
        for (before, text) in texts.into_iter().enumerate() {
            std::fs::write(&path, text).unwrap();
            // Before a start it is named, and what a start does with it.
            let told = invited(folder.path());
            let said = told.trouble.last().unwrap();
            assert!(said.starts_with(&path.display().to_string()) && said.contains("a start moves it aside"), "{said}");
            assert!(!said.contains('\u{1b}') && told.trouble.len() == before + 1, "{said:?}");
            let invites = Invites::open(path.clone(), site("cloud"), &["cloud", "a"].map(site));
            let aside = folder.path().join(format!("invites.json.damaged-{}", before + 1));
            assert_eq!(std::fs::read_to_string(&aside).unwrap(), text, "as it was");
            let trouble = invites.trouble();
            assert_eq!(trouble.len(), before + 1, "{trouble:?}");
            assert!(trouble[before].contains(&aside.display().to_string()), "{trouble:?}");
            assert_eq!(
                invites.redeem(&site("a"), &[0; 16], &[0; 32], NOW).unwrap_err().code(),
                "unknown-code",
                "{text}"
            );
            invites.invite(&site("a"), &JoinCode::secret_hash(&[1; 16]), 1, NOW).unwrap();
            assert!(invites.redeem(&site("a"), &[1; 16], &[0; 32], NOW).is_ok());
        }
        // Where it cannot be moved, nothing is written over it.
        for n in 1..=ASIDE_MAX {
            std::fs::write(folder.path().join(format!("{FILE}{ASIDE}{n}")), "").unwrap();
        }
        std::fs::write(&path, "damaged").unwrap();
        let invites = Invites::open(path.clone(), site("cloud"), &["cloud", "a"].map(site));
        let error = invites.invite(&site("a"), &[0; 32], 1, NOW).unwrap_err();
        assert!(matches!(error, InviteError::Damaged(_)), "{error}");
        assert!(invites.trouble()[0].contains("cannot be moved aside"), "{:?}", invites.trouble());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "damaged");
        // Whoever has taken them away is told nothing more.
        std::fs::remove_file(&path).unwrap();
        (1..=ASIDE_MAX).for_each(|n| std::fs::remove_file(folder.path().join(format!("{FILE}{ASIDE}{n}"))).unwrap());
        assert!(Invites::open(path, site("cloud"), &[]).trouble().is_empty());
    }
}
