//! Where an order about many writes goes on, as text for whoever asks for the next ones.
use crate::journal::InOrder;
use crate::model::Group;

pub(super) fn to_text(at: &InOrder) -> String {
    let parts = (&at.group.service, &at.group.store, at.id.to_string(), at.position);
    serde_json::to_string(&parts).expect("plain text")
}

pub(super) fn from_text(text: &str) -> Result<InOrder, String> {
    let parts: Option<(String, String, String, Option<u64>)> = serde_json::from_str(text).ok();
    let found = parts.and_then(|(service, store, id, position)| {
        Some(InOrder { group: Group { service, store }, id: id.parse().ok()?, position })
    });
    found.ok_or_else(|| format!("after={text:?} is not what an answer before has given"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LogId, WriteId};

    #[test]
    fn it_comes_back_as_it_went() {
        let group = Group { service: "a/b".to_owned(), store: "\"[".to_owned() };
        for position in [None, Some(7)] {
            let id = WriteId { log: LogId { store: [3; 16], incarnation: 2 }, n: 9 };
            let at = InOrder { group: group.clone(), id, position };
            assert_eq!(from_text(&to_text(&at)), Ok(at));
        }
        for text in ["", "[]", "[\"a\",\"\",\"x\",1]"] {
            assert!(from_text(text).is_err(), "{text}");
        }
    }
}
