//! The handshake of a link. The layout of [`Hello`] never changes: an older site must be able to read who speaks and
//! which protocol, and say clearly why it refuses.
use std::collections::BTreeMap;

use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

use super::envelope::{read_value, seal};
use super::{Error, Kind, open};
use crate::model::SiteName;

/// A site has a few dozen services with a few keys each.
const BYTES_MAX: usize = 1 << 20;

/// What both sides must agree on for one service: for each key of its definition a short hash of the value.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Terms {
    pub service: String,
    pub keys: BTreeMap<String, u64>,
}

/// What the dialling side says first.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Hello {
    /// Of everything that is said after the handshake.
    pub protocol: u16,
    pub realm: String,
    pub site: SiteName,
    /// Whom it means to have dialled.
    pub to: SiteName,
    /// Another one after each start of the process.
    pub boot: [u8; 16],
    /// Name and version of the software, for people.
    pub software: String,
    pub services: Vec<Terms>,
    /// The store it writes to: the same one after a restart, another one where two processes run under one name.
    pub store: [u8; 16],
}

/// A service whose exchange is stopped, and the keys whose values differ.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite, serde::Serialize)]
pub struct Difference {
    pub service: String,
    pub keys: Vec<String>,
}

/// The answer to a [`Hello`] that was not refused.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Welcome {
    pub site: SiteName,
    pub boot: [u8; 16],
    pub software: String,
    pub differs: Vec<Difference>,
    pub store: [u8; 16],
}

/// Services of one site, and keys of one service: what a person can have written.
const SERVICES_MAX: usize = 4_096;
const KEYS_MAX: usize = 1_024;
/// Names of sites, realms, services and keys, and what a peer's software calls itself; all of it is shown to people.
const TEXT_BYTES_MAX: usize = 255;

/// What no site says in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {got}, at most {max} are accepted")]
pub struct TooMuch {
    what: &'static str,
    got: usize,
    max: usize,
}

pub(super) fn at_most(what: &'static str, got: usize, max: usize) -> Result<(), TooMuch> {
    if got > max { Err(TooMuch { what, got, max }) } else { Ok(()) }
}

fn texts<'t>(all: impl IntoIterator<Item = &'t String>) -> Result<(), TooMuch> {
    all.into_iter().try_for_each(|text| at_most("the length of a name", text.len(), TEXT_BYTES_MAX))
}

impl Hello {
    pub fn check(&self) -> Result<(), TooMuch> {
        texts([&self.realm, &self.site.0, &self.to.0, &self.software])?;
        at_most("the number of services", self.services.len(), SERVICES_MAX)?;
        self.services.iter().try_for_each(|terms| {
            at_most("the number of keys", terms.keys.len(), KEYS_MAX)?;
            texts(terms.keys.keys().chain([&terms.service]))
        })
    }
}

impl Welcome {
    pub fn check(&self) -> Result<(), TooMuch> {
        texts([&self.site.0, &self.software])?;
        at_most("the number of differences", self.differs.len(), SERVICES_MAX)?;
        self.differs.iter().try_for_each(|differs| {
            at_most("the number of keys", differs.keys.len(), KEYS_MAX)?;
            texts(differs.keys.iter().chain([&differs.service]))
        })
    }
}

pub fn encode_hello(hello: &Hello) -> Result<Bytes, Error> {
    seal(Kind::Hello, "hello", hello)
}

pub fn decode_hello(envelope: &[u8]) -> Result<Hello, Error> {
    read_value("hello", open(envelope, Kind::Hello, BYTES_MAX)?)
}

pub fn encode_welcome(welcome: &Welcome) -> Result<Bytes, Error> {
    seal(Kind::Welcome, "welcome", welcome)
}

pub fn decode_welcome(envelope: &[u8]) -> Result<Welcome, Error> {
    read_value("welcome", open(envelope, Kind::Welcome, BYTES_MAX)?)
}
