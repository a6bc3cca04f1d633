//! The commands, one a file; here their flags and what they share.

mod crash;
mod figures;
mod lease_keepalive;
pub mod put;
mod range;
mod txn_mixed;
mod txn_put;
mod verify_ledger;
mod watch;
mod watch_get;
mod watch_latency;

use crate::args::{Args, Command, Kind, flag};
use crate::grpc::{CallError, Connection};
use crate::load::Plan;
use crate::process::StartError;
use crate::report::{Report, Style};
use bytes::Bytes;

const TOTAL: crate::args::Flag = flag("total", Kind::Uint, "10000", "number of requests");
const RATE: crate::args::Flag = flag("rate", Kind::Uint, "0", "requests a second (0: no limit)");
const KEY_SIZE: crate::args::Flag = flag("key-size", Kind::Uint, "8", "bytes of a key");
const VAL_SIZE: crate::args::Flag = flag("val-size", Kind::Uint, "8", "bytes of a value");
const KEY_SPACE_SIZE: crate::args::Flag = flag("key-space-size", Kind::Uint, "1", "number of different keys");
const SEQUENTIAL_KEYS: crate::args::Flag =
    flag("sequential-keys", Kind::Bool, "false", "use the keys in turn, not at random");
const CONSISTENCY: crate::args::Flag = flag("consistency", Kind::Text, "l", "l (linearizable) or s (serializable)");
const LEDGER: crate::args::Flag =
    flag("ledger", Kind::Text, "", "file that records each acknowledged write, for verify-ledger");

pub const COMMANDS: &[Command] = &[
    Command {
        name: "put",
        arguments: "",
        about: "Put keys",
        flags: &[
            TOTAL,
            RATE,
            KEY_SIZE,
            VAL_SIZE,
            KEY_SPACE_SIZE,
            SEQUENTIAL_KEYS,
            LEDGER,
            flag("compact-interval", Kind::Duration, "0s", "how often to compact (0: never)"),
            flag("compact-index-delta", Kind::Int, "1000", "revisions that a compaction leaves"),
            flag("check-hashkv", Kind::Bool, "false", "ask for HashKV afterwards"),
        ],
    },
    Command {
        name: "range",
        arguments: "key [end-range]",
        about: "Get a key or a range",
        flags: &[
            TOTAL,
            RATE,
            CONSISTENCY,
            flag("limit", Kind::Int, "0", "most keys in an answer (0: no limit)"),
            flag("count-only", Kind::Bool, "false", "ask only for the count"),
            flag("keys-only", Kind::Bool, "false", "ask only for keys"),
            flag("stream", Kind::Bool, "false", "use RangeStream"),
            flag("paginate", Kind::Bool, "false", "pages of 10000 keys at one revision"),
            flag("prefix", Kind::Bool, "false", "all keys with this prefix"),
            flag("random-keys", Kind::Uint, "0", "instead of a given key: one at random of this many that `put` wrote"),
            KEY_SIZE,
        ],
    },
    Command {
        name: "txn-put",
        arguments: "",
        about: "Put several keys in one transaction",
        flags: &[
            TOTAL,
            RATE,
            KEY_SIZE,
            VAL_SIZE,
            KEY_SPACE_SIZE,
            LEDGER,
            flag("txn-ops", Kind::Uint, "1", "puts in a transaction"),
        ],
    },
    Command {
        name: "txn-mixed",
        arguments: "[key] [end-range]",
        about: "Transactions that read or write",
        flags: &[
            TOTAL,
            RATE,
            KEY_SIZE,
            VAL_SIZE,
            KEY_SPACE_SIZE,
            CONSISTENCY,
            flag("end-key", Kind::Text, "", "end of the range that is read"),
            flag("limit", Kind::Int, "1000", "most keys in an answer"),
            flag("rw-ratio", Kind::Float, "1", "reads for each write"),
        ],
    },
    Command {
        name: "watch",
        arguments: "",
        about: "Create many watches, then put and count events",
        flags: &[
            flag("streams", Kind::Uint, "10", "watch streams"),
            flag("watch-per-stream", Kind::Uint, "100", "watches on a stream"),
            flag("watched-key-total", Kind::Uint, "1", "different keys that are watched"),
            flag("put-rate", Kind::Uint, "0", "puts a second (0: no limit)"),
            flag("put-total", Kind::Uint, "1000", "number of puts"),
            flag("key-size", Kind::Uint, "32", "bytes of a key"),
            KEY_SPACE_SIZE,
            SEQUENTIAL_KEYS,
        ],
    },
    Command {
        name: "watch-get",
        arguments: "",
        about: "Gets while many watchers catch up",
        flags: &[
            flag("watchers", Kind::Uint, "10000", "number of watchers"),
            flag("streams", Kind::Uint, "1", "watch streams"),
            flag("events", Kind::Uint, "8", "events for each watcher"),
        ],
    },
    Command {
        name: "watch-latency",
        arguments: "",
        about: "Time from the answer of a put to its event",
        flags: &[
            flag("streams", Kind::Uint, "10", "watch streams"),
            flag("watchers-per-stream", Kind::Uint, "10", "watchers on a stream"),
            flag("prevkv", Kind::Bool, "false", "ask for previous values"),
            flag("put-total", Kind::Uint, "1000", "number of puts"),
            flag("put-rate", Kind::Uint, "100", "puts a second"),
            flag("key-size", Kind::Uint, "32", "bytes of a key"),
            flag("val-size", Kind::Uint, "32", "bytes of a value"),
        ],
    },
    Command { name: "lease-keepalive", arguments: "", about: "Renew a lease for each client", flags: &[TOTAL] },
    Command {
        name: "verify-ledger",
        arguments: "FILE",
        about: "Hold a server to the acknowledged writes of a ledger",
        flags: &[flag("at", Kind::List, "", "revisions at which to read the whole state too (quicker than history)")],
    },
    Command {
        name: "crash",
        arguments: "",
        about: "Load, SIGKILL, restart and check, again and again",
        flags: crash::FLAGS,
    },
    Command { name: "figures", arguments: "", about: "Measure two servers side by side", flags: figures::FLAGS },
];

/// What a command says before the program ends with status 1.
#[derive(Debug)]
pub struct Failure(pub String);

impl Failure {
    pub fn because(reason: impl std::fmt::Display) -> Failure {
        Failure(reason.to_string())
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        Failure::because(error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        Failure::because(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::because(error)
    }
}

/// Runs a command of the table.
pub async fn run(command: &Command, args: Args) -> Result<(), Failure> {
    match command.name {
        "put" => put::run(&args).await,
        "range" => range::run(&args).await,
        "txn-put" => txn_put::run(&args).await,
        "txn-mixed" => txn_mixed::run(&args).await,
        "watch" => watch::run(&args).await,
        "watch-get" => watch_get::run(&args).await,
        "watch-latency" => watch_latency::run(&args).await,
        "lease-keepalive" => lease_keepalive::run(&args).await,
        "verify-ledger" => verify_ledger::run(&args).await,
        "crash" => crash::run(&args).await,
        "figures" => figures::run(&args).await,
        name => unreachable!("{name} is not in the table"),
    }
}

/// Opens the connections that the global flags ask for, over all endpoints in turn.
async fn connect(args: &Args) -> Result<Vec<Connection>, Failure> {
    let endpoints = args.list("endpoints");
    let limit = args.duration("dial-timeout");
    let mut connections = Vec::new();
    for i in 0..args.uint("conns").max(1) {
        let endpoint = &endpoints[i as usize % endpoints.len()];
        let opening = Connection::open(endpoint);
        let opened = match limit.is_zero() {
            true => opening.await,
            false => tokio::time::timeout(limit, opening)
                .await
                .unwrap_or_else(|_| Err(CallError::Broken(format!("no connection within {limit:?}")))),
        };
        connections.push(opened.map_err(|e| Failure(format!("dial error: {endpoint}: {e}")))?);
    }
    Ok(connections)
}

fn plan(args: &Args) -> Plan {
    Plan { total: args.uint("total"), clients: args.uint("clients").max(1), rate: args.uint("rate") }
}

fn style(args: &Args) -> Style {
    Style { precise: args.on("precise"), sample: args.on("sample") }
}

/// Prints a report; fails if no request succeeded.
fn print(args: &Args, report: &Report) -> Result<(), Failure> {
    print!("{}", report.text(style(args)));
    eprintln!("{}", report.client_cost());
    match report.first_error() {
        Some(error) if report.succeeded() == 0 => Err(Failure(format!("no request succeeded: {error}"))),
        _ => Ok(()),
    }
}

fn positive_key_space(args: &Args) -> Result<u64, Failure> {
    match args.uint("key-space-size") {
        0 => Err(Failure("expected positive --key-space-size, got (0)".to_owned())),
        size => Ok(size),
    }
}

/// A key as etcd's tool writes it: the number as a zig-zag varint, then zeros.
pub fn key(number: u64, bytes: usize) -> Bytes {
    let mut key = vec![0; bytes];
    let mut rest = number << 1;
    for byte in &mut key {
        *byte = (rest & 0x7f) as u8 | if rest > 0x7f { 0x80 } else { 0 };
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    key.into()
}

/// The end of the range of all keys with a prefix.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|&b| b != 0xff);
    kept.map_or(Bytes::from_static(b"\0"), |last| {
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        end.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_zig_zag_varints_padded() {
        for (number, bytes) in [(0u64, [0u8, 0, 0]), (1, [2, 0, 0]), (64, [0x80, 1, 0]), (10_000, [0xa0, 0x9c, 1])] {
            assert_eq!(key(number, 3)[..], bytes, "{number}");
        }
    }

    #[test]
    fn a_prefix_ends_before_the_next() {
        let table: [(&[u8], &[u8]); 4] = [(b"a", b"b"), (b"a\xff", b"b"), (b"\xff", b"\0"), (b"", b"\0")];
        for (prefix, end) in table {
            assert_eq!(prefix_end(prefix)[..], *end);
        }
    }

    #[test]
    fn no_flag_stands_twice() {
        for command in COMMANDS {
            let mut names: Vec<_> = command.flags.iter().chain(crate::args::GLOBAL).map(|f| f.name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|w| w[0] != w[1]), "{}", command.name);
        }
    }
}
