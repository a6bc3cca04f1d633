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

/// What a gate does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Here {
    /// What it does in etcd.
    Switches,
    /// Nothing: it is as if it were on, for this reason. Who turns it off is warned.
    AlwaysOn(&'static str),
    /// Who turns it on by name is refused.
    NotBuilt,
}

const TABLE: [(Feature, &str, Stage, bool, Here); 11] = [
    (Feature::AllAlpha, "AllAlpha", Stage::Alpha, false, Here::Switches),
    (Feature::AllBeta, "AllBeta", Stage::Beta, false, Here::Switches),
    (Feature::CompactHashCheck, "CompactHashCheck", Stage::Alpha, false, Here::NotBuilt),
    (Feature::FastLeaseKeepAlive, "FastLeaseKeepAlive", Stage::Beta, true, Here::Switches),
    (Feature::InitialCorruptCheck, "InitialCorruptCheck", Stage::Alpha, false, Here::NotBuilt),
    (Feature::LeaseCheckpoint, "LeaseCheckpoint", Stage::Alpha, false, Here::Switches),
    (
        Feature::LeaseCheckpointPersist,
        "LeaseCheckpointPersist",
        Stage::Alpha,
        false,
        Here::AlwaysOn("Checkpoints are kept in any case, as in etcd since 3.6."),
    ),
    (Feature::PriorityRequest, "PriorityRequest", Stage::Alpha, false, Here::Switches),
    (Feature::SetMemberLocalAddr, "SetMemberLocalAddr", Stage::Alpha, false, Here::Switches),
    (Feature::StopGrpcServiceOnDefrag, "StopGRPCServiceOnDefrag", Stage::Alpha, false, Here::Switches),
    (
        Feature::TxnModeWriteWithSharedBuffer,
        "TxnModeWriteWithSharedBuffer",
        Stage::Beta,
        true,
        Here::AlwaysOn("This server's reads never copy a buffer."),
    ),
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
        let (_, _, stage, default, _) = TABLE[place];
        let all = match stage {
            Stage::Alpha => self.set[0],
            Stage::Beta => self.set[1],
        };
        self.set[place].or(all).unwrap_or(default)
    }

    /// How it was set by name, for what goes by another default here than in etcd.
    pub fn asked(&self, feature: Feature) -> Option<bool> {
        let place = TABLE.iter().position(|(known, ..)| *known == feature).expect("every feature is in the table");
        self.set[place]
    }

    /// Name, stage and state of each, for the metrics.
    pub fn list(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> + '_ {
        TABLE.iter().map(|(feature, name, stage, ..)| (*name, stage.name(), self.enabled(*feature)))
    }

    /// A gate that was turned on by name and opens on nothing.
    pub fn not_built(&self) -> Option<&'static str> {
        self.gates().find(|(_, here, set, _)| *here == Here::NotBuilt && *set == Some(true)).map(|(name, ..)| name)
    }

    /// Gates whose state changes nothing although it should: each as it was set, and why.
    pub fn without_effect(&self) -> impl Iterator<Item = (String, &'static str)> + '_ {
        self.gates().filter_map(|(name, here, set, enabled)| match here {
            Here::AlwaysOn(why) if set == Some(false) => Some((format!("{name}=false"), why)),
            Here::NotBuilt if enabled => Some((format!("{name}=true"), "It is not built yet.")),
            Here::Switches | Here::AlwaysOn(_) | Here::NotBuilt => None,
        })
    }

    /// What each does here, how it was set by name, and whether it is on.
    fn gates(&self) -> impl Iterator<Item = (&'static str, Here, Option<bool>, bool)> + '_ {
        let gates = TABLE.iter().zip(self.set);
        gates.map(|((feature, name, _, _, here), set)| (*name, *here, set, self.enabled(*feature)))
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

    #[test]
    fn a_gate_that_opens_on_nothing_says_so() {
        #[track_caller]
        fn check(text: &str, not_built: Option<&str>, without_effect: &[&str]) {
            let mut features = Features::default();
            features.merge(text).unwrap();
            assert_eq!(features.not_built(), not_built, "{text}");
            assert_eq!(features.without_effect().map(|(set, _)| set).collect::<Vec<_>>(), without_effect, "{text}");
        }
        check("", None, &[]);
        check("CompactHashCheck=false,PriorityRequest=true", None, &[]);
        check("CompactHashCheck=true", Some("CompactHashCheck"), &["CompactHashCheck=true"]);
        check("InitialCorruptCheck=true", Some("InitialCorruptCheck"), &["InitialCorruptCheck=true"]);
        check("LeaseCheckpoint=true,LeaseCheckpointPersist=true", None, &[]);
        check("LeaseCheckpointPersist=false", None, &["LeaseCheckpointPersist=false"]);
        check("TxnModeWriteWithSharedBuffer=false", None, &["TxnModeWriteWithSharedBuffer=false"]);
        let all = ["CompactHashCheck=true", "InitialCorruptCheck=true"];
        check("AllAlpha=true", None, &all);
        check("AllAlpha=true,CompactHashCheck=false", None, &all[1..]);
    }
}
