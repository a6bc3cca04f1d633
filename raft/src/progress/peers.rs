//! The progress of every member, the leader itself among them.

use crate::membership::Membership;
use crate::progress::{InflightLimits, Progress, Shown};
use crate::types::{Index, NodeId};

/// What a leader knows of each member, ascending by id: everything that is sent to all goes in this order.
#[derive(Clone, Debug)]
pub struct Peers {
    known: Vec<(NodeId, Progress)>,
    limits: InflightLimits,
}

impl Peers {
    /// Nobody is known of yet.
    pub fn new(limits: InflightLimits) -> Peers {
        Peers { known: Vec::new(), limits }
    }

    /// Forgets who is no longer a member, and begins with who is new at the index `next`. A new one counts as active: it
    /// could not be heard before.
    pub fn adopt(&mut self, membership: &Membership, next: Index) {
        self.known.retain(|(id, _)| membership.contains(*id));
        for id in membership.ids() {
            if let Err(place) = self.place(id) {
                let mut progress = Progress::new(next, self.limits);
                progress.active = true;
                self.known.insert(place, (id, progress));
            }
        }
    }

    fn place(&self, id: NodeId) -> Result<usize, usize> {
        self.known.binary_search_by_key(&id, |(known, _)| *known)
    }

    /// What is known of a member; `None` if it is none.
    pub fn get(&self, id: NodeId) -> Option<&Progress> {
        self.place(id).ok().map(|place| &self.known[place].1)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Progress> {
        self.place(id).ok().map(|place| &mut self.known[place].1)
    }

    /// All members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        self.known.iter().map(|(id, progress)| (*id, progress))
    }

    /// The same, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeId, &mut Progress)> {
        self.known.iter_mut().map(|(id, progress)| (*id, progress))
    }

    /// Everybody but one.
    pub(crate) fn iter_mut_but(&mut self, but: NodeId) -> impl Iterator<Item = (NodeId, &mut Progress)> {
        self.iter_mut().filter(move |(id, _)| *id != but)
    }

    /// One line a member, as etcd's library prints them.
    pub fn lines<'p>(&'p self, membership: &'p Membership) -> impl Iterator<Item = String> + 'p {
        self.iter().map(|(id, progress)| format!("{id}: {}", Shown { progress, learner: membership.is_learner(id) }))
    }
}
