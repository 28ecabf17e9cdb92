//! JSON Pointer (RFC 6901) without building the document: a body of many small values costs no more memory than its
//! bytes. Pure.
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The text, number or truth value at `pointer`, as text. `None`: there is none, or this is no JSON.
pub fn scalar(json: &[u8], pointer: &str) -> Option<String> {
    let path: Vec<String> =
        pointer.strip_prefix('/')?.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let found = At(&path).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found.filter(|text| !text.is_empty())
}

/// Goes the rest of the way, past all that is not on it.
struct At<'p>(&'p [String]);

impl At<'_> {
    fn here<T: fmt::Display>(&self, value: T) -> Option<String> {
        self.0.is_empty().then(|| value.to_string())
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<String>;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.here(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.here(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.here(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(serde_json::Number::from_f64(value).and_then(|number| self.here(number)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.here(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((token, rest)) = self.0.split_first() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        let mut found = None;
        while let Some(is_ours) = map.next_key_seed(Is(token))? {
            if is_ours {
                // Of a name that is there twice the last one counts, as almost everywhere.
                found = map.next_value_seed(At(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let index = self.0.first().and_then(|token| index(token));
        let mut found = None;
        let mut at = 0_usize;
        loop {
            if Some(at) == index {
                let Some(value) = list.next_element_seed(At(&self.0[1..]))? else { break };
                found = value;
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
            at += 1;
        }
        Ok(found)
    }
}

fn index(token: &str) -> Option<usize> {
    let sound = token == "0" || (!token.starts_with(['0', '+']) && !token.is_empty());
    token.parse().ok().filter(|_| sound)
}

/// Whether a name is this one; it is looked at where it stands.
struct Is<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_found_as_in_the_whole_document() {
        let documents = [
            r#"{"a":{"b":[1,{"c":"x"},-2.50,true,null,""]},"a/b":7,"m~n":8,"":9,"d":1,"d":{"e":2}}"#,
            r#"[[0,"one"],{"a":1e3},18446744073709551615,-9223372036854775808]"#,
            r#""text""#,
            r#"{"a":1"#,
            r#"{"a":1} x"#,
            "",
        ];
        let pointers = [
            "/a", "/a/b", "/a/b/0", "/a/b/1/c", "/a/b/2", "/a/b/3", "/a/b/4", "/a/b/5", "/a/b/6", "/a/b/01", "/a/b/+1",
            "/a/b/-", "/a~1b", "/m~0n", "/", "/d", "/d/e", "/0/1", "/1/a", "/2", "/3", "/a/b/0/x", "/text",
        ];
        for document in documents {
            for pointer in pointers {
                let whole: Option<serde_json::Value> = serde_json::from_str(document).ok();
                let expected = whole.as_ref().and_then(|value| super::super::parts::scalar(value.pointer(pointer)?));
                assert_eq!(scalar(document.as_bytes(), pointer), expected, "{document} {pointer}");
            }
        }
    }

    #[test]
    fn depth_and_many_values_are_no_trouble() {
        let deep = format!("{{\"x\":{}{},\"a\":1}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(scalar(deep.as_bytes(), "/a").as_deref(), Some("1"));
        assert_eq!(scalar("[".repeat(1 << 20).as_bytes(), "/a"), None);
        let many = format!("[{}1]", "{\"\":0},".repeat(1 << 17));
        assert_eq!(scalar(many.as_bytes(), &format!("/{}", 1 << 17)).as_deref(), Some("1"));
        let path = "/a".repeat(1000);
        let nested = format!("{}1{}", "{\"a\":".repeat(1000), "}".repeat(1000));
        assert_eq!(scalar(nested.as_bytes(), &path), None, "deeper than any parser here goes");
    }
}
