//! The code by which a box joins: `SITE.XXXXX-XXXXX-…`, made at a hub, read aloud or copied at the box.
//!
//! It carries what the box cannot know: whom it is to be, a secret for the hub, and by what to know the hub, before the
//! first byte of the secret leaves. Each group has a sign of its own to check it by, so that a slip of the hand is
//! found where it is, without asking anybody.
use sha2::{Digest as _, Sha256};

use crate::model::SiteName;

pub(crate) const SECRET_BYTES: usize = 16;
const TRUST_BYTES: usize = 16;
/// Of the whole, the site's name with it.
const CHECK_BYTES: usize = 2;
const BYTES: usize = 1 + SECRET_BYTES + TRUST_BYTES + CHECK_BYTES;
const VERSION: u8 = 1;

/// Crockford's: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Five bits each: four of the payload, one to check them by.
const GROUP: usize = 5;
const GROUPS: usize = BYTES * 8 / 5 / (GROUP - 1);
const SIGNS: usize = GROUPS * GROUP;
/// A code has some 150; what is pasted by mistake is not shown.
const TEXT_BYTES_MAX: usize = 1_024;

pub(crate) type Secret = [u8; SECRET_BYTES];

/// What stands for a hub in a code: one authority, and the name of a site that it has signed. Whoever else has a
/// certificate of that authority is not taken for the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trust([u8; TRUST_BYTES]);

impl Trust {
    pub fn of(hub: &str, authority: &[u8]) -> Self {
        let hash = Sha256::new_with_prefix(b"holdfast join\0").chain_update(hub).chain_update([0]);
        let hash = hash.chain_update(authority).finalize();
        Self(hash[..TRUST_BYTES].try_into().expect("SHA-256 has 32 bytes"))
    }

    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    pub fn from_hex(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct JoinCode {
    pub site: SiteName,
    pub secret: Secret,
    pub trust: Trust,
}

/// The secret stands in no log.
impl std::fmt::Debug for JoinCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinCode").field("site", &self.site).field("trust", &self.trust).finish_non_exhaustive()
    }
}

/// What is wrong with a text that should be a code; says nothing of what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    #[error("this is no code: one looks as SITE.XXXXX-XXXXX-…, as `holdfast identity invite SITE` prints it at a hub")]
    Form,
    #[error("the code has {got} letters and digits behind the site's name, and must have {SIGNS}: {hint}")]
    Length { got: usize, hint: String },
    #[error("the code is mistyped at {group:?}, group {at} of {GROUPS}")]
    Mistyped { group: String, at: usize },
    #[error("the code is mistyped: each group is right by itself, so look at the site's name first ({site:?})")]
    Whole { site: String },
    #[error("the code is of a later version of Holdfast (form {0}): upgrade this box")]
    Later(u8),
}

impl JoinCode {
    /// With a new secret.
    pub fn new(site: SiteName, trust: Trust) -> Result<Self, String> {
        let mut secret = Secret::default();
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut secret).map_err(|_| "this machine gives no random numbers".to_owned())?;
        Ok(Self { site, secret, trust })
    }

    /// What a hub keeps of the secret.
    pub fn secret_hash(secret: &Secret) -> [u8; 32] {
        Sha256::new_with_prefix(b"holdfast invite\0").chain_update(secret).finalize().into()
    }

    fn check(site: &SiteName, payload: &[u8]) -> [u8; CHECK_BYTES] {
        let hash = Sha256::new_with_prefix(site.as_str()).chain_update([0]).chain_update(payload).finalize();
        hash[..CHECK_BYTES].try_into().expect("SHA-256 has 32 bytes")
    }

    pub fn to_text(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&self.trust.0);
        let check = Self::check(&self.site, &bytes);
        bytes.extend_from_slice(&check);
        let fives: Vec<u8> = (0..BYTES * 8 / 5).map(|at| five(&bytes, at)).collect();
        let group = |(at, data): (usize, &[u8])| -> String {
            let signs = data.iter().copied().chain([control(at, data)]);
            signs.map(|five| char::from(ALPHABET[usize::from(five)])).collect()
        };
        let groups: Vec<String> = fives.chunks(GROUP - 1).enumerate().map(group).collect();
        format!("{}.{}", self.site, groups.join("-"))
    }

    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let text = text.trim();
        let (site, groups) = text.split_once('.').filter(|_| text.len() <= TEXT_BYTES_MAX).ok_or(CodeError::Form)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if site.is_empty() || site.len() > 64 || !site.bytes().all(is_name) {
            return Err(CodeError::Form);
        }
        let signs: Vec<char> = groups.chars().filter(|sign| *sign != '-' && !sign.is_whitespace()).collect();
        if signs.len() != SIGNS {
            return Err(CodeError::Length { got: signs.len(), hint: odd_group(groups) });
        }
        let mut fives = Vec::with_capacity(SIGNS);
        for (at, group) in signs.chunks(GROUP).enumerate() {
            let values: Option<Vec<u8>> = group.iter().map(|sign| value(*sign)).collect();
            let right = values.filter(|values| control(at, &values[..GROUP - 1]) == values[GROUP - 1]);
            let Some(values) = right else {
                return Err(CodeError::Mistyped { group: group.iter().collect(), at: at + 1 });
            };
            fives.extend_from_slice(&values[..GROUP - 1]);
        }
        let bytes = bytes_of(&fives);
        let (payload, check) = bytes.split_at(BYTES - CHECK_BYTES);
        let site = SiteName::new(site);
        if Self::check(&site, payload) != check {
            return Err(CodeError::Whole { site: site.to_string() });
        }
        if payload[0] != VERSION {
            return Err(CodeError::Later(payload[0]));
        }
        let (secret, trust) = payload[1..].split_at(SECRET_BYTES);
        let secret = secret.try_into().expect("it was split there");
        Ok(Self { site, secret, trust: Trust(trust.try_into().expect("it was split there")) })
    }
}

/// Which group is too short or too long, where the dashes were kept.
fn odd_group(groups: &str) -> String {
    let odd = groups.split('-').enumerate().find(|(_, group)| group.trim().chars().count() != GROUP);
    match odd {
        Some((at, group)) if group.chars().count() <= 2 * GROUP => {
            format!("look at {:?}, group {} of {GROUPS}", group.trim(), at + 1)
        }
        _ => "some are missing, or there are too many".to_owned(),
    }
}

fn value(sign: char) -> Option<u8> {
    let sign = match sign.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        sign => sign,
    };
    ALPHABET.iter().position(|known| char::from(*known) == sign).and_then(|at| u8::try_from(at).ok())
}

/// Five bits of a row of bytes, the first first.
fn five(bytes: &[u8], at: usize) -> u8 {
    (0..5).fold(0, |five, bit| {
        let bit = at * 5 + bit;
        five << 1 | (bytes[bit / 8] >> (7 - bit % 8) & 1)
    })
}

fn bytes_of(fives: &[u8]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for bit in 0..BYTES * 8 {
        bytes[bit / 8] |= (fives[bit / 5] >> (4 - bit % 5) & 1) << (7 - bit % 8);
    }
    bytes
}

/// The sign that four signs are checked by, in the field of 32 elements: another sign in one place, two signs that
/// changed places, and a group at another place are found for certain.
fn control(at: usize, data: &[u8]) -> u8 {
    let place = u8::try_from(at % 32).expect("below 32");
    data.iter().rev().fold(0, |sum, five| double(sum ^ five)) ^ place
}

/// Times x, modulo x⁵ + x² + 1.
fn double(element: u8) -> u8 {
    let doubled = element << 1;
    if doubled & 0x20 == 0 { doubled } else { doubled ^ 0x25 }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> JoinCode {
        let secret = std::array::from_fn(|at| at as u8 * 7 + 1);
        JoinCode { site: SiteName::new("store-042"), secret, trust: Trust::of("cloud", b"an authority") }
    }

    #[test]
    fn a_code_is_read_however_it_was_copied() {
        let code = sample();
        let text = code.to_text();
        assert_eq!(text.len(), "store-042.".len() + SIGNS + GROUPS - 1, "{text}");
        let (site, groups) = text.split_once('.').unwrap();
        let lower = format!("{site}.{}", groups.to_lowercase());
        let letters = format!("{site}.{}", groups.replace('0', "o").replace('1', "l"));
        let capitals = format!("{site}.{}", groups.replace('0', "O").replace('1', "I"));
        for copied in [
            text.clone(),
            format!("  {text}\n"),
            lower,
            letters,
            capitals,
            text.replace('-', " ").replacen("store 042", "store-042", 1),
            format!("{site}.{}", groups.replace('-', "")),
        ] {
            assert_eq!(JoinCode::parse(&copied).as_ref(), Ok(&code), "{copied}");
        }
        assert!(!format!("{code:?}").contains("secret"), "{code:?}");
    }

    #[test]
    fn what_is_mistyped_is_said_and_where() {
        let text = sample().to_text();
        let (_, groups) = text.split_once('.').unwrap();
        let third = groups.split('-').nth(2).unwrap().to_owned();
        let other: String = third.chars().rev().collect();
        let longer = text.replacen(&third, &format!("{third}A"), 1);
        let shorter = text.replacen(&third, &third[1..], 1);
        // what was typed | what is said
        for (typed, said) in [
            (text.replacen(&third, &other, 1), format!("mistyped at {other:?}, group 3 of 14")),
            (text.replacen(&third, "UUUUU", 1), "mistyped at \"UUUUU\", group 3 of 14".to_owned()),
            (text.replacen(&third, "ÄÄÄÄÄ", 1), "mistyped at \"ÄÄÄÄÄ\", group 3 of 14".to_owned()),
            (
                longer,
                format!(
                    "has 71 letters and digits behind the site's name, and must have 70: look at {:?}, group 3",
                    format!("{third}A")
                ),
            ),
            (
                shorter,
                format!(
                    "has 69 letters and digits behind the site's name, and must have 70: look at {:?}, group 3",
                    &third[1..]
                ),
            ),
            (text[..text.len() - 12].to_owned(), "has 60 letters".to_owned()),
            (text.replacen("store-042", "store-043", 1), "look at the site's name first (\"store-043\")".to_owned()),
            (text.replacen("store-042", "Store-042", 1), "look at the site's name first (\"Store-042\")".to_owned()),
            (text.replacen("store-042", "store 042", 1), "this is no code".to_owned()),
            (text.replacen('.', "-", 1), "this is no code".to_owned()),
            (String::new(), "this is no code".to_owned()),
            (".".to_owned(), "this is no code".to_owned()),
            ("store.".to_owned(), "has 0 letters".to_owned()),
            ("x".repeat(100_000), "this is no code".to_owned()),
            (format!("a.{}", "-".repeat(100_000)), "this is no code".to_owned()),
        ] {
            let error = JoinCode::parse(&typed).expect_err(&typed).to_string();
            assert!(error.contains(&said), "{typed}: {error}");
            // Nothing is said of what would be right.
            assert!(!error.contains(&third) || typed.contains(&third), "{error}");
        }
    }

    #[test]
    fn any_one_sign_any_two_that_changed_places_and_any_two_groups_are_found() {
        let text = sample().to_text();
        let start = "store-042.".len();
        let groups: Vec<&str> = text[start..].split('-').collect();
        let with = |at: usize, group: String| {
            let mut changed: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            changed[at] = group;
            JoinCode::parse(&format!("store-042.{}", changed.join("-")))
        };
        for (at, group) in groups.iter().enumerate() {
            for place in 0..GROUP {
                for sign in ALPHABET.iter().map(|sign| char::from(*sign)) {
                    let mut typed: Vec<char> = group.chars().collect();
                    let differs = std::mem::replace(&mut typed[place], sign) != sign;
                    let typed: String = typed.iter().collect();
                    let read = with(at, typed.clone());
                    let found = read == Err(CodeError::Mistyped { group: typed.clone(), at: at + 1 });
                    assert_eq!(found, differs, "{group} {typed}");
                }
                for other in 0..place {
                    let mut typed: Vec<char> = group.chars().collect();
                    typed.swap(place, other);
                    let typed: String = typed.iter().collect();
                    assert_eq!(with(at, typed.clone()).is_err(), typed != *group, "{group} {typed}");
                }
            }
            for other in (0..groups.len()).filter(|other| *other != at) {
                let mut changed = groups.clone();
                changed.swap(at, other);
                assert!(JoinCode::parse(&format!("store-042.{}", changed.join("-"))).is_err());
            }
        }
    }

    #[test]
    fn a_hub_is_known_by_its_authority_and_its_name() {
        let trust = Trust::of("cloud", b"an authority");
        for (hub, authority) in [("cloud", "another"), ("cloud2", "an authority"), ("store", "an authority")] {
            assert_ne!(Trust::of(hub, authority.as_bytes()), trust);
        }
        assert_eq!(Trust::from_hex(&trust.to_hex()), Some(trust));
        for text in ["", "00", &trust.to_hex()[1..], &format!("{}zz", &trust.to_hex()[2..]), &"ä".repeat(16)] {
            assert_eq!(Trust::from_hex(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn codes_come_back(site in "[A-Za-z0-9_-]{1,64}", secret: Secret, trust: [u8; TRUST_BYTES]) {
            let code = JoinCode { site: SiteName::new(site), secret, trust: Trust(trust) };
            prop_assert_eq!(JoinCode::parse(&code.to_text()), Ok(code));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}", groups in "[0-9A-Za-z-]{60,90}") {
            let _ = JoinCode::parse(&text);
            let _ = JoinCode::parse(&format!("store.{groups}"));
        }
    }
}
