//! The command line: `--name value` or `--name=value`.

use std::path::PathBuf;

use ferrite_raft::NodeId;
use ferrite_raftexample::{Options, Settings};

pub const HELP: &str = "\
raftexample: one member of a replicated map

  --id       which member this is: the n-th URL of --cluster is its own (1)
  --cluster  the peer URLs of all members, with commas between them (http://127.0.0.1:9021)
  --port     where clients reach it (9121)
  --join     it was added to a cluster that is running
";

#[derive(Debug)]
pub struct Flags {
    pub options: Options,
    pub port: u16,
}

impl Flags {
    /// Reads the arguments. `None` if only help is wanted.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Flags>, String> {
        let mut options = Options {
            id: NodeId(1),
            cluster: vec!["http://127.0.0.1:9021".to_owned()],
            join: false,
            dir: PathBuf::from("."),
            settings: Settings::default(),
        };
        let mut port = 9121;
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let name = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
            let name = name.ok_or_else(|| format!("{argument:?} is no flag; --help lists them"))?;
            let (name, given) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let mut value =
                || given.clone().or_else(|| arguments.next()).ok_or_else(|| format!("--{name} needs a value"));
            match name {
                "id" => options.id = NodeId(number(name, &value()?)?),
                "cluster" => options.cluster = value()?.split(',').map(str::to_owned).collect(),
                "port" => port = number(name, &value()?)?,
                "join" => options.join = given.is_none_or(|given| given == "true"),
                "help" | "h" => return Ok(None),
                _ => return Err(format!("there is no flag --{name}; --help lists them")),
            }
        }
        Ok(Some(Flags { options, port }))
    }
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("--{name} {value:?}: it must be a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Flags>, String> {
        Flags::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_read_in_both_forms() {
        let Flags { options, port } = parse("--id 2 --cluster=http://a:1,http://b:1 -port 9 --join").unwrap().unwrap();
        assert_eq!((options.id, port, options.join), (NodeId(2), 9, true));
        assert_eq!(options.cluster, ["http://a:1", "http://b:1"]);
        let Flags { options, port } = parse("--join=false").unwrap().unwrap();
        assert_eq!((options.id, port, options.join), (NodeId(1), 9121, false));
        assert!(parse("--help").unwrap().is_none());
    }

    #[test]
    fn what_is_no_flag_is_refused_by_name() {
        for (line, expected) in [
            ("--id", "--id needs a value"),
            ("--id x", "--id \"x\": it must be a number"),
            ("--port 70000", "--port \"70000\": it must be a number"),
            ("--peer x", "there is no flag --peer"),
            ("join", "\"join\" is no flag"),
        ] {
            let refusal = parse(line).unwrap_err();
            assert!(refusal.contains(expected), "{line}: {refusal}");
        }
    }
}
