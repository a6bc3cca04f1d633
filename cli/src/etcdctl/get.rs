//! `get`: reads keys.

use ferrite_client::proto::etcdserverpb::RangeResponse;
use ferrite_client::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use ferrite_client::{Client, Get};

use super::connect;
use crate::command::{Command, Flag, Flags, Group, Invocation, Words};
use crate::exit::Exit;
use crate::print::{Answer, Format, Printer};

pub static COMMAND: Command = Command {
    usage: "get [options] <key> [range_end]",
    short: "Gets the key or a range of keys",
    group: Group::KeyValue,
    flags: &[
        Flag::text("consistency", "l", "linearizable(l) or serializable(s)"),
        Flag::text("order", "", "order of results: ASCEND or DESCEND (ASCEND by default)"),
        Flag::text("sort-by", "", "what results are ordered by: CREATE, KEY, MODIFY, VALUE or VERSION"),
        Flag::int("limit", "maximum number of results"),
        Flag::bool("prefix", "get keys with matching prefix"),
        Flag::bool("from-key", "get keys that are greater than or equal to the given key"),
        Flag::int("rev", "read at this revision"),
        Flag::bool("keys-only", "get only the keys"),
        Flag::bool("count-only", "get only the count (with --write-out=fields)"),
        Flag::bool("print-value-only", "only write values when using the simple output format"),
        Flag::int("min-create-rev", "only keys created at this revision or later"),
        Flag::int("max-create-rev", "only keys created at this revision or earlier"),
        Flag::int("min-mod-rev", "only keys changed at this revision or later"),
        Flag::int("max-mod-rev", "only keys changed at this revision or earlier"),
        Flag::bool("stream", "let the server send the result in parts, as it reads them"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let get = operation(&call.words)?;
    let (client, printer) = connect::timed(&mut call).await?;
    let flags = call.flags();
    let response = if flags.bool("stream") { stream(&client, get).await? } else { client.get(get).await? };
    print(&printer, flags, response)
}

/// Flags that fit only one format are refused when the answer is there, as in etcd.
fn print(printer: &Printer, flags: &Flags, response: RangeResponse) -> Result<(), Exit> {
    if flags.bool("count-only") && printer.format != Format::Fields {
        return Err(Exit::bad_args("--count-only is only for `--write-out=fields`"));
    }
    let values_only = flags.bool("print-value-only");
    if values_only && printer.format != Format::Simple {
        return Err(Exit::bad_args("print-value-only is only for `--write-out=simple`"));
    }
    printer.print(&Answer::Get { response, values_only })
}

/// All parts of a streamed read, as one answer.
async fn stream(client: &Client, get: Get) -> Result<RangeResponse, Exit> {
    let mut parts = client.range_stream(get).await?;
    let mut whole = RangeResponse::default();
    while let Some(part) = parts.next().await? {
        whole.header = part.header.or(whole.header);
        whole.kvs.extend(part.kvs);
        whole.more |= part.more;
        whole.count = if part.count != 0 { part.count } else { whole.count };
    }
    Ok(whole)
}

/// The read that `words` ask for.
pub fn operation(words: &Words) -> Result<Get, Exit> {
    let (flags, args) = (&words.flags, &words.args);
    let Some(key) = args.first() else {
        return Err(Exit::bad_args("get command needs one argument as key and an optional argument as range_end"));
    };
    let (prefix, from_key) = (flags.bool("prefix"), flags.bool("from-key"));
    if prefix && from_key {
        return Err(Exit::bad_args(PREFIX_AND_FROM_KEY));
    }
    if flags.bool("keys-only") && flags.bool("count-only") {
        return Err(Exit::bad_args("`--keys-only` and `--count-only` cannot be set at the same time, choose one"));
    }
    let mut get = Get::new(key.clone());
    match flags.text("consistency") {
        "l" => {}
        "s" => get = get.serializable(),
        other => return Err(Exit::bad_feature(format!("unknown consistency flag {other:?}"))),
    }
    match args.get(1) {
        Some(_) if prefix || from_key => return Err(Exit::bad_args(TOO_MANY_FOR_RANGE)),
        Some(end) => get = get.range(end.clone()),
        None => {}
    }
    let (order, target) = (order(flags.text("order"))?, target(flags.text("sort-by"))?);
    get = get.limit(flags.int("limit")).sort(target, order);
    if flags.int("rev") > 0 {
        get = get.revision(flags.int("rev"));
    }
    if prefix {
        get = get.prefix();
    }
    if from_key {
        get = get.from_key();
    }
    if flags.bool("keys-only") {
        get = get.keys_only();
    }
    if flags.bool("count-only") {
        get = get.count_only();
    }
    bounds(flags, get)
}

pub const PREFIX_AND_FROM_KEY: &str = "`--prefix` and `--from-key` cannot be set at the same time, choose one";
pub const TOO_MANY_FOR_RANGE: &str =
    "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";

fn order(text: &str) -> Result<SortOrder, Exit> {
    match text.to_uppercase().as_str() {
        "" => Ok(SortOrder::None),
        "ASCEND" => Ok(SortOrder::Ascend),
        "DESCEND" => Ok(SortOrder::Descend),
        _ => Err(Exit::bad_feature(format!("bad sort order {text}"))),
    }
}

fn target(text: &str) -> Result<SortTarget, Exit> {
    match text.to_uppercase().as_str() {
        "" | "KEY" => Ok(SortTarget::Key),
        "CREATE" => Ok(SortTarget::Create),
        "MODIFY" => Ok(SortTarget::Mod),
        "VALUE" => Ok(SortTarget::Value),
        "VERSION" => Ok(SortTarget::Version),
        _ => Err(Exit::bad_feature(format!("bad sort target {text}"))),
    }
}

/// Bounds on revisions; one that is not positive is none.
fn bounds(flags: &Flags, get: Get) -> Result<Get, Exit> {
    let bound = |name: &str| flags.int(name).max(0);
    let pair = |name: &str, min: &str, max: &str| {
        let (min, max) = (bound(min), bound(max));
        if max > 0 && min > max {
            return Err(Exit::bad_feature(format!("getMin{name}Rev(={min}) > getMax{name}Rev(={max})")));
        }
        Ok((min, max))
    };
    let created = pair("Create", "min-create-rev", "max-create-rev")?;
    let modified = pair("Mod", "min-mod-rev", "max-mod-rev")?;
    let get = get.min_create_revision(created.0).max_create_revision(created.1);
    Ok(get.min_mod_revision(modified.0).max_mod_revision(modified.1))
}
