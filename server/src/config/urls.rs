//! Lists of URLs, as etcd reads them.

use std::fmt;

pub use ferrite_peer::Scheme;

/// One URL of a list: a scheme, and a host with port or a socket's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub scheme: Scheme,
    /// What stands behind `//`: `host:port`, or host and path of a socket.
    pub address: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.address)
    }
}

impl Url {
    pub fn is_unix(&self) -> bool {
        self.scheme.is_unix()
    }

    pub fn is_secure(&self) -> bool {
        self.scheme.is_secure()
    }

    /// The host, without brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        if self.is_unix() {
            return self.address.split('/').next().unwrap_or_default();
        }
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    pub fn port(&self) -> &str {
        self.address.rsplit_once(':').map_or("", |(_, port)| port)
    }

    /// One URL of a list.
    pub fn parse(text: &str) -> Result<Url, String> {
        let whole = text.trim();
        let refused = |what: &str| Err(format!("{what}: {whole}"));
        const SCHEME: &str = "URL scheme must be http, https, unix, or unixs";
        let known = whole.split_once("://").map(|(scheme, rest)| (Scheme::of_name(&scheme.to_ascii_lowercase()), rest));
        let Some((Some(scheme), rest)) = known else {
            // What Go reads it as: with a scheme, or as a path, which may have no colon before its first slash.
            let (before, segment) =
                (whole.split(':').next().unwrap_or_default(), whole.split('/').next().unwrap_or_default());
            let is_scheme = before.starts_with(|c: char| c.is_ascii_alphabetic())
                && before.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
            if whole.starts_with(':') {
                return Err(format!("parse {whole:?}: missing protocol scheme"));
            }
            if !is_scheme && segment.contains(':') {
                return Err(format!("parse {whole:?}: first path segment in URL cannot contain colon"));
            }
            return refused(SCHEME);
        };
        if scheme.is_unix() {
            return Ok(Url { scheme, address: rest.to_owned() });
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (address, path) = rest.split_at(end);
        let Some((host, port)) = address.rsplit_once(':') else {
            return refused("URL address does not have the form \"host:port\"");
        };
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("parse {whole:?}: invalid port {:?} after host", format!(":{port}")));
        }
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return refused("URL address does not have the form \"host:port\"");
        }
        if !path.is_empty() {
            return refused("URL must not contain a path");
        }
        Ok(Url { scheme, address: address.to_owned() })
    }
}

/// A list of URLs, each once, sorted.
pub fn parse_urls(text: &str) -> Result<Vec<Url>, String> {
    let mut urls = text.split(',').map(Url::parse).collect::<Result<Vec<_>, _>>()?;
    urls.sort_by_key(Url::to_string);
    urls.dedup();
    Ok(urls)
}

pub fn joined(urls: &[Url]) -> String {
    urls.iter().map(Url::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (text, list) in [
            ("http://localhost:2379", Ok("http://localhost:2379")),
            ("http://b:2, http://a:1,http://b:2", Ok("http://a:1,http://b:2")),
            ("https://[::1]:2379", Ok("https://[::1]:2379")),
            ("unix:///run/x.sock", Ok("unix:///run/x.sock")),
            ("unix://localhost:123", Ok("unix://localhost:123")),
            ("http://:2379", Ok("http://:2379")),
            ("ftp://a:1", Err("URL scheme must be http, https, unix, or unixs: ftp://a:1")),
            ("http://a", Err("URL address does not have the form \"host:port\": http://a")),
            ("http://a:1/", Err("URL must not contain a path: http://a:1/")),
            ("127.0.0.1:1", Err("parse \"127.0.0.1:1\": first path segment in URL cannot contain colon")),
            (" :2379", Err("parse \":2379\": missing protocol scheme")),
            ("://a:1", Err("parse \"://a:1\": missing protocol scheme")),
            ("localhost:1", Err("URL scheme must be http, https, unix, or unixs: localhost:1")),
            ("http//a:1", Err("URL scheme must be http, https, unix, or unixs: http//a:1")),
            ("a=http://a:1", Err("parse \"a=http://a:1\": first path segment in URL cannot contain colon")),
            ("http://a:x", Err("parse \"http://a:x\": invalid port \":x\" after host")),
            ("", Err("URL scheme must be http, https, unix, or unixs: ")),
        ] {
            let parsed = parse_urls(text).map(|urls| joined(&urls));
            assert_eq!(parsed.as_deref().map_err(String::as_str), list, "{text:?}");
        }
        let url = &parse_urls("http://[::1]:2379").unwrap()[0];
        assert_eq!((url.host(), url.port()), ("::1", "2379"));
    }
}
