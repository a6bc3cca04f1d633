//! `--initial-cluster`: who the members are when a cluster begins.

use super::urls::{Url, joined, parse_urls};

/// The meaning of `--initial-cluster-state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    New,
    Existing,
}

/// Names and their peer URLs, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialCluster(pub Vec<(String, Vec<Url>)>);

impl InitialCluster {
    /// Pairs `name=url`, separated by commas; a repeated name has several URLs.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut members: Vec<(String, Vec<Url>)> = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, url) = (name.trim(), url.trim());
            if url.is_empty() {
                return Err(format!("empty URL given for {name:?}"));
            }
            let urls = parse_urls(url)?;
            match members.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => known.extend(urls),
                None => members.push((name.to_owned(), urls)),
            }
        }
        for (_, urls) in &mut members {
            urls.sort_by_key(Url::to_string);
        }
        members.sort();
        Ok(Self(members))
    }

    /// The URLs of one member.
    pub fn of(&self, name: &str) -> Option<&[Url]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, urls)| &urls[..])
    }

    /// `a=http://x:1,b=http://y:2`, as the log shows it.
    pub fn text(&self) -> String {
        let pairs = self.0.iter().flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")));
        pairs.collect::<Vec<_>>().join(",")
    }
}

impl PartialOrd for Url {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Url {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

/// `<name>=<url>` for each URL: the cluster of a member that was only given a name.
pub fn from_name(name: &str, urls: &[Url]) -> String {
    urls.iter().map(|url| format!("{name}={}", joined(std::slice::from_ref(url)))).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters() {
        let cluster = InitialCluster::parse("b=http://y:2, a=http://x:9,a=http://x:1").unwrap();
        assert_eq!(cluster.text(), "a=http://x:1,a=http://x:9,b=http://y:2");
        assert_eq!(cluster.of("a").unwrap().len(), 2);
        assert_eq!(InitialCluster::parse("a=").unwrap_err(), "empty URL given for \"a\"");
        assert!(InitialCluster::parse("a=nothing").is_err());
    }
}
