//! Which request a write came with, for the lines of log about it: of the last ones that were sent.
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::model::{Request, WriteId};

/// As many as a busy service has under way, and some more.
const KEPT: usize = 1_024;

#[derive(Default)]
pub(super) struct Recent {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    ids: HashMap<WriteId, Box<str>>,
    oldest_first: VecDeque<WriteId>,
}

impl Recent {
    pub fn sent(&self, id: WriteId, request: &Request) {
        let Some(request_id) = request.header("x-request-id").and_then(|value| std::str::from_utf8(value).ok()) else {
            return;
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.ids.insert(id, request_id.into()).is_none() {
            kept.oldest_first.push_back(id);
        }
        if kept.oldest_first.len() > KEPT
            && let Some(oldest) = kept.oldest_first.pop_front()
        {
            kept.ids.remove(&oldest);
        }
    }

    pub fn request_id(&self, id: &WriteId) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.ids.get(id).map(|id| id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Header, LogId};

    #[test]
    fn the_last_ones_are_known_and_no_more_than_that_are_kept() {
        let recent = Recent::default();
        let id = |n| WriteId { log: LogId { store: [1; 16], incarnation: 1 }, n };
        for n in 0..2 * KEPT as u64 {
            let value = format!("r-{n}").into_bytes();
            let headers = vec![Header { name: "x-request-id".into(), value }];
            let text = String::new;
            let (method, target, authority) = (text(), text(), text());
            let request = Request { method, target, authority, headers, body: Default::default() };
            recent.sent(id(n), &request);
            recent.sent(id(n), &request);
        }
        let last = 2 * KEPT as u64 - 1;
        assert_eq!(recent.request_id(&id(last)), Some(format!("r-{last}")));
        assert_eq!(recent.request_id(&id(0)), None);
        assert_eq!(recent.kept.lock().unwrap().ids.len(), KEPT);
    }
}
