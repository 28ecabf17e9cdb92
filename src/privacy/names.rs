//! Names of headers and parameters that say what their values are good for.

/// What a name says of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secret {
    /// It proves who asks, or lets who has it do something.
    Credential,
    /// It names a session: in some services that is as good, in others it names a till.
    Session,
}

/// Wherever these stand in a name without its separators (`X-Api-Key`, `apikey`, `userPassword2`).
const PARTS: [&str; 21] = [
    "authorization",
    "authenticationinfo",
    "cookie",
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "credential",
    "token",
    "jwt",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "subscriptionkey",
    "sessionkey",
    "authkey",
    "authcode",
    "userpass",
];
/// As words of their own: within others they mean something else (`author`, `compass`, `spinach`).
const WORDS: [&str; 15] = [
    "auth",
    "authn",
    "authz",
    "oauth",
    "oauth2",
    "oidc",
    "saml",
    "assertion",
    "bearer",
    "pass",
    "pin",
    "otp",
    "totp",
    "sig",
    "signature",
];
const SESSION_PARTS: [&str; 2] = ["sessionid", "sessid"];
const SESSION_WORDS: [&str; 2] = ["session", "sid"];
/// Behind one of these a key opens nothing.
const PLAIN_KEYS: [&str; 11] = [
    "idempotency",
    "cache",
    "surrogate",
    "partition",
    "primary",
    "foreign",
    "routing",
    "sort",
    "public",
    "socket",
    "websocket",
];
/// Behind one of these, or alone, a code lets somebody in.
const CODES: [&str; 9] =
    ["access", "device", "login", "verification", "security", "recovery", "reset", "invite", "invitation"];

pub(super) fn secret(name: &str) -> Option<Secret> {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|sign| sign.to_ascii_lowercase()).collect();
    let words = words(name);
    let has_part = |parts: &[&str]| parts.iter().any(|part| plain.contains(part));
    let has_word = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    if has_part(&PARTS) || has_word(&WORDS) || is_key(&words) || is_code(&words) {
        return Some(Secret::Credential);
    }
    (has_part(&SESSION_PARTS) || has_word(&SESSION_WORDS)).then_some(Secret::Session)
}

fn is_key(words: &[String]) -> bool {
    let is_plain = |at: usize| at.checked_sub(1).is_some_and(|before| PLAIN_KEYS.contains(&words[before].as_str()));
    words.iter().enumerate().any(|(at, word)| word == "key" && !is_plain(at))
}

fn is_code(words: &[String]) -> bool {
    match words {
        [only] => only == "code",
        words => words.windows(2).any(|pair| pair[1] == "code" && CODES.contains(&pair[0].as_str())),
    }
}

/// `X-Auth-User`, `user[pwd]`, `loginCode` and `APIKey` in words of small letters, without the numbers at their ends.
fn words(name: &str) -> Vec<String> {
    let signs: Vec<char> = name.chars().collect();
    let (mut words, mut word) = (Vec::new(), String::new());
    for (at, &sign) in signs.iter().enumerate() {
        let (before, next) = (at.checked_sub(1).map(|before| signs[before]), signs.get(at + 1));
        let is_small = |sign: char| sign.is_lowercase() || sign.is_ascii_digit();
        let begins = sign.is_uppercase()
            && before.is_some_and(|before| is_small(before) || next.is_some_and(|next| next.is_lowercase()));
        if (begins || !sign.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if sign.is_alphanumeric() {
            word.extend(sign.to_lowercase());
        }
    }
    words.push(word);
    let known = |word: String| if WORDS.contains(&word.as_str()) { word } else { without_number(&word) };
    words.into_iter().map(known).filter(|word| !word.is_empty()).collect()
}

fn without_number(word: &str) -> String {
    word.trim_end_matches(|sign: char| sign.is_ascii_digit()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_by_its_words_what_its_value_is_good_for() {
        let credential = Some(Secret::Credential);
        let session = Some(Secret::Session);
        // names | what they say
        for (names, said) in [
            ("pwd pass auth jwt code key userPwd user_pass pass2 db.pass user[pass] PASS", credential),
            ("X-Auth X-Auth-User X-Authz x-oauth2 X-Jwt-Assertion X-Amzn-Oidc-Data Saml-Assertion", credential),
            ("X-Api-Key apikey APIKey api_key X-Functions-Key Ocp-Apim-Subscription-Key clientKey", credential),
            ("Authorization Cookie2 X-CSRF-Token id_token access_token client_secret private-key", credential),
            ("auth_code authCode loginCode otp otpCode pin X-Pin sig X-Amz-Signature x-amz-credential", credential),
            ("sessionid JSESSIONID PHPSESSID X-Session X-Session-Id session_id sid connect.sid", session),
            ("author X-Author authority compass passenger bypass spinach pinned design keyboard monkey turkey", None),
            ("code_of_conduct country_code postcode status-code barcode encode", None),
            ("Idempotency-Key cacheKey Surrogate-Key sort_key Sec-WebSocket-Key keys keyword", None),
            ("Content-Type X-Till side inside sidebar resign authenticate WWW-Authenticate", None),
        ] {
            for name in names.split(' ') {
                assert_eq!(secret(name), said, "{name}");
            }
        }
        assert_eq!((secret(""), secret("[]"), secret("=")), (None, None, None));
    }
}
