//! The version that all members of a cluster speak.

use std::fmt;
use std::str::FromStr;

/// A version: only `major.minor` decides; the rest is kept as it was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterVersion {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
    /// What follows the numbers, with its `-` or `+`.
    suffix: String,
}

impl ClusterVersion {
    pub const fn new(major: u64, minor: u64) -> ClusterVersion {
        ClusterVersion { major, minor, patch: 0, suffix: String::new() }
    }

    /// The version without what does not decide.
    pub fn without_patch(&self) -> ClusterVersion {
        ClusterVersion::new(self.major, self.minor)
    }
}

impl fmt::Display for ClusterVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}{}", self.major, self.minor, self.patch, self.suffix)
    }
}

/// A text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version like 3.7.0")]
pub struct NoVersion(pub String);

impl FromStr for ClusterVersion {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let error = || NoVersion(text.into());
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten().ok_or_else(error)
        });
        let mut next = || numbers.next().unwrap_or_else(|| Err(error()));
        let (major, minor, patch) = (next()?, next()?, next()?);
        match numbers.next() {
            None => Ok(ClusterVersion { major, minor, patch, suffix: text[end..].into() }),
            Some(_) => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_written() {
        for text in ["3.7.0", "3.7.1-rc.0", "10.0.3+build"] {
            assert_eq!(text.parse::<ClusterVersion>().unwrap().to_string(), text);
        }
        for text in ["", "3", "3.7", "3.7.", "3.7.x", "3.7.0.1", "+3.7.0", "3.7.+0", "-1.0.0"] {
            assert_eq!(text.parse::<ClusterVersion>(), Err(NoVersion(text.into())), "{text}");
        }
        assert!(ClusterVersion::new(3, 10) > ClusterVersion::new(3, 9));
        assert_eq!("3.7.4-x".parse::<ClusterVersion>().unwrap().without_patch(), ClusterVersion::new(3, 7));
    }
}
