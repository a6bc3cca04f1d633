//! `watch`: prints changes as they happen, and runs a command for each.

use std::io::BufRead as _;

use bytes::Bytes;
use ferrite_client::proto::mvccpb::event::EventType;
use ferrite_client::{Client, Watch, WatchResponse, Watcher};
use tokio::sync::mpsc;

use super::connect::Settings;
use crate::command::{Command, Flag, Group, Invocation, Words, parse};
use crate::exit::{self, Exit};
use crate::go::quote::{quote, words};
use crate::print::{Answer, Printer};
use crate::process;

pub static COMMAND: Command = Command {
    usage: "watch [options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
    short: "Watches events stream on keys or prefixes",
    long: "\
Watches events stream on keys or prefixes.

With a command behind '--', that command runs for each event, with ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE,
ETCD_WATCH_KEY and ETCD_WATCH_VALUE in its environment.

The key and the end of the range can also be given as ETCDCTL_WATCH_KEY and ETCDCTL_WATCH_RANGE_END.

With --interactive, lines are read from standard input: 'watch' with its flags and keys, or 'progress'.",
    group: Group::KeyValue,
    flags: &[
        Flag::bool("interactive", "interactive mode").letter('i'),
        Flag::bool("prefix", "watch keys with matching prefix"),
        Flag::int("rev", "revision to start from"),
        Flag::bool("prev-kv", "get the previous key-value pair before the event happens"),
        Flag::bool("progress-notify", "get periodic notifications of how far the watch has come"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

const KEY_VARIABLE: &str = "ETCDCTL_WATCH_KEY";
const END_VARIABLE: &str = "ETCDCTL_WATCH_RANGE_END";

/// The keys that the environment names.
#[derive(Clone, Debug, Default)]
struct Environment {
    key: Bytes,
    end: Bytes,
}

impl Environment {
    fn read() -> Result<Environment, Exit> {
        use std::os::unix::ffi::OsStringExt as _;
        let variable = |name| std::env::var_os(name).unwrap_or_default().into_vec().into();
        let environment = Environment { key: variable(KEY_VARIABLE), end: variable(END_VARIABLE) };
        if environment.key.is_empty() && !environment.end.is_empty() {
            let text = format!("{KEY_VARIABLE} is empty but got {END_VARIABLE}={}", quote(&environment.end));
            return Err(Exit::bad_args(text));
        }
        Ok(environment)
    }
}

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let environment = Environment::read()?;
    let interactive = call.flags().bool("interactive");
    let order = if interactive { None } else { Some(Order::new(&call.words, &environment)?) };
    let order = order.map(|order| order.map_err(|RangeAndPrefix| Exit::bad_args(RangeAndPrefix))).transpose()?;
    let settings = Settings::read(&mut call, &[KEY_VARIABLE, END_VARIABLE])?;
    // A member without a leader would say nothing for ever.
    let client = settings.connect().await?.with_require_leader();
    match order {
        Some(order) => {
            let watcher = client.watch(order.watch).await?;
            follow(watcher, settings.printer, order.exec).await?;
            Err(Exit::interrupted("watch is canceled by the server"))
        }
        None => converse(client, settings.printer, environment).await,
    }
}

/// What to watch, and what to run for each event.
#[derive(Clone, Debug, PartialEq)]
struct Order {
    watch: Watch,
    exec: Vec<Bytes>,
}

/// The end of a range and a prefix, which exclude each other.
#[derive(Clone, Copy, Debug, PartialEq)]
struct RangeAndPrefix;

impl std::fmt::Display for RangeAndPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("`range_end` and `--prefix` are mutually exclusive")
    }
}

impl Order {
    fn new(words: &Words, environment: &Environment) -> Result<Result<Order, RangeAndPrefix>, Exit> {
        let (keys, exec) = words.args.split_at(words.dash.unwrap_or(words.args.len()));
        if words.dash.is_some() && exec.is_empty() {
            return Err(Exit::bad_args("bad number of arguments (found separator --, but no commands)"));
        }
        if !environment.key.is_empty() && !keys.is_empty() {
            return Err(Exit::bad_args("bad number of arguments (found conflicting environment key)"));
        }
        let from_environment = [environment.key.clone(), environment.end.clone()];
        let keys = match keys {
            [] if environment.key.is_empty() => return Err(Exit::bad_args("bad number of arguments")),
            [] if environment.end.is_empty() => &from_environment[..1],
            [] => &from_environment[..],
            keys => keys,
        };
        let flags = &words.flags;
        let mut watch = Watch::new(keys[0].clone()).revision(flags.int("rev"));
        // More than two keys: the first one, as in etcd.
        if let [_, end] = keys {
            if flags.bool("prefix") {
                return Ok(Err(RangeAndPrefix));
            }
            watch = watch.range(end.clone());
        }
        if flags.bool("prefix") {
            watch = watch.prefix();
        }
        if flags.bool("prev-kv") {
            watch = watch.prev_kv();
        }
        if flags.bool("progress-notify") {
            watch = watch.progress_notify();
        }
        Ok(Ok(Order { watch, exec: exec.to_vec() }))
    }
}

/// Prints what comes, until the server ends the watch.
async fn follow(mut watcher: Watcher, printer: Printer, exec: Vec<Bytes>) -> Result<(), Exit> {
    while let Some(response) = watcher.next().await {
        if let Some(reason) = &response.error {
            eprintln!("watch was canceled ({reason})");
        }
        if response.is_progress() {
            exit::print(format!("progress notify: {}\n", response.header.revision).as_bytes())?;
        }
        printer.print(&Answer::Watch(response.clone()))?;
        if !exec.is_empty() {
            run_for_each(&exec, response).await?;
        }
    }
    Ok(())
}

async fn run_for_each(exec: &[Bytes], response: WatchResponse) -> Result<(), Exit> {
    for event in response.events {
        let kind = if event.r#type() == EventType::Put { "PUT" } else { "DELETE" };
        let kv = event.kv.unwrap_or_default();
        let variables = [
            ("ETCD_WATCH_REVISION", response.header.revision.to_string()),
            ("ETCD_WATCH_EVENT_TYPE", quote(kind.as_bytes())),
            ("ETCD_WATCH_KEY", quote(&kv.key)),
            ("ETCD_WATCH_VALUE", quote(&kv.value)),
        ];
        if let Err(failure) = process::run(process::command(exec, &variables)).await {
            let words: Vec<String> = exec.iter().map(|word| quote(word)).collect();
            eprintln!("command [{}] error ({failure})", words.join(" "));
            return Err(Exit::silent(1));
        }
    }
    Ok(())
}

/// Does what lines from standard input say, while the watches that they began go on.
async fn converse(client: Client, printer: Printer, environment: Environment) -> Result<(), Exit> {
    let mut lines = read_lines();
    let mut watches = tokio::task::JoinSet::new();
    loop {
        let line = tokio::select! {
            line = lines.recv() => line.ok_or_else(|| Exit::invalid_input("error reading watch request line: EOF"))?,
            // One that the server ended is over; one that could not go on ends everything.
            Some(ended) = watches.join_next() => {
                ended.unwrap_or(Ok(()))?;
                continue;
            }
        };
        match request(&line, &environment)? {
            Request::Watch(order) => {
                let watcher = client.watch(order.watch).await?;
                watches.spawn(follow(watcher, printer, order.exec));
            }
            Request::Progress => client.request_progress()?,
            Request::Invalid(reason) => eprintln!("{reason}"),
        }
    }
}

/// The lines of standard input, without their ends. A line that has no end is none. The thread ends with the input or the process.
fn read_lines() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            if input.read_until(b'\n', &mut line).is_err() || line.pop() != Some(b'\n') {
                return;
            }
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What a line asks for.
#[derive(Debug)]
enum Request {
    Watch(Order),
    Progress,
    /// Something else; the session goes on.
    Invalid(String),
}

fn request(line: &[u8], environment: &Environment) -> Result<Request, Exit> {
    let shown = String::from_utf8_lossy(line);
    let invalid = |reason: &dyn std::fmt::Display| Ok(Request::Invalid(format!("Invalid command {shown} ({reason})")));
    let words: Vec<Bytes> = words(line).map_err(Exit::invalid_input)?.into_iter().map(Bytes::from).collect();
    let rest = match &words[..] {
        [] => return Ok(Request::Invalid(format!("Invalid command: {shown} (watch and progress supported)"))),
        [command, rest @ ..] if command == "watch" => rest,
        [command, ..] if command == "progress" => return Ok(Request::Progress),
        _ => return invalid(&"only support watch"),
    };
    if rest.is_empty() && environment.key.is_empty() {
        return invalid(&"command type or key is not provided");
    }
    let words = parse(rest, &COMMAND.flags.iter().collect::<Vec<_>>()).map_err(Exit::bad_args)?;
    match Order::new(&words, environment)? {
        Ok(order) => Ok(Request::Watch(order)),
        Err(conflict) => invalid(&conflict),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(line: &str, environment: &Environment) -> Result<Order, String> {
        let words: Vec<Bytes> = line.split_whitespace().map(|word| word.to_string().into()).collect();
        let words = parse(&words, &COMMAND.flags.iter().collect::<Vec<_>>()).unwrap();
        let order = Order::new(&words, environment).map_err(|exit| exit.message.unwrap())?;
        order.map_err(|conflict| conflict.to_string())
    }

    #[test]
    fn keys_and_commands_in_any_order() {
        const NO_COMMAND: Result<&str, &str> = Err("bad number of arguments (found separator --, but no commands)");
        const CONFLICT: Result<&str, &str> = Err("bad number of arguments (found conflicting environment key)");
        const NOTHING: Result<&str, &str> = Err("bad number of arguments");
        for (line, key, end, expected) in [
            ("foo bar", "", "", Ok("foo bar")),
            ("foo bar --", "", "", NO_COMMAND),
            ("--", "foo", "", NO_COMMAND),
            ("", "foo", "bar", Ok("foo bar")),
            ("", "", "", NOTHING),
            ("foo", "foo", "", CONFLICT),
            ("foo bar", "foo", "bar", CONFLICT),
            ("--rev 1 foo", "foo", "bar", CONFLICT),
            ("--rev 1", "", "", NOTHING),
            ("--rev 1", "foo", "", Ok("foo")),
            ("foo --rev 1", "", "", Ok("foo")),
            ("foo -- echo watch event received", "", "", Ok("foo | echo watch event received")),
            ("foo --rev 1 bar -- echo Hello World", "", "", Ok("foo bar | echo Hello World")),
            ("--rev 1 -- echo Hello World", "foo", "", Ok("foo | echo Hello World")),
            ("--rev 1 -- echo Hello World", "foo", "bar", Ok("foo bar | echo Hello World")),
            ("foo bar --rev 1 -- echo Hello World", "foo", "", CONFLICT),
            ("-- echo", "", "", NOTHING),
            ("a b c", "", "", Ok("a")),
            ("a b --prefix", "", "", Err("`range_end` and `--prefix` are mutually exclusive")),
        ] {
            let found = order(line, &Environment { key: key.into(), end: end.into() });
            let expected = expected.map_err(str::to_string).map(|expected| {
                let (keys, exec) = expected.split_once(" | ").unwrap_or((expected, ""));
                let mut keys = keys.split(' ');
                let mut watch = Watch::new(keys.next().unwrap().to_string());
                watch = watch.revision(if line.contains("--rev 1") { 1 } else { 0 });
                if let Some(end) = keys.next() {
                    watch = watch.range(end.to_string());
                }
                Order { watch, exec: exec.split_whitespace().map(|word| word.to_string().into()).collect() }
            });
            assert_eq!(found, expected, "{line:?} with {key:?} {end:?}");
        }
    }

    #[test]
    fn lines_that_are_no_requests_say_why() {
        for (line, reason) in [
            ("", "Invalid command:  (watch and progress supported)"),
            ("put a b", "Invalid command put a b (only support watch)"),
            ("watch", "Invalid command watch (command type or key is not provided)"),
            (
                "watch a b --prefix",
                "Invalid command watch a b --prefix (`range_end` and `--prefix` are mutually exclusive)",
            ),
        ] {
            match request(line.as_bytes(), &Environment::default()) {
                Ok(Request::Invalid(found)) => assert_eq!(found, reason),
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}
