//! The directives of `confchange/`.

use ferrite_raft::{ChangeKind, Index, InflightLimits, MemberChange, Membership, NodeId, Peers};

use crate::script::Directive;

pub struct Changer {
    membership: Membership,
    peers: Peers,
    /// One more with each directive.
    last_index: u64,
}

impl Changer {
    pub fn new() -> Changer {
        let limits = InflightLimits { messages: 10, bytes: u64::MAX };
        Changer { membership: Membership::default(), peers: Peers::new(limits), last_index: 0 }
    }

    pub fn handle(&mut self, directive: &Directive) -> String {
        let result = self.change(directive);
        self.last_index += 1;
        match result {
            Ok(()) => {
                let lines: String = self.peers.lines(&self.membership).map(|line| line + "\n").collect();
                format!("{}\n{lines}", self.membership)
            }
            Err(error) => format!("{error}\n"),
        }
    }

    fn change(&mut self, directive: &Directive) -> Result<(), String> {
        let changes = parse_changes(&directive.input)?;
        let changed = match directive.command.as_str() {
            "simple" => self.membership.simple(&changes),
            "enter-joint" => self.membership.enter_joint(directive.value("autoleave") == Some("true"), &changes),
            "leave-joint" if !changes.is_empty() => return Err("this command takes no input".to_owned()),
            "leave-joint" => self.membership.leave_joint(),
            other => panic!("unknown command {other}"),
        };
        self.membership = changed.map_err(|error| error.to_string())?;
        self.peers.adopt(&self.membership, Index(self.last_index.max(1)));
        Ok(())
    }
}

/// `v1 l2 r3 u4`: make 1 a voter, 2 a learner, remove 3, update 4.
pub fn parse_changes(input: &str) -> Result<Vec<MemberChange>, String> {
    let parse = |token: &str| {
        let kind = match token.as_bytes()[0] {
            b'v' => ChangeKind::AddNode,
            b'l' => ChangeKind::AddLearnerNode,
            b'r' => ChangeKind::RemoveNode,
            b'u' => ChangeKind::UpdateNode,
            _ => return Err(format!("unknown input: {token}")),
        };
        let node = token[1..].parse().map_err(|_| format!("unknown token {token}"))?;
        Ok(MemberChange { kind, node: NodeId(node) })
    };
    input.split_whitespace().map(parse).collect()
}
