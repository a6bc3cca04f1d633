//! `ETCD_*`: a value for each flag that was not given.

use std::collections::{BTreeMap, BTreeSet};

use ferrite_observe::log;
use ferrite_observe::log::{Logger, lines};

use super::flags::{FLAGS, Flag, Kind};
use super::{Config, ConfigError};

/// Variables with a meaning of their own beside the flags.
const OWN: [&str; 3] = ["ETCD_VERIFY", "ETCD_UNSUPPORTED_ARCH", "ETCD_VERSION"];

/// Applies the environment and adds to `given` what it gave.
pub fn read(
    config: &mut Config,
    given: &mut BTreeSet<(&'static str, String)>,
    environment: impl IntoIterator<Item = (String, String)>,
    logger: &Logger,
) -> Result<(), ConfigError> {
    let mut variables: BTreeMap<String, String> =
        environment.into_iter().filter(|(name, _)| name.starts_with("ETCD_")).collect();
    if let Some(value) = variables.remove("ETCD_VERSION").filter(|value| !value.is_empty()) {
        log!(logger, lines::SPECIAL_ENVIRONMENT, "ETCD_VERSION", &value);
    }
    let mut flags: Vec<&Flag> = FLAGS.iter().collect();
    flags.sort_by_key(|flag| flag.name);
    let mut worst = None;
    for flag in flags {
        let name = flag.environment();
        let Some(value) = variables.remove(&name) else { continue };
        if given.iter().any(|(given, _)| *given == flag.name) {
            log!(logger, lines::SHADOWED_ENVIRONMENT, &name);
            return Err(ConfigError::Said);
        }
        if value.is_empty() {
            continue;
        }
        log!(logger, lines::USED_ENVIRONMENT, &name, &value);
        if flag.kind == Kind::Ignored {
            continue;
        }
        match flag.apply(config, &value) {
            Ok(()) => drop(given.insert((flag.name, value))),
            // Of several the last is told.
            Err(error) => worst = Some(format!("invalid value {value:?} for {name}: {error}")),
        }
    }
    for (name, value) in variables {
        if !OWN.contains(&name.as_str()) || name == "ETCD_UNSUPPORTED_ARCH" {
            log!(logger, lines::UNKNOWN_ENVIRONMENT, &format!("{name}={value}"));
        }
    }
    worst.map_or(Ok(()), |text| Err(ConfigError::Invalid(text)))
}
