//! The directives of `interaction/`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use ferrite_raft::{
    Body, ConfChange, ConfChangeV1, ConfChangeV2, Config, Index, Limits, LogStore, MemoryLog, Message, NodeId,
    ProposeError, RawNode, ReadOnlyMode, Rules, Snapshot, StorageWrites, Term, Transition,
};

use crate::confchange::parse_changes;
use crate::describe;
use crate::directives;
use crate::nodes::{Disk, Flight, Node};
use crate::output::Output;
use crate::script::Directive;

const ELECTION_TICKS: u32 = 3;
const HEARTBEAT_TICKS: u32 = 1;

pub struct Environment {
    pub(super) nodes: Vec<Node>,
    /// What is under way, in the order in which it was sent.
    pub(super) network: Vec<Flight>,
    pub(super) output: Output,
}

impl Environment {
    pub fn new() -> Environment {
        Environment { nodes: Vec::new(), network: Vec::new(), output: Output::default() }
    }

    pub fn handle(&mut self, directive: &Directive) -> String {
        if let Err(error) = self.run(directive) {
            if self.output.is_silent() {
                return error;
            }
            self.output.write(error);
        }
        let printed = self.output.take();
        if printed.is_empty() { "ok".to_owned() } else { printed }
    }

    fn run(&mut self, directive: &Directive) -> Result<(), String> {
        let numbers = || directive.numbers();
        match directive.command.as_str() {
            "add-nodes" => return self.add_nodes(directive),
            "campaign" => self.node(numbers()[0]).raft.campaign(),
            "propose" => {
                let data = Bytes::copy_from_slice(directive.arguments[1].key.as_bytes());
                let id = directive.arguments[0].key.parse().expect("a node");
                return self.node(id).raft.propose(data).map_err(dropped);
            }
            "propose-conf-change" => return self.propose_conf_change(directive),
            "forget-leader" => self.node(numbers()[0]).raft.forget_leader(),
            "tick-election" => (0..ELECTION_TICKS).for_each(|_| self.node(numbers()[0]).raft.tick()),
            "tick-heartbeat" => (0..HEARTBEAT_TICKS).for_each(|_| self.node(numbers()[0]).raft.tick()),
            "set-randomized-election-timeout" => {
                let ticks = directive.value("timeout").expect("a timeout").parse().expect("ticks");
                self.node(numbers()[0]).raft.set_election_timeout(ticks);
            }
            "process-ready" => self.for_each(&numbers(), "handling Ready", Environment::process_ready),
            "process-append-thread" => self.for_each(&numbers(), "processing append thread", Environment::process_save),
            "process-apply-thread" => self.for_each(&numbers(), "processing apply thread", Environment::process_apply),
            "deliver-msgs" => self.deliver_messages(directive),
            "stabilize" => self.stabilize(directive),
            "status" => {
                let lines = self.node(numbers()[0]).raft.status().progress_lines();
                self.output.write(lines.iter().map(|line| format!("{line}\n")).collect::<String>());
            }
            "raft-log" => self.print_log(numbers()[0]),
            "raft-state" => self.print_states(),
            "compact" => {
                let [id, index] = numbers()[..] else { panic!("{directive:?}") };
                self.node(id).raft.log_mut().log.compact(Index(index)).map_err(|error| error.to_string())?;
                self.print_log(id);
            }
            "transfer-leadership" => {
                let id = |key| directive.value(key).expect("a node").parse().expect("a node");
                self.node(id("from")).raft.transfer_leader(NodeId(id("to")));
            }
            "report-unreachable" => {
                let [id, other] = numbers()[..] else { panic!("{directive:?}") };
                self.node(id).raft.report_unreachable(NodeId(other));
            }
            "send-snapshot" => {
                let [from, to] = numbers()[..] else { panic!("{directive:?}") };
                self.send_snapshot(from, to);
            }
            "log-level" => {
                self.output.set_level(&directive.arguments[0].key);
            }
            _ => return self.run_own(directive),
        }
        Ok(())
    }

    pub(super) fn node(&mut self, id: u64) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    fn add_nodes(&mut self, directive: &Directive) -> Result<(), String> {
        let ids = |key| directive.values(key).iter().map(|id| NodeId(id.parse().expect("a node"))).collect::<Vec<_>>();
        let number = |key, default| directive.value(key).map_or(default, |value| value.parse().expect("a number"));
        let flag = |key| directive.value(key) == Some("true");
        let mut state = Snapshot::default();
        state.meta.conf.voters = ids("voters");
        state.meta.conf.learners = ids("learners");
        state.meta.index = Index(number("index", 0));
        state.data = Bytes::copy_from_slice(directive.value("content").unwrap_or_default().as_bytes());
        if state != Snapshot::default() {
            if state.meta.index.0 <= 1 {
                return Err("index must be specified as > 1 due to bootstrap".to_owned());
            }
            state.meta.term = Term(1);
        }
        let asynchronous = flag("async-storage-writes");
        for _ in 0..directive.numbers()[0] {
            let id = NodeId(self.nodes.len() as u64 + 1);
            let config = Config {
                election_ticks: ELECTION_TICKS,
                heartbeat_ticks: HEARTBEAT_TICKS,
                applied: state.meta.index,
                writes: if asynchronous { StorageWrites::Asynchronous } else { StorageWrites::Synchronous },
                limits: Limits {
                    max_size_per_message: number("max-size-per-msg", u64::MAX),
                    max_committed_size: number("max-committed-size-per-ready", u64::MAX),
                    max_uncommitted_size: number("max-uncommitted-size", u64::MAX),
                    max_inflight_messages: number("inflight", i32::MAX as u64) as usize,
                    max_inflight_bytes: number("inflight-bytes", u64::MAX),
                },
                rules: Rules {
                    pre_vote: flag("prevote"),
                    check_quorum: flag("checkquorum"),
                    read_only: match directive.value("read-only") {
                        Some("lease-based") => ReadOnlyMode::LeaseBased,
                        _ => ReadOnlyMode::Safe,
                    },
                    disable_proposal_forwarding: flag("disable-proposal-forwarding"),
                    disable_conf_change_validation: flag("disable-conf-change-validation"),
                    step_down_on_removal: flag("step-down-on-removal"),
                },
                ..Config::new(id)
            };
            let mut log = MemoryLog::new();
            log.apply_snapshot(state.clone()).expect("the log is empty");
            directives::write_log(&mut log, directive);
            let history = Rc::new(RefCell::new(vec![state.clone()]));
            let disk = Disk { log, history: Rc::clone(&history) };
            let logger = Box::new(self.output.clone());
            let raft = RawNode::with_logger(config.clone(), disk, logger).map_err(|e| e.to_string())?;
            let (saves, applies) = (VecDeque::new(), VecDeque::new());
            self.nodes.push(Node { config, raft, asynchronous, history, saves, applies });
        }
        Ok(())
    }

    fn propose_conf_change(&mut self, directive: &Directive) -> Result<(), String> {
        let id = directive.arguments[0].key.parse().expect("a node");
        let transition = match directive.value("transition") {
            Some("implicit") => Transition::JointImplicit,
            Some("explicit") => Transition::JointExplicit,
            _ => Transition::Auto,
        };
        let changes = parse_changes(&directive.input)?;
        let change: ConfChange = if directive.value("v1") == Some("true") {
            if changes.len() > 1 || transition != Transition::Auto {
                return Err("v1 conf change can only have one operation and no transition".to_owned());
            }
            ConfChangeV1 { id: 0, change: changes[0], context: Bytes::new() }.into()
        } else {
            ConfChangeV2 { transition, changes, context: Bytes::new() }.into()
        };
        self.node(id).raft.propose_conf_change(change).map_err(dropped)
    }

    /// Does something on each node. With more than one, each has a headline.
    fn for_each(&mut self, ids: &[u64], headline: &str, mut work: impl FnMut(&mut Environment, u64)) {
        for id in ids {
            if ids.len() > 1 {
                self.output.write(format!("> {id} {headline}\n"));
                let output = self.output.clone();
                output.indented(|| work(self, *id));
            } else {
                work(self, *id);
            }
        }
    }

    fn process_ready(&mut self, id: u64) {
        let output = self.output.clone();
        let sent = self.node(id).handle_ready(|text| output.write(text));
        self.network.extend(sent);
    }

    fn process_save(&mut self, id: u64) {
        let output = self.output.clone();
        let answers = self.node(id).do_save(|text| output.write(text));
        self.network.extend(answers);
    }

    fn process_apply(&mut self, id: u64) {
        let output = self.output.clone();
        let answers = self.node(id).do_apply(|text| output.write(text));
        self.network.extend(answers);
    }

    fn deliver_messages(&mut self, directive: &Directive) {
        let kind = directive.value("type");
        let dropped = directive.values("drop").iter().map(|id| (id.parse().expect("a node"), true));
        let recipients: Vec<(u64, bool)> =
            directive.numbers().into_iter().map(|id| (id, false)).chain(dropped).collect();
        let delivered: usize = recipients.into_iter().map(|(id, drop)| self.deliver(id, kind, drop)).sum();
        if delivered == 0 {
            self.output.write("no messages\n");
        }
    }

    /// Delivers or drops what is under way to a node, and returns how much that was.
    fn deliver(&mut self, to: u64, kind: Option<&str>, drop: bool) -> usize {
        let wanted = |flight: &Flight| {
            flight.to().0 == to && !(drop && flight.is_local()) && kind.is_none_or(|kind| flight.line().name == kind)
        };
        let (taken, rest) = std::mem::take(&mut self.network).into_iter().partition::<Vec<_>, _>(wanted);
        self.network = rest;
        let count = taken.len();
        for flight in taken {
            let prefix = if drop { "dropped: " } else { "" };
            self.output.write(format!("{prefix}{}\n", flight.line().print("")));
            if !drop && let Err(error) = self.node(to).deliver(flight) {
                self.output.write(format!("{error}\n"));
            }
        }
        count
    }

    /// Lets the nodes work until nothing is left to do.
    fn stabilize(&mut self, directive: &Directive) {
        let level = directive.value("log-level").map(|level| self.output.set_level(level));
        let mut ids = directive.numbers();
        if ids.is_empty() {
            ids = self.nodes.iter().map(|node| node.id().0).collect();
        }
        while self.stabilize_once(&ids) {}
        if let Some(level) = level {
            self.output.set_level(&level);
        }
    }

    fn stabilize_once(&mut self, ids: &[u64]) -> bool {
        let output = self.output.clone();
        let mut busy = false;
        let mut headline = |id: u64, text: &str| {
            busy = true;
            output.write(format!("> {id} {text}\n"));
        };
        for id in ids {
            if self.node(*id).raft.has_ready() {
                headline(*id, "handling Ready");
                output.indented(|| self.process_ready(*id));
            }
        }
        for id in ids {
            if self.network.iter().any(|flight| flight.to().0 == *id) {
                headline(*id, "receiving messages");
                output.indented(|| self.deliver(*id, None, false));
            }
        }
        for id in ids {
            if !self.node(*id).saves.is_empty() {
                headline(*id, "processing append thread");
                while !self.node(*id).saves.is_empty() {
                    output.indented(|| self.process_save(*id));
                }
            }
        }
        for id in ids {
            if !self.node(*id).applies.is_empty() {
                headline(*id, "processing apply thread");
                while !self.node(*id).applies.is_empty() {
                    output.indented(|| self.process_apply(*id));
                }
            }
        }
        busy
    }

    fn print_log(&mut self, id: u64) {
        let log = &self.node(id).raft.log().log;
        let (first, last) = (log.first_index(), log.last_index());
        let text = if last < first {
            format!("log is empty: first index={first}, last index={last}")
        } else {
            let mut entries = Vec::new();
            log.entries(first, last.next(), u64::MAX, &mut entries).expect("all that is there");
            describe::entries(&entries)
        };
        self.output.write(text);
    }

    fn print_states(&mut self) {
        for node in &self.nodes {
            let status = node.raft.status();
            let voter = if status.membership.is_voter(status.id) { "(Voter)" } else { "(Non-Voter)" };
            self.output.write(format!(
                "{}: {} {voter} Term:{} Lead:{}\n",
                status.id,
                status.soft_state.role.name(),
                status.hard_state.term,
                status.soft_state.leader.map_or(0, |id| id.0)
            ));
        }
    }

    fn send_snapshot(&mut self, from: u64, to: u64) {
        let node = self.node(from);
        let snapshot = node.raft.log().snapshot().expect("a snapshot");
        let term = node.raft.hard_state().term;
        let message = Message { from: NodeId(from), to: NodeId(to), term, body: Body::Snapshot(Box::new(snapshot)) };
        self.output.write(describe::message(&message).print(""));
        self.network.push(Flight::Message(message));
    }
}

fn dropped(_: ProposeError) -> String {
    "raft proposal dropped".to_owned()
}
