//! The service behind a site: unmodified, stateful, and not always well.
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use holdfast::model::{Answer, Header};

use super::history::{Method, Name};
use super::plan::Rates;
use super::rng::{Rng, mix};

/// What a service does with one request, drawn when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    HangUpBefore,
    HangUpAfter,
    /// 500, 502, 503 or 504, with or without having applied it.
    Fails {
        status: u16,
        applies: bool,
    },
    Busy,
}

impl Mood {
    pub fn is_clean(self) -> bool {
        matches!(self, Mood::Well | Mood::Busy)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Upstream {
    pub down: bool,
    pub slow: bool,
    /// Takes what comes and answers nothing of it, though its health check is green.
    pub hangs: bool,
    /// Answers the same at every site: its bodies may be compared.
    pub same_bodies: bool,
    records: BTreeMap<Name, Arc<Answer>>,
    serial: u64,
}

/// What one request did to the service and what it says.
pub struct Served {
    pub applied: bool,
    pub answer: Arc<Answer>,
}

impl Upstream {
    pub fn new(same_bodies: bool) -> Self {
        Self { same_bodies, ..Self::default() }
    }

    /// Its records are as they were; that it is down, slow or hanging is of now.
    pub fn put_back(&mut self, earlier: Upstream) {
        *self = Upstream { down: self.down, slow: self.slow, hangs: self.hangs, ..earlier };
    }

    pub fn mood(&self, rng: &mut Rng, rates: &Rates, unexecuted: &[u16]) -> Mood {
        if rng.chance(rates.hang_up_before) {
            Mood::HangUpBefore
        } else if rng.chance(rates.hang_up_after) {
            Mood::HangUpAfter
        } else if rng.chance(rates.answer_500) {
            Mood::Fails { status: 500, applies: rng.chance(500) && !unexecuted.contains(&500) }
        } else if rng.chance(rates.answer_50x) {
            let status = rng.pick(&[502, 503, 504]);
            Mood::Fails { status, applies: rng.chance(500) && !unexecuted.contains(&status) }
        } else if rng.chance(rates.answer_429) {
            Mood::Busy
        } else {
            Mood::Well
        }
    }

    /// The instant at which the service acts on a request: atomic, as a transaction of its own database is. `own`: what
    /// it adds to the values that it makes.
    pub fn serve(
        &mut self,
        site: usize,
        name: Name,
        method: Method,
        refused: bool,
        honours_keys: bool,
        own: &str,
    ) -> Served {
        if let Some(record) = self.records.get(&name) {
            if honours_keys {
                return Served { applied: false, answer: record.clone() };
            }
            if method == Method::Delete {
                return Served { applied: false, answer: answer(404, Vec::new(), &format!("write {name} is gone")) };
            }
        }
        if refused {
            let status = [400, 404, 409, 422, 501][(mix(u64::from(name)) % 5) as usize];
            return Served { applied: false, answer: answer(status, Vec::new(), &format!("write {name} is refused")) };
        }
        self.serial += 1;
        let location = Header { name: "location".into(), value: format!("/w/{name}{own}").into_bytes() };
        let body = if self.same_bodies {
            format!("write {name}")
        } else {
            format!("write {name} is number {} at site {site}", self.serial)
        };
        let answer = match method {
            Method::Post => answer(201, vec![location], &body),
            _ => answer(200, Vec::new(), &body),
        };
        self.records.insert(name, answer.clone());
        Served { applied: true, answer }
    }

    /// `GET /by-key/{key}`: what a probe finds.
    pub fn look_up(&self, name: Name) -> Option<Arc<Answer>> {
        self.records.get(&name).cloned()
    }
}

/// In what the service of a follower differs from that of the decider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It knows no such client, or no such record, and never will.
    Lasting(u16),
    /// It answers this to the first tries.
    Passing { status: u16, tries: u64 },
    /// It makes values of its own.
    Value,
}

/// Not for a decider: what that answers is what the others are measured by.
pub fn difference(seed: u64, site: usize, name: Name, per_cent: u64) -> Option<Difference> {
    let drawn = mix(seed ^ 0xD1FF ^ (u64::from(name) << 24) ^ ((site as u64) << 56));
    let pick = |of: [u16; 4]| of[(drawn >> 16) as usize % 4];
    (drawn % 100 < per_cent).then(|| match (drawn >> 8) % 3 {
        0 => Difference::Lasting(pick([401, 403, 404, 422])),
        1 => Difference::Passing { status: pick([401, 408, 425, 429]), tries: 1 + (drawn >> 20) % 8 },
        _ => Difference::Value,
    })
}

/// Whether every replica refuses this write: a function of the write alone, so that replicas agree.
pub fn refuses(seed: u64, name: Name, per_cent: u64) -> bool {
    mix(seed ^ (u64::from(name) << 20)) % 100 < per_cent
}

pub fn answer(status: u16, headers: Vec<Header>, body: &str) -> Arc<Answer> {
    Arc::new(Answer { status, headers, body: Bytes::copy_from_slice(body.as_bytes()), omitted: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_honours_keys_applies_once_and_others_as_often_as_asked() {
        let mut service = Upstream::default();
        assert!(service.serve(0, 1, Method::Post, false, true, "").applied);
        let again = service.serve(0, 1, Method::Post, false, true, "");
        assert!(!again.applied);
        assert_eq!(again.answer.status, 201);
        assert!(service.serve(0, 1, Method::Post, false, false, "").applied);
        assert!(service.serve(0, 2, Method::Delete, false, false, "").applied);
        assert_eq!(service.serve(0, 2, Method::Delete, false, false, "").answer.status, 404);
        assert!(!service.serve(0, 3, Method::Put, true, false, "").applied);
        assert!(service.look_up(3).is_none() && service.look_up(2).is_some());
    }
}
