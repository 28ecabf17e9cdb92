//! Where a service is reached.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSettings {
    pub host: String,
    pub port: u16,
    /// HTTP/2 with prior knowledge.
    pub h2c: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("endpoint {url:?}: {what}; use http://HOST[:PORT] or h2c://HOST[:PORT]")]
pub struct EndpointError {
    url: String,
    what: &'static str,
}

impl EndpointSettings {
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let error = |what| EndpointError { url: url.to_owned(), what };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| error("no scheme"))?;
        let h2c = match scheme {
            "http" => false,
            "h2c" => true,
            _ => return Err(error("this scheme is not supported")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(error("a path, query or user has no place here"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| error("bad port"))?),
            _ => (authority, 80),
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || port == 0 {
            return Err(error("no host or port 0"));
        }
        Ok(Self { host: host.to_owned(), port, h2c })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_from_urls() {
        let endpoint = |host: &str, port, h2c| Ok(EndpointSettings { host: host.into(), port, h2c });
        for (url, expected) in [
            ("http://127.0.0.1:9001", endpoint("127.0.0.1", 9001, false)),
            ("http://svc", endpoint("svc", 80, false)),
            ("h2c://[::1]:81/", endpoint("::1", 81, true)),
            ("http://[::1]", endpoint("::1", 80, false)),
        ] {
            assert_eq!(EndpointSettings::parse(url), expected);
        }
        for bad in ["", "svc:80", "https://svc", "http://", "http://a/b", "http://a:x", "http://a:0", "http://u@a"] {
            assert!(EndpointSettings::parse(bad).unwrap_err().to_string().contains("use http://"), "{bad}");
        }
    }
}
