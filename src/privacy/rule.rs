//! One element of `[privacy] mask`.
use std::str::FromStr;

use super::is_header_name;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Tokens of a JSON pointer (RFC 6901).
    Json(Vec<Token>),
    /// In small letters.
    Header(String),
    /// A parameter of a form or a query, in small letters.
    Form(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// `*`: each member, each element.
    Any,
    /// In small letters: some services take a member for the same in any case.
    Name(String),
}

impl Token {
    pub(super) fn takes(&self, name: &str) -> bool {
        match self {
            Token::Any => true,
            Token::Name(known) => *known == name.to_lowercase(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("{0:?} is no mask")]
    Kind(String),
    #[error("{0:?} is no JSON pointer: it does not begin with /")]
    Start(String),
    #[error("{0:?} is no JSON pointer: after ~ stands 0 (for ~) or 1 (for /)")]
    Escape(String),
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    #[error("form: names no parameter")]
    Parameter,
}

impl RuleError {
    pub fn right(&self) -> &'static str {
        "write json:/pointer (* stands for any one member or element), header:NAME or form:NAME"
    }
}

impl FromStr for Rule {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        match text.split_once(':') {
            Some(("json", pointer)) => tokens(pointer).map(Rule::Json),
            Some(("header", name)) if is_header_name(name) => Ok(Rule::Header(name.to_ascii_lowercase())),
            Some(("header", name)) => Err(RuleError::HeaderName(name.to_owned())),
            Some(("form", "")) => Err(RuleError::Parameter),
            Some(("form", name)) => Ok(Rule::Form(name.to_lowercase())),
            _ => Err(RuleError::Kind(text.to_owned())),
        }
    }
}

/// `json:` alone is the whole text.
fn tokens(pointer: &str) -> Result<Vec<Token>, RuleError> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = pointer.strip_prefix('/') else { return Err(RuleError::Start(pointer.to_owned())) };
    let token = |token: &str| {
        if token == "*" {
            return Ok(Token::Any);
        }
        let is_wrong = |(at, _): (usize, &str)| !token[at + 1..].starts_with(['0', '1']);
        if token.match_indices('~').any(is_wrong) {
            return Err(RuleError::Escape(pointer.to_owned()));
        }
        Ok(Token::Name(token.replace("~1", "/").replace("~0", "~").to_lowercase()))
    };
    rest.split('/').map(token).collect()
}
