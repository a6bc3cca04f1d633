//! The directives of `quorum/`. As in the original, some results are computed in a second way, and a difference is printed.

use std::collections::BTreeMap;

use ferrite_raft::{JointQuorum, Majority, NodeId, VoteResult};

use crate::script::Directive;

pub fn handle(directive: &Directive) -> String {
    let ids = |key| {
        let values = directive.values(key).iter().filter(|value| *value != "zero");
        values.map(|id| NodeId(id.parse().expect("a node"))).collect::<Vec<_>>()
    };
    let joint = directive.arguments.iter().any(|argument| argument.key == "cfgj");
    let quorum = JointQuorum { incoming: Majority::new(ids("cfg")), outgoing: Majority::new(ids("cfgj")) };
    let key = if directive.command == "vote" { "votes" } else { "idx" };
    let given: Vec<u64> = directive.values(key).iter().map(|value| number(value)).collect();
    let voters = quorum.voters();
    if voters.len() != given.len() {
        let listed = voters.iter().map(|id| format!("{id}:{{}}")).collect::<Vec<_>>().join(" ");
        let values = given.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        return format!("error: mismatched input (explicit or _) for voters map[{listed}]: [{values}]");
    }
    // Values belong to the voters in the order in which they are named, each named once.
    let mut values = BTreeMap::new();
    let mut given = given.into_iter();
    for id in ids("cfg").into_iter().chain(ids("cfgj")) {
        values.entry(id).or_insert_with(|| given.next().unwrap_or_default());
    }
    values.retain(|_, value| *value != 0);
    match directive.command.as_str() {
        "committed" => committed(&quorum, joint, &values),
        "vote" => vote(&quorum, joint, &values),
        other => panic!("unknown command {other}"),
    }
}

/// Votes are numbers too: 2 for, 1 against.
fn number(value: &str) -> u64 {
    match value {
        "_" => 0,
        "y" => 2,
        "n" => 1,
        number => number.parse().expect("a number"),
    }
}

fn committed(quorum: &JointQuorum, joint: bool, values: &BTreeMap<NodeId, u64>) -> String {
    let by = |id: NodeId| values.get(&id).copied();
    let index = quorum.acknowledged(by);
    let mut text = describe(&quorum.voters(), values);
    let mut compare = |other: u64, how: &str| {
        if other != index {
            text += &format!("{other} <-- {how}\n");
        }
    };
    if joint {
        let swapped = JointQuorum { incoming: quorum.outgoing.clone(), outgoing: quorum.incoming.clone() };
        compare(swapped.acknowledged(by), "via symmetry");
    } else {
        compare(counted(quorum.incoming.voters(), values), "via alternative computation");
        let doubled = JointQuorum { incoming: quorum.incoming.clone(), outgoing: quorum.incoming.clone() };
        compare(doubled.acknowledged(by), "via self-joint quorum");
        for (id, held) in values.iter().filter(|(_, held)| index > **held) {
            let lowered = |lower: u64| move |other: NodeId| if other == *id { Some(lower) } else { by(other) };
            compare(quorum.acknowledged(lowered(held - 1)), &format!("overlaying {id}->{held}"));
            compare(quorum.acknowledged(lowered(0)), &format!("overlaying {id}->0"));
        }
    }
    text + &if index == u64::MAX { "∞".to_owned() } else { index.to_string() }
}

/// The largest index that more than half hold, found by counting.
fn counted(voters: &[NodeId], values: &BTreeMap<NodeId, u64>) -> u64 {
    if voters.is_empty() {
        return u64::MAX;
    }
    let held = |at: u64| voters.iter().filter(|id| values.get(id).is_some_and(|value| *value >= at)).count();
    values.values().copied().filter(|at| held(*at) > voters.len() / 2).max().unwrap_or(0)
}

fn vote(quorum: &JointQuorum, joint: bool, values: &BTreeMap<NodeId, u64>) -> String {
    let by = |id: NodeId| values.get(&id).map(|value| *value == 2);
    let name = |result| match result {
        VoteResult::Pending => "VotePending",
        VoteResult::Lost => "VoteLost",
        VoteResult::Won => "VoteWon",
    };
    let result = quorum.vote(by);
    let swapped = JointQuorum { incoming: quorum.outgoing.clone(), outgoing: quorum.incoming.clone() };
    match swapped.vote(by) {
        other if joint && other != result => format!("{} <-- via symmetry\n{}", name(other), name(result)),
        _ => name(result).to_owned(),
    }
}

/// A bar for each voter, as long as the number of voters that are behind it.
fn describe(voters: &[NodeId], values: &BTreeMap<NodeId, u64>) -> String {
    if voters.is_empty() {
        return "<empty majority quorum>".to_owned();
    }
    let count = voters.len();
    let value = |id: &NodeId| values.get(id).copied().unwrap_or(0);
    let mut text = format!("{}    idx\n", " ".repeat(count));
    for id in voters {
        let bar = voters.iter().filter(|other| value(other) < value(id)).count();
        text += &match values.contains_key(id) {
            true => format!("{}>{}", "x".repeat(bar), " ".repeat(count - bar)),
            false => format!("?{}", " ".repeat(count)),
        };
        text += &format!(" {:>5}    (id={id:x})\n", value(id));
    }
    text
}
