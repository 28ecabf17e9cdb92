//! Who a site is: its certificate, the authorities that it trusts, and the one rule for both planes.
//!
//! **The rule.** A certificate speaks for the one site of the realm whose name it bears as a DNS name (SAN), whatever
//! host was dialled and whatever its subject says. Links and control both ask this room, so they cannot differ.
//!
//! Owns the three files of `[identity]`, what was read of them, and when they end. May assume nothing about the files:
//! somebody may be replacing them at this moment. Promises that whoever opens a connection gets the newest pair that
//! was whole ([`Credentials`]), that a bad new pair keeps the old one and is said once, and that an end is told long
//! before. A crash costs nothing: it writes nothing but what a person orders ([`Authority`]), and what a hub must not
//! forget of its invitations ([`Invites`]).
mod authority;
mod code;
mod credentials;
mod ends;
mod examine;
mod expiry;
mod files;
mod invites;
mod joining;
mod loaded;
mod names;
mod request;
#[cfg(test)]
pub(crate) mod tests;
mod verify;

pub use authority::{Authority, AuthorityError, Issued, Renewals};
pub use code::CodeError;
pub(crate) use code::{JoinCode, Trust, unhex};
pub use credentials::{Credentials, Standing};
pub use ends::{Ends, NearEnd};
pub(crate) use examine::span;
pub use examine::{EXPIRES_SOON_S, Finding, Grade, Shown, examine, examine_listener, examine_renewals, show};
pub(crate) use expiry::{Validity, end_s, now_s};
pub(crate) use files::read as read_file;
pub use files::{Files, IdentityError};
pub(crate) use invites::{FILE as INVITES_FILE, HOURS_MAX, Refused};
pub use invites::{InviteError, Invited, Invites, Told, invited};
pub(crate) use joining::Joining;
pub(crate) use loaded::{Identity, Plane};
pub(crate) use request::Request;
pub(crate) use verify::{HubVerifier, JOIN_PROTOCOL};
