//! The URLs of a peer, and which of them is used.

use std::fmt;
use std::str::FromStr;

/// Where a member listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUrl {
    pub scheme: Scheme,
    /// Host and port; of a `unix` URL, the path of the socket.
    pub address: String,
    /// What stands behind the address, without a slash at its end. Mostly nothing.
    pub prefix: String,
}

/// How something is listened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    /// With TLS.
    Https,
    Unix,
    /// With TLS.
    Unixs,
}

impl Scheme {
    const ALL: [Scheme; 4] = [Scheme::Http, Scheme::Https, Scheme::Unix, Scheme::Unixs];

    /// What stands before `://`.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        }
    }

    /// The scheme of this name, as it is written here.
    pub fn of_name(name: &str) -> Option<Scheme> {
        Scheme::ALL.into_iter().find(|scheme| scheme.name() == name)
    }

    /// Whether it is a socket of the file system.
    pub fn is_unix(self) -> bool {
        matches!(self, Scheme::Unix | Scheme::Unixs)
    }

    /// Whether TLS is spoken there.
    pub fn is_secure(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Unixs)
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.name(), self.address, self.prefix)
    }
}

/// Not a URL that a member can listen at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no URL of a peer: scheme http, https, unix or unixs, and an address")]
pub struct BadUrl(String);

impl FromStr for PeerUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<PeerUrl, BadUrl> {
        let bad = || BadUrl(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let scheme = Scheme::of_name(scheme).ok_or_else(bad)?;
        let (address, prefix) = match scheme {
            // The address of a socket is all of it: a path, or `host:port` as a file's name.
            Scheme::Unix | Scheme::Unixs => (rest, ""),
            Scheme::Http | Scheme::Https => match rest.find('/') {
                Some(at) => (&rest[..at], rest[at..].trim_end_matches('/')),
                None => (rest, ""),
            },
        };
        if address.is_empty() {
            return Err(bad());
        }
        Ok(PeerUrl { scheme, address: address.to_owned(), prefix: prefix.to_owned() })
    }
}

/// A peer's URLs. One is used until it fails.
#[derive(Debug)]
pub(crate) struct Urls {
    urls: Vec<PeerUrl>,
    picked: usize,
}

impl Urls {
    /// What is no URL is left out. `None` if nothing is left.
    pub(crate) fn new(urls: &[String]) -> Option<Urls> {
        let urls: Vec<PeerUrl> = urls.iter().filter_map(|url| url.parse().ok()).collect();
        (!urls.is_empty()).then_some(Urls { urls, picked: 0 })
    }

    pub(crate) fn picked(&self) -> PeerUrl {
        self.urls[self.picked].clone()
    }

    /// Whether these are all there are.
    pub(crate) fn are_all_among(&self, some: &[PeerUrl]) -> bool {
        self.urls.iter().all(|url| some.contains(url))
    }

    /// Goes on to the next one, unless that was done since `url` was picked.
    pub(crate) fn failed(&mut self, url: &PeerUrl) {
        if self.urls[self.picked] == *url {
            self.picked = (self.picked + 1) % self.urls.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written() {
        for text in ["http://a:1", "https://[::1]:2380", "unix:///tmp/x", "unixs://localhost:1", "http://a:1/prefix"] {
            let url: PeerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
        }
        assert_eq!("http://a:1/".parse::<PeerUrl>().unwrap().to_string(), "http://a:1");
        for text in ["a:1", "ftp://a:1", "http://", "unix://", ""] {
            assert!(text.parse::<PeerUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_url_is_kept_until_it_fails() {
        let list = ["http://a:1", "no url", "http://b:1"].map(str::to_owned);
        let mut urls = Urls::new(&list).unwrap();
        let a = urls.picked();
        assert_eq!(urls.picked(), a);
        urls.failed(&a);
        let b = urls.picked();
        assert_eq!(b.address, "b:1");
        urls.failed(&a);
        assert_eq!(urls.picked(), b, "somebody else has gone on already");
        urls.failed(&b);
        assert_eq!(urls.picked(), a);
        assert!(Urls::new(&["x".to_owned()]).is_none());
    }
}
