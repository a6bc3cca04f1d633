//! Feature gates: `--feature-gates Name=bool,...`.

use super::value::parse_bool;

/// A feature that can be switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    AllAlpha,
    AllBeta,
    CompactHashCheck,
    FastLeaseKeepAlive,
    InitialCorruptCheck,
    LeaseCheckpoint,
    LeaseCheckpointPersist,
    PriorityRequest,
    SetMemberLocalAddr,
    StopGrpcServiceOnDefrag,
    TxnModeWriteWithSharedBuffer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Alpha,
    Beta,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
        }
    }
}

const TABLE: [(Feature, &str, Stage, bool); 11] = [
    (Feature::AllAlpha, "AllAlpha", Stage::Alpha, false),
    (Feature::AllBeta, "AllBeta", Stage::Beta, false),
    (Feature::CompactHashCheck, "CompactHashCheck", Stage::Alpha, false),
    (Feature::FastLeaseKeepAlive, "FastLeaseKeepAlive", Stage::Beta, true),
    (Feature::InitialCorruptCheck, "InitialCorruptCheck", Stage::Alpha, false),
    (Feature::LeaseCheckpoint, "LeaseCheckpoint", Stage::Alpha, false),
    (Feature::LeaseCheckpointPersist, "LeaseCheckpointPersist", Stage::Alpha, false),
    (Feature::PriorityRequest, "PriorityRequest", Stage::Alpha, false),
    (Feature::SetMemberLocalAddr, "SetMemberLocalAddr", Stage::Alpha, false),
    (Feature::StopGrpcServiceOnDefrag, "StopGRPCServiceOnDefrag", Stage::Alpha, false),
    (Feature::TxnModeWriteWithSharedBuffer, "TxnModeWriteWithSharedBuffer", Stage::Beta, true),
];

/// Which features were set by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    set: [Option<bool>; TABLE.len()],
}

impl Features {
    /// Adds what a flag says to what was said before.
    pub fn merge(&mut self, text: &str) -> Result<(), String> {
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim(), value.trim());
            if !part.contains('=') {
                return Err(format!("missing bool value for {name}"));
            }
            let Some(place) = TABLE.iter().position(|(_, known, ..)| *known == name) else {
                return Err(format!("unrecognized feature gate: {name}"));
            };
            let Some(value) = parse_bool(value) else {
                let error = format!("strconv.ParseBool: parsing {value:?}: invalid syntax");
                return Err(format!("invalid value of {name}={value}, err: {error}"));
            };
            self.set[place] = Some(value);
        }
        Ok(())
    }

    pub fn enabled(&self, feature: Feature) -> bool {
        let place = TABLE.iter().position(|(known, ..)| *known == feature).expect("every feature is in the table");
        let (_, _, stage, default) = TABLE[place];
        let all = match stage {
            Stage::Alpha => self.set[0],
            Stage::Beta => self.set[1],
        };
        self.set[place].or(all).unwrap_or(default)
    }

    /// The same, but true where nobody has turned it off by name: for what is on by default here and not in etcd.
    pub fn asked(&self, feature: Feature) -> bool {
        let place = TABLE.iter().position(|(known, ..)| *known == feature).expect("every feature is in the table");
        self.set[place].unwrap_or(true)
    }

    /// Name, stage and state of each, for the metrics.
    pub fn list(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> + '_ {
        TABLE.iter().map(|(feature, name, stage, _)| (*name, stage.name(), self.enabled(*feature)))
    }
}

/// Only what was set by hand.
impl std::fmt::Display for Features {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let set = TABLE.iter().zip(self.set).filter_map(|((_, name, ..), value)| Some(format!("{name}={}", value?)));
        f.write_str(&set.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates() {
        let mut features = Features::default();
        features.merge("LeaseCheckpoint=true, CompactHashCheck=false").unwrap();
        features.merge("AllAlpha=true").unwrap();
        assert_eq!(features.to_string(), "AllAlpha=true,CompactHashCheck=false,LeaseCheckpoint=true");
        assert!(features.enabled(Feature::LeaseCheckpoint) && features.enabled(Feature::PriorityRequest));
        assert!(!features.enabled(Feature::CompactHashCheck) && features.enabled(Feature::FastLeaseKeepAlive));
        for (text, error) in [
            ("Nope=true", "unrecognized feature gate: Nope"),
            ("LeaseCheckpoint", "missing bool value for LeaseCheckpoint"),
            (
                "LeaseCheckpoint=x",
                "invalid value of LeaseCheckpoint=x, err: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
        ] {
            assert_eq!(features.merge(text).unwrap_err(), error);
        }
    }
}
