//! Bodies: text as text, all else by size and hash.
use sha2::{Digest as _, Sha256};

use super::{Privacy, form, hex, json};

/// Of a body that is asked for so much is shown.
pub const BODY_SHOWN_MAX: usize = 64 << 10;
/// To be masked, a body is read whole.
const MASKED_MAX: usize = 4 << 20;

/// As much of a body as a person looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BodyView {
    pub bytes: usize,
    /// `sha256:…`; where bodies are masked `keyed:…`, with a secret of this site. Absent where there is nothing to
    /// hash.
    pub hash: Option<String>,
    /// Where it was asked for, and is text.
    pub text: Option<String>,
    /// What is not shown, and why.
    pub note: Option<String>,
}

impl Privacy {
    pub fn body(&self, content_type: &[u8], body: &[u8], is_wanted: bool) -> BodyView {
        let (text, note) =
            if is_wanted && !body.is_empty() { self.body_text(content_type, body) } else { (None, None) };
        BodyView { bytes: body.len(), hash: (!body.is_empty()).then(|| self.hash(body)), text, note }
    }

    /// A body that was too large to be kept.
    pub fn omitted(&self, digest: &[u8; 32]) -> BodyView {
        let hash = (!self.masks_bodies()).then(|| format!("sha256:{}", hex(digest)));
        BodyView { hash, note: Some("it was too large to be kept".to_owned()), ..BodyView::default() }
    }

    /// By a plain hash of a body that is shown but for one number, that number could be tried out.
    fn hash(&self, body: &[u8]) -> String {
        match self.masks_bodies() {
            true => format!("keyed:{}", hex(&self.keyed(body))),
            false => format!("sha256:{}", hex(&Sha256::digest(body))),
        }
    }

    fn body_text(&self, content_type: &[u8], body: &[u8]) -> (Option<String>, Option<String>) {
        let not = |why: &str| (None, Some(why.to_owned()));
        let Ok(text) = std::str::from_utf8(body) else { return not("it is no text") };
        if text.contains('\0') {
            return not("it is no text");
        }
        if !self.masks_bodies() {
            return cut(text.to_owned(), None);
        }
        if body.len() > MASKED_MAX {
            return not("it is too large to be masked, so it is not shown");
        }
        let (pointers, parameters) = (self.pointers(), self.parameters());
        if !pointers.is_empty()
            && let Some((text, hid)) = json::masked(text, &pointers)
        {
            return cut(text, hid.then_some("masked by privacy.mask"));
        }
        if !parameters.is_empty() && form::is_form(content_type, text) {
            return cut(form::masked(text, &|name| self.masks_parameter(name)), Some("masked by privacy.mask"));
        }
        let kinds = match (pointers.is_empty(), parameters.is_empty()) {
            (false, false) => "neither JSON nor a form",
            (false, true) => "no JSON",
            (true, _) => "no form",
        };
        (None, Some(format!("it is {kinds}, so that privacy.mask finds nothing in it: it is not shown")))
    }
}

fn cut(mut text: String, note: Option<&str>) -> (Option<String>, Option<String>) {
    let mut notes: Vec<String> = note.map(str::to_owned).into_iter().collect();
    if text.len() > BODY_SHOWN_MAX {
        text.truncate(text.floor_char_boundary(BODY_SHOWN_MAX));
        notes.push(format!("the first {} KiB of it", BODY_SHOWN_MAX >> 10));
    }
    (Some(text), (!notes.is_empty()).then(|| notes.join("; ")))
}
