//! Who we are, as peers see us.

use std::fmt;
use std::str::FromStr;

use ferrite_raft::NodeId;

/// A released version, `x.y.z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
}

impl Version {
    /// What a peer that says nothing of its version is taken for.
    pub(crate) const UNSAID: Version = Version { major: 2, minor: 0, patch: 0 };

    /// The part that decides who works with whom.
    pub(crate) fn line(self) -> (u64, u64) {
        (self.major, self.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = ();

    /// Reads `x.y.z`, with or without `-pre` or `+build` behind it.
    fn from_str(text: &str) -> Result<Version, ()> {
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = core.split('.').map(|part| match part.bytes().all(|byte| byte.is_ascii_digit()) {
            true => part.parse().map_err(|_| ()),
            false => Err(()),
        });
        let mut next = || numbers.next().unwrap_or(Err(()));
        let version = Version { major: next()?, minor: next()?, patch: next()? };
        if numbers.next().is_some() { Err(()) } else { Ok(version) }
    }
}

/// What every request to a peer says of us, and what peers' requests are checked against.
#[derive(Clone, Debug)]
pub struct Local {
    pub member: NodeId,
    pub cluster: u64,
    /// Ours.
    pub version: Version,
    /// The oldest that we work with.
    pub min_version: Version,
    /// Where others reach us.
    pub peer_urls: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let version = |major, minor, patch| Ok(Version { major, minor, patch });
        for (text, expected) in [
            ("3.7.1", version(3, 7, 1)),
            ("3.7.0-alpha.0", version(3, 7, 0)),
            ("3.7.0+git", version(3, 7, 0)),
            ("3.7", Err(())),
            ("3.7.1.2", Err(())),
            ("3.+7.1", Err(())),
            ("v3.7.1", Err(())),
            ("", Err(())),
            ("3.7.99999999999999999999", Err(())),
        ] {
            assert_eq!(text.parse::<Version>(), expected, "{text:?}");
        }
    }
}
