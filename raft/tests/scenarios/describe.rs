//! How the scenarios print entries, messages and what is owed.

use ferrite_raft::{
    Body, ChangeKind, ConfChange, ConfState, Entry, HardState, Message, NodeId, Payload, Ready, Snapshot, SoftState,
    Verdict,
};

pub fn entry(entry: &Entry) -> String {
    let (kind, shown) = match &entry.payload {
        Payload::Data(data) => ("EntryNormal", format!("{:?}", String::from_utf8_lossy(data))),
        Payload::Change(change) => match &**change {
            ConfChange::V1(_) => ("EntryConfChange", changes(change)),
            ConfChange::V2(_) => ("EntryConfChangeV2", changes(change)),
        },
    };
    let space = if shown.is_empty() { "" } else { " " };
    format!("{}/{} {kind}{space}{shown}", entry.term, entry.index)
}

fn changes(change: &ConfChange) -> String {
    let shown = change.to_v2().changes.into_iter().map(|change| {
        let kind = match change.kind {
            ChangeKind::AddNode => 'v',
            ChangeKind::RemoveNode => 'r',
            ChangeKind::UpdateNode => 'u',
            ChangeKind::AddLearnerNode => 'l',
        };
        format!("{kind}{}", change.node)
    });
    shown.collect::<Vec<_>>().join(" ")
}

pub fn entries(entries: &[Entry]) -> String {
    entries.iter().map(|e| entry(e) + "\n").collect()
}

fn conf_state(conf: &ConfState) -> String {
    let list = |ids: &[NodeId]| ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ");
    format!(
        "Voters:[{}] VotersOutgoing:[{}] Learners:[{}] LearnersNext:[{}] AutoLeave:{}",
        list(&conf.voters),
        list(&conf.voters_outgoing),
        list(&conf.learners),
        list(&conf.learners_next),
        conf.auto_leave
    )
}

pub fn snapshot(snapshot: &Snapshot) -> String {
    format!("Index:{} Term:{} ConfState:{}", snapshot.meta.index, snapshot.meta.term, conf_state(&snapshot.meta.conf))
}

fn hard_state(state: &HardState) -> String {
    let vote = state.vote.map(|id| format!(" Vote:{id}")).unwrap_or_default();
    format!("Term:{}{vote} Commit:{}", state.term, state.commit)
}

fn soft_state(state: &SoftState) -> String {
    format!("Lead:{} State:{}", state.leader.map_or(0, |id| id.0), state.role.name())
}

/// A `Ready`, with its messages as the environment's mode of storage has them.
pub fn ready(ready: &Ready, messages: &[String]) -> String {
    let mut text = String::new();
    if let Some(state) = &ready.soft_state {
        text += &format!("{}\n", soft_state(state));
    }
    if let Some(state) = &ready.hard_state {
        text += &format!("HardState {}\n", hard_state(state));
    }
    if !ready.read_states.is_empty() {
        let states = ready.read_states.iter().map(|state| format!("{{{} {:?}}}", state.index, &state.context[..]));
        text += &format!("ReadStates [{}]\n", states.collect::<Vec<_>>().join(" ").replace(", ", " "));
    }
    if !ready.entries.is_empty() {
        text += &format!("Entries:\n{}", entries(&ready.entries));
    }
    if let Some(held) = &ready.snapshot {
        text += &format!("Snapshot {}\n", snapshot(held));
    }
    if !ready.committed.is_empty() {
        text += &format!("CommittedEntries:\n{}", entries(&ready.committed));
    }
    if !messages.is_empty() {
        text += &format!("Messages:\n{}\n", messages.join("\n"));
    }
    format!("Ready MustSync={}:\n{text}", ready.must_sync)
}

/// The parts of a message as raftpb has them, from which its line is made.
#[derive(Default)]
pub struct Line<'m> {
    pub from: String,
    pub to: String,
    pub name: &'static str,
    pub term: u64,
    pub log_term: u64,
    pub index: u64,
    pub rejected_hint: Option<u64>,
    pub commit: u64,
    pub vote: u64,
    pub entries: &'m [Entry],
    pub snapshot: Option<&'m Snapshot>,
    pub responses: Vec<Line<'m>>,
}

impl Line<'_> {
    pub fn print(&self, indent: &str) -> String {
        let Line { from, to, name, term, log_term, index, .. } = self;
        let mut text = format!("{indent}{from}->{to} {name} Term:{term} Log:{log_term}/{index}");
        if let Some(hint) = self.rejected_hint {
            text += &format!(" Rejected (Hint: {hint})");
        }
        if self.commit != 0 {
            text += &format!(" Commit:{}", self.commit);
        }
        if self.vote != 0 {
            text += &format!(" Vote:{}", self.vote);
        }
        match self.entries {
            [] => {}
            [one] => text += &format!(" Entries:[{}]", entry(one)),
            several => {
                let lines: String = several.iter().map(|e| format!("\n{indent}  {}", entry(e))).collect();
                text += &format!(" Entries:[{lines}\n{indent}]");
            }
        }
        if let Some(held) = self.snapshot {
            text += &format!("\n{indent}  Snapshot: {}", snapshot(held));
        }
        if !self.responses.is_empty() {
            let inner = format!("{indent}  ");
            let lines: String = self.responses.iter().map(|line| format!("\n{}", line.print(&inner))).collect();
            text += &format!(" Responses:[{lines}\n{indent}]");
        }
        text
    }
}

/// A message between nodes.
pub fn message(message: &Message) -> Line<'_> {
    let line = Line {
        from: format!("{:x}", message.from),
        to: format!("{:x}", message.to),
        name: message.body.name(),
        term: message.term.0,
        ..Line::default()
    };
    match &message.body {
        Body::Propose(entries) => Line { entries, ..line },
        Body::Append { prev, entries, commit } => {
            Line { log_term: prev.term.0, index: prev.index.0, commit: commit.0, entries, ..line }
        }
        Body::AppendAccepted { index } => Line { index: index.0, ..line },
        Body::AppendRejected { index, hint } => {
            Line { log_term: hint.term.0, index: index.0, rejected_hint: Some(hint.index.0), ..line }
        }
        Body::Vote(request) => Line { log_term: request.last.term.0, index: request.last.index.0, ..line },
        // What a rejection tells beyond that is ours alone, and not printed.
        Body::VoteAnswer { verdict, .. } => Line { rejected_hint: (*verdict != Verdict::Granted).then_some(0), ..line },
        Body::Snapshot(held) => Line { snapshot: Some(held), ..line },
        Body::Heartbeat { commit, .. } => Line { commit: commit.0, ..line },
        Body::ReadIndexAnswer { index, .. } => Line { index: index.0, ..line },
        Body::HeartbeatAnswer { .. }
        | Body::TransferLeader
        | Body::TimeoutNow
        | Body::ReadIndex { .. }
        | Body::ForgetLeader => line,
    }
}
