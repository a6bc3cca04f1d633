//! Directives that our own scenarios have beside those of etcd's library.
//!
//! | directive | what happens |
//! |---|---|
//! | `add-nodes … log=(1,1,4) term=8` | each node begins with entries of these terms behind its snapshot, and in this term |
//! | `read-index I CONTEXT` | node I asks for an index to read at |
//! | `restart I` | node I loses what it has not saved, and begins again from its disk |
//! | `drop-all` | all that is under way is lost |
//! | `tick I N` | N ticks on node I |
//! | `report-snapshot I J ok=BOOL` | node I hears whether its snapshot reached J |

use std::collections::VecDeque;

use bytes::Bytes;
use ferrite_raft::{Config, Entry, HardState, LogStore, MemoryLog, NodeId, RawNode, Term};

use crate::interaction::Environment;
use crate::nodes::Disk;
use crate::script::Directive;

/// Writes the log that a node begins with.
pub fn write_log(log: &mut MemoryLog, directive: &Directive) {
    let terms = directive.values("log").iter().map(|term| Term(term.parse().expect("a term")));
    for term in terms {
        let index = log.last_index().next();
        let data = Bytes::from(format!("{term}/{index}"));
        log.append([Entry { term, index, payload: data.into() }]);
    }
    if let Some(term) = directive.value("term") {
        let term = Term(term.parse().expect("a term"));
        log.set_hard_state(HardState { term, vote: None, commit: log.first_index().prev() });
    }
}

impl Environment {
    pub(super) fn run_own(&mut self, directive: &Directive) -> Result<(), String> {
        let argument = |place: usize| directive.arguments[place].key.as_str();
        let number = |place: usize| argument(place).parse::<u64>().expect("a number");
        match directive.command.as_str() {
            "read-index" => {
                let context = Bytes::copy_from_slice(argument(1).as_bytes());
                self.node(number(0)).raft.read_index(context);
            }
            "restart" => return self.restart(number(0)),
            "drop-all" => self.network.clear(),
            "tick" => (0..number(1)).for_each(|_| self.node(number(0)).raft.tick()),
            "report-snapshot" => {
                let arrived = directive.value("ok") == Some("true");
                self.node(number(0)).raft.report_snapshot(NodeId(number(1)), arrived);
            }
            "report-gone" => self.node(number(0)).raft.report_gone(NodeId(number(1))),
            other => return Err(format!("unknown command {other}")),
        }
        Ok(())
    }

    fn restart(&mut self, id: u64) -> Result<(), String> {
        self.network.retain(|flight| !(flight.is_local() && flight.to().0 == id));
        let logger = Box::new(self.output.clone());
        let node = self.node(id);
        let log = node.raft.log().log.clone();
        // The state machine may have applied more than its log knows to be committed: it begins again from what that says.
        let commit = log.hard_state().commit;
        node.history.borrow_mut().retain(|state| state.meta.index <= commit);
        let state = node.history.borrow().last().expect("a first state").clone();
        let mut disk = Disk { log, history: std::rc::Rc::clone(&node.history) };
        disk.log.set_conf(state.meta.conf);
        let config = Config { applied: state.meta.index, ..node.config.clone() };
        node.raft = RawNode::with_logger(config, disk, logger).map_err(|error| error.to_string())?;
        (node.saves, node.applies) = (VecDeque::new(), VecDeque::new());
        Ok(())
    }
}
