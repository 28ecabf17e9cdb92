//! What people are shown of requests and answers, and what not.
//!
//! Owns the masks of the configuration (`[privacy] mask`), the names that say that a header or a parameter holds a
//! credential, and what stands for a lane. It changes what is shown, never what is kept or sent. It may assume nothing
//! of what it is given: clients and services wrote it. It promises that a masked value stands in nothing that it
//! returns: what cannot be read as what a mask speaks of is not shown as text at all, and no hash is given by which a
//! masked value could be guessed. Pure.
mod address;
mod body;
mod differ;
mod form;
mod json;
mod lanes;
mod names;
mod rule;

pub use body::{BODY_SHOWN_MAX, BodyView};
pub use differ::differences;
pub use rule::{Rule, RuleError};

use http::HeaderName;
use sha2::{Digest as _, Sha256};

use names::Secret;
use rule::Token;

/// In the place of a value.
pub const MASKED: &str = "***";

/// Of `Authorization` this much is shown: by what scheme.
const SCHEMES: [&str; 6] = ["Basic", "Bearer", "Digest", "DPoP", "Negotiate", "AWS4-HMAC-SHA256"];
/// What ends the names of headers that hold one address and nothing else, whatever signs stand in it. In all others
/// addresses are masked up to the next blank.
const ADDRESSES: [&str; 7] = ["location", "referer", "destination", "url", "uri", "path", "redirect"];
/// What begins a detail that shows values of `Location`.
const LOCATION_DIFFERS: &str = "Location differs";

/// What is not to be shown at a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    rules: Vec<Rule>,
    /// Headers that name clients (`idempotency.client`), in small letters.
    named: Vec<String>,
    /// Headers that name lanes: whoever configured that says that they name no session.
    lanes: Vec<String>,
    /// Of this site: marks are alike at one site alone, and nobody can try values out.
    secret: [u8; 32],
}

impl Privacy {
    pub fn new(rules: Vec<Rule>, secret: [u8; 32]) -> Self {
        Self { rules, named: Vec::new(), lanes: Vec::new(), secret }
    }

    /// The same, where this header names clients too.
    pub fn and_header(mut self, name: &str) -> Self {
        self.named.push(name.to_ascii_lowercase());
        self
    }

    /// The same, where this header names lanes.
    pub fn and_lane(mut self, name: &str) -> Self {
        self.lanes.push(name.to_ascii_lowercase());
        self
    }

    /// Stands for a value that is not shown: the same for the same value, at this site alone.
    pub fn mark(&self, value: &[u8]) -> String {
        hex(&self.keyed(value)[..6])
    }

    fn keyed(&self, value: &[u8]) -> [u8; 32] {
        let inner = Sha256::new().chain_update(self.secret).chain_update(b"shown").chain_update(value).finalize();
        Sha256::new().chain_update(self.secret).chain_update(inner).finalize().into()
    }

    /// Whether the values of this header are not to be shown.
    pub fn hides_header(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let is_masked = |rule: &Rule| matches!(rule, Rule::Header(masked) if *masked == name);
        let is_secret = match names::secret(&name) {
            Some(Secret::Credential) => true,
            Some(Secret::Session) => !self.lanes.contains(&name),
            None => false,
        };
        is_secret || self.named.contains(&name) || self.rules.iter().any(is_masked)
    }

    /// The value of a header, as text: bytes that are none are written `\xNN`.
    pub fn header(&self, name: &str, value: &[u8]) -> String {
        let name = name.to_ascii_lowercase();
        if self.hides_header(&name) {
            let text = String::from_utf8_lossy(value);
            let scheme = text.split_once(' ').map(|(scheme, _)| scheme).filter(|_| name.ends_with("authorization"));
            let known = scheme.and_then(|scheme| SCHEMES.iter().find(|known| known.eq_ignore_ascii_case(scheme)));
            let is_masked = self.rules.iter().any(|rule| matches!(rule, Rule::Header(masked) if *masked == name));
            return match known.filter(|_| !is_masked) {
                Some(scheme) => format!("{scheme} {MASKED}"),
                None => MASKED.to_owned(),
            };
        }
        let text = text_of(value);
        let is_address = name.rsplit('-').next().is_some_and(|last| ADDRESSES.contains(&last)) || text.starts_with('/');
        if is_address { self.target(&text) } else { self.text(&text) }
    }

    /// A path or an address, with its query.
    pub fn target(&self, target: &str) -> String {
        address::masked(target, &|name| self.hides_parameter(name))
    }

    /// All behind the `?` of an address.
    pub fn query(&self, query: &str) -> String {
        form::masked(query, &|name| self.hides_parameter(name))
    }

    /// What may hold addresses and parameters.
    pub fn text(&self, text: &str) -> String {
        address::text_masked(text, &|name| self.hides_parameter(name))
    }

    fn hides_parameter(&self, name: &str) -> bool {
        names::secret(name).is_some() || self.masks_parameter(name)
    }

    /// By the configuration.
    fn masks_parameter(&self, name: &str) -> bool {
        self.parameters().contains(&name.to_lowercase().as_str())
    }

    /// What was seen of a write in quarantine, and why following stopped: it may name addresses.
    pub fn detail(&self, detail: &str) -> String {
        let hides = self.rules.iter().any(|rule| match rule {
            Rule::Header(name) => name == "location",
            Rule::Form(_) => true,
            Rule::Json(_) => false,
        });
        match detail.find(LOCATION_DIFFERS).filter(|_| hides) {
            Some(at) => format!("{}{LOCATION_DIFFERS} (masked)", &detail[..at]),
            None => self.text(detail),
        }
    }

    /// Whether a value at this place of a JSON text is not to be shown, for itself or as part of another one.
    pub fn hides_json(&self, path: &[&str]) -> bool {
        let hides = |pattern: &[Token]| {
            pattern.len() <= path.len() && pattern.iter().zip(path).all(|(token, name)| token.takes(name))
        };
        self.pointers().into_iter().any(hides)
    }

    fn pointers(&self) -> Vec<&[Token]> {
        let pointers = self.rules.iter().filter_map(|rule| match rule {
            Rule::Json(tokens) => Some(tokens.as_slice()),
            _ => None,
        });
        pointers.collect()
    }

    fn parameters(&self) -> Vec<&str> {
        let names = self.rules.iter().filter_map(|rule| match rule {
            Rule::Form(name) => Some(name.as_str()),
            _ => None,
        });
        names.collect()
    }

    fn masks_bodies(&self) -> bool {
        self.rules.iter().any(|rule| !matches!(rule, Rule::Header(_)))
    }
}

/// As text; bytes that are none are written `\xNN`.
pub fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_header_name(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests;
