//! `txn`: a transaction, read from standard input.
//!
//! Three blocks of lines, each ended by an empty one: what has to hold, what to do if it holds, what to do if not.

use std::io::BufRead as _;

use bytes::Bytes;
use ferrite_client::proto::etcdserverpb::compare::CompareResult;
use ferrite_client::{Compare, Op, Txn};

use super::{connect, del, get, none, put};
use crate::command::{Command, Flag, Group, Invocation, find_among, parse, usage_alone};
use crate::exit::{self, Exit};
use crate::go::number::parse_int;
use crate::go::quote::{is_blank, quote, quoted_length, unquote, words};
use crate::print::Answer;

pub static COMMAND: Command = Command {
    usage: "txn [options]",
    short: "Txn processes all the requests in one transaction",
    long: "\
Txn reads comparisons and requests from standard input and processes them as one transaction.

<txn>     ::= <compare>* \"\\n\" <success>* \"\\n\" <failure>* \"\\n\"
<compare> ::= (c|create|m|mod|val|value|ver|version|lease) \"(\" <key> \")\" (\"<\"|\"=\"|\">\"|\"!=\") <quoted value>
<request> ::= a get, put or del command with its flags

For example,
---
mod(\"key1\") > \"0\"

put key1 \"overwrote-key1\"

put key1 \"created-key1\"
put key2 \"some extra key\"

---",
    group: Group::KeyValue,
    flags: &[Flag::bool("interactive", "show what is to be typed").letter('i')],
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

async fn run(mut call: Invocation) -> Result<(), Exit> {
    none(call.args(), "txn command does not accept argument")?;
    let interactive = call.flags().bool("interactive");
    let (client, printer) = connect::untimed(&mut call).await?;
    let ask = |question: &str| if interactive { exit::print(question.as_bytes()) } else { Ok(()) };

    ask("compares:\n")?;
    let mut compares = Vec::new();
    while let Some(line) = read_line()? {
        compares.push(comparison(&line)?);
    }
    ask("success requests (get, put, del):\n")?;
    let success = operations().await?;
    ask("failure requests (get, put, del):\n")?;
    let failure = operations().await?;

    let txn = Txn::new().when(compares).and_then(success).or_else(failure);
    printer.print(&Answer::Txn(client.txn(txn).await?))
}

/// The next line of a block, without blanks around it; `None` at its end. A line that has no end is no line.
fn read_line() -> Result<Option<Vec<u8>>, Exit> {
    let mut line = Vec::new();
    std::io::stdin().lock().read_until(b'\n', &mut line).map_err(Exit::invalid_input)?;
    if line.last() != Some(&b'\n') {
        return Err(Exit::invalid_input("EOF"));
    }
    let line = line.trim_ascii().to_vec();
    Ok((!line.is_empty()).then_some(line))
}

async fn operations() -> Result<Vec<Op>, Exit> {
    let mut operations = Vec::new();
    while let Some(line) = read_line()? {
        operations.push(operation(&line).await?);
    }
    Ok(operations)
}

/// A line that is a `get`, `put` or `del` command.
async fn operation(line: &[u8]) -> Result<Op, Exit> {
    let shown = String::from_utf8_lossy(line);
    let words: Vec<Bytes> = words(line).map_err(Exit::invalid_input)?.into_iter().map(Bytes::from).collect();
    let [name, rest @ ..] = &words[..] else { return Err(invalid_compare(&shown)) };
    if rest.is_empty() {
        return Err(invalid_compare(&shown));
    }
    let invalid = || Exit::invalid_input(format!("invalid txn request: {shown}"));
    let commands = [&get::COMMAND, &put::COMMAND, &del::COMMAND];
    let command = find_among(commands.into_iter(), name).ok_or_else(invalid)?;
    let words = parse(rest, &command.flags.iter().collect::<Vec<_>>()).map_err(|_| {
        eprintln!("{}", usage_alone(command));
        invalid()
    })?;
    Ok(match command.name() {
        "get" => get::operation(&words)?.into(),
        // Standard input is the transaction: it holds no value.
        "put" => put::operation(&words, || None)?.into(),
        _ => del::operation(&words).await?.into(),
    })
}

/// What etcd says of requests, too.
fn invalid_compare(line: &str) -> Exit {
    Exit::invalid_input(format!("invalid txn compare request: {line}"))
}

/// A line like `mod("key") > "5"`.
fn comparison(line: &[u8]) -> Result<Compare, Exit> {
    let shown = String::from_utf8_lossy(line);
    let malformed = |more: String| Exit::invalid_input(format!("malformed comparison: {shown}{more}"));
    let open = line.iter().position(|&byte| byte == b'(').ok_or_else(|| malformed(String::new()))?;
    let target = String::from_utf8_lossy(&line[..open]).into_owned();
    let (key, result, value) = match parts(&line[open + 1..]) {
        Ok(parts) => parts,
        Err(got) => {
            let (key, result) = (quote(&got.key), String::from_utf8_lossy(&got.result));
            return Err(malformed(format!("; got {target}({key}) {result} \"\"")));
        }
    };
    let number = || {
        let text = String::from_utf8_lossy(&value);
        parse_int(&text, Some(10)).map_err(|_| invalid_compare(&shown))
    };
    let result = match &result[..] {
        b"=" => CompareResult::Equal,
        b"!=" => CompareResult::NotEqual,
        b"<" => CompareResult::Less,
        b">" => CompareResult::Greater,
        other => return Err(malformed(format!(" (unknown operator {})", String::from_utf8_lossy(other)))),
    };
    Ok(match target.as_str() {
        "ver" | "version" => Compare::version(key).compare(result, number()?),
        "c" | "create" => Compare::create_revision(key).compare(result, number()?),
        "m" | "mod" => Compare::mod_revision(key).compare(result, number()?),
        "lease" => Compare::lease(key).compare(result, number()?),
        "val" | "value" => Compare::value(key).compare(result, value),
        _ => return Err(malformed(format!(" (unknown target {target})"))),
    })
}

/// What could be read of a comparison before it went wrong.
#[derive(Debug, Default, PartialEq)]
struct Got {
    key: Vec<u8>,
    result: Vec<u8>,
}

type Parts = (Vec<u8>, Vec<u8>, Vec<u8>);

/// `"key") op "value"`: the closing bracket right behind the key, blanks around the operator. What follows is nobody's.
fn parts(text: &[u8]) -> Result<Parts, Got> {
    let mut got = Got::default();
    let Some((key, rest)) = quoted(text.trim_ascii_start()) else { return Err(got) };
    got.key = key;
    let Some(rest) = rest.strip_prefix(b")").filter(|rest| rest.first().is_some_and(|&byte| is_blank(byte))) else {
        return Err(got);
    };
    let rest = rest.trim_ascii_start();
    let end = rest.iter().position(|&byte| is_blank(byte)).unwrap_or(rest.len());
    got.result = rest[..end].to_vec();
    match quoted(rest[end..].trim_ascii_start()) {
        Some((value, _)) => Ok((got.key, got.result, value)),
        None => Err(got),
    }
}

/// The string at the start of `text`, and what follows it.
fn quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    if !matches!(text.first()?, b'"' | b'`') {
        return None;
    }
    let (literal, rest) = text.split_at(quoted_length(text)?);
    Some((unquote(literal).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_read() {
        for (line, compare) in [
            (r#"value("k") = "v""#, Compare::value("k").eq("v")),
            (r#"val("k")  !=	"a b" and more"#, Compare::value("k").ne("a b")),
            (r#"mod("k") > "-5""#, Compare::mod_revision("k").gt(-5)),
            (r#"c(`\n`) < "0""#, Compare::create_revision("\\n").lt(0)),
            (r#"ver( "\x00") = "1""#, Compare::version("\0").eq(1)),
            (r#"lease("k") = "0""#, Compare::lease("k").eq(0)),
        ] {
            assert_eq!(comparison(line.as_bytes()), Ok(compare), "{line}");
        }
    }

    #[test]
    fn malformed_comparisons_say_how_far_they_were_read() {
        for (line, message) in [
            ("nonsense", "malformed comparison: nonsense"),
            (r#"value("k")"#, r#"malformed comparison: value("k"); got value("k")  """#),
            (r#"value("k")= "v""#, r#"malformed comparison: value("k")= "v"; got value("k")  """#),
            (r#"value("k") = v"#, r#"malformed comparison: value("k") = v; got value("k") = """#),
            (r#"foo("k") = "v""#, r#"malformed comparison: foo("k") = "v" (unknown target foo)"#),
            (r#"mod("k") = "x""#, r#"invalid txn compare request: mod("k") = "x""#),
        ] {
            assert_eq!(comparison(line.as_bytes()), Err(Exit::invalid_input(message)), "{line}");
        }
    }
}
