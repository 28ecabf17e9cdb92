//! What a box that joins says to a hub, once each way. It comes from strangers: all of it is small.
use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

use super::envelope::{read_small, seal};
use super::hello::{TooMuch, at_most};
use super::{Error, Kind, open};
use crate::model::SiteName;

/// A request has some 300 bytes.
pub const JOIN_BYTES_MAX: usize = 4 << 10;
/// A certificate, those between it and its authority, and a few authorities.
pub const JOINED_BYTES_MAX: usize = 64 << 10;
const NAME_BYTES_MAX: usize = 255;
const CODE_BYTES_MAX: usize = 64;
const DETAIL_BYTES_MAX: usize = 1_024;

/// The hub has been verified before this is sent.
#[derive(Clone, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Join {
    pub site: SiteName,
    /// Of the code.
    pub secret: [u8; 16],
    /// PKCS #10, DER: the key that is to be signed.
    pub request: Vec<u8>,
    /// Name and version of the software, for people.
    pub software: String,
}

/// The secret stands in no log.
impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join").field("site", &self.site).field("software", &self.software).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Joined {
    Given(Given),
    Refused {
        /// Stable, for machines.
        code: String,
        detail: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Given {
    pub hub: SiteName,
    pub realm: String,
    /// PEM, with what stands between it and its authority.
    pub certificate: String,
    /// PEM.
    pub authorities: String,
}

impl Join {
    pub fn check(&self) -> Result<(), TooMuch> {
        at_most("the length of a site's name", self.site.0.len(), NAME_BYTES_MAX)?;
        at_most("the length of a name", self.software.len(), NAME_BYTES_MAX)
    }
}

impl Joined {
    pub fn check(&self) -> Result<(), TooMuch> {
        match self {
            Joined::Given(given) => {
                at_most("the length of a site's name", given.hub.0.len(), NAME_BYTES_MAX)?;
                at_most("the length of a name", given.realm.len(), NAME_BYTES_MAX)
            }
            Joined::Refused { code, detail } => {
                at_most("the length of a code", code.len(), CODE_BYTES_MAX)?;
                at_most("the length of a reason", detail.len(), DETAIL_BYTES_MAX)
            }
        }
    }
}

pub fn encode_join(join: &Join) -> Result<Bytes, Error> {
    seal(Kind::Join, "join", join)
}

pub fn decode_join(envelope: &[u8]) -> Result<Join, Error> {
    read_small("join", open(envelope, Kind::Join, JOIN_BYTES_MAX)?)
}

pub fn encode_joined(joined: &Joined) -> Result<Bytes, Error> {
    seal(Kind::Joined, "answer to a join", joined)
}

pub fn decode_joined(envelope: &[u8]) -> Result<Joined, Error> {
    read_small("answer to a join", open(envelope, Kind::Joined, JOINED_BYTES_MAX)?)
}
