//! A request as the client sent it, kept byte for byte for shadows and replays.
use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

/// One header line, name and value as they came. Names are the same in any case.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Header {
    pub name: String,
    pub value: Vec<u8>,
}

/// A write's request. Hop-by-hop headers and everything named `Holdfast-*` are already gone.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Request {
    pub method: String,
    /// Path and query, origin-form.
    pub target: String,
    /// What the client called the service (`Host` or `:authority`).
    pub authority: String,
    /// In the order in which they came; repeated names repeat.
    pub headers: Vec<Header>,
    pub body: Bytes,
}

impl Request {
    /// What it costs to keep it, for limits in bytes.
    pub fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|h| h.name.len() + h.value.len() + 16).sum();
        128 + self.target.len() + headers + self.body.len()
    }
    /// Whether RFC 9110 section 9.2.2 lets a write be sent again: PUT and DELETE.
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method.as_str(), "PUT" | "DELETE")
    }
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_slice())
    }
}
