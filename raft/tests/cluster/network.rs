//! What is on its way between the nodes: it may be lost, doubled, overtaken and late, and links may be cut in one
//! direction or in both.

use std::collections::VecDeque;

use crate::cluster::rng::Rng;
use crate::message::Message;
use crate::types::NodeId;

/// What is on its way is bounded, as the queues of real peers are: beyond this the oldest
/// messages are lost.
const MAX_FLIGHTS: usize = 1000;

#[derive(Debug)]
pub struct Network {
    flights: VecDeque<Message>,
    cut: Vec<(NodeId, NodeId)>,
    odds: Odds,
}

/// Of a hundred messages, how many.
#[derive(Clone, Copy, Debug)]
struct Odds {
    lost: usize,
    doubled: usize,
    overtaken: usize,
    late: usize,
}

/// What becomes of a message.
#[derive(Debug)]
pub enum Arrival {
    Delivered(Message),
    Lost(Message),
}

impl Network {
    pub fn draw(rng: &mut Rng) -> Network {
        let odds = Odds {
            lost: rng.pick(&[0, 0, 5, 30]),
            doubled: rng.pick(&[0, 3, 15]),
            overtaken: rng.pick(&[0, 20, 60]),
            late: rng.pick(&[0, 5, 30]),
        };
        Network { flights: VecDeque::new(), cut: Vec::new(), odds }
    }

    pub fn send(&mut self, messages: impl IntoIterator<Item = Message>) {
        self.flights.extend(messages);
    }

    /// Takes a message off its way, if one arrives now.
    pub fn arrive(&mut self, rng: &mut Rng) -> Option<Arrival> {
        if self.flights.is_empty() {
            return None;
        }
        if self.flights.len() > MAX_FLIGHTS {
            return self.flights.pop_front().map(Arrival::Lost);
        }
        let place = if rng.percent(self.odds.overtaken) { rng.below(self.flights.len()) } else { 0 };
        let message = self.flights.remove(place)?;
        if self.cut.contains(&(message.from, message.to)) || rng.percent(self.odds.lost) {
            return Some(Arrival::Lost(message));
        }
        if rng.percent(self.odds.late) {
            self.flights.push_back(message);
            return None;
        }
        if rng.percent(self.odds.doubled) {
            self.flights.push_back(message.clone());
        }
        Some(Arrival::Delivered(message))
    }

    /// Everything on its way, to be delivered in the order in which it was sent.
    pub fn take_all(&mut self) -> VecDeque<Message> {
        std::mem::take(&mut self.flights)
    }

    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Cuts a group of nodes off from the others: in both directions, or only what they say or only what they hear.
    pub fn partition(&mut self, rng: &mut Rng, nodes: usize) {
        let mut inside: Vec<bool> = (0..nodes).map(|_| rng.percent(40)).collect();
        inside[rng.below(nodes)] = true;
        let (says, hears) = rng.pick(&[(true, true), (true, true), (true, false), (false, true)]);
        let id = |place: usize| NodeId(place as u64 + 1);
        for one in (0..nodes).filter(|one| inside[*one]) {
            for other in (0..nodes).filter(|other| !inside[*other]) {
                if says {
                    self.cut.push((id(one), id(other)));
                }
                if hears {
                    self.cut.push((id(other), id(one)));
                }
            }
        }
    }

    /// All links work again.
    pub fn heal(&mut self) {
        self.cut.clear();
    }
}
