//! Messages on their way between nodes: lost, delayed, doubled and overtaken as the dice say.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use ferrite_raft::{Body, Message, NodeId};
use ferrite_storage::vfs::lying::Dice;

/// A message in flight. The number keeps those that arrive together in a fixed order.
#[derive(Debug)]
struct Flight {
    arrives: Duration,
    number: u64,
    message: Message,
    /// What comes with a snapshot.
    database: Vec<Bytes>,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Flight) -> bool {
        self.number == other.number
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Flight) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Flight) -> std::cmp::Ordering {
        (self.arrives, self.number).cmp(&(other.arrives, other.number))
    }
}

/// The process of a member has ended: its connections with another one are closed, and new ones refused.
#[derive(Debug)]
struct HangUp {
    arrives: Duration,
    gone: NodeId,
    to: NodeId,
}

/// The longest that a database takes.
const SNAPSHOT_TAKES: Duration = Duration::from_secs(1);

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Of a thousand messages so many are lost.
    pub lost: u64,
    /// Of a thousand so many arrive twice.
    pub doubled: u64,
    /// The longest that a message takes. They overtake one another within that.
    pub slowest: Duration,
}

impl Weather {
    pub const FINE: Weather = Weather { lost: 0, doubled: 0, slowest: Duration::from_millis(2) };
}

#[derive(Debug)]
pub struct Network {
    flights: BinaryHeap<Reverse<Flight>>,
    hang_ups: Vec<HangUp>,
    sent: u64,
    pub weather: Weather,
    /// Nothing gets from the first to the second.
    cut: HashSet<(u64, u64)>,
}

impl Network {
    pub fn new() -> Network {
        Network {
            flights: BinaryHeap::new(),
            hang_ups: Vec::new(),
            sent: 0,
            weather: Weather::FINE,
            cut: HashSet::new(),
        }
    }

    /// Takes a message. False: it is lost, and the sender's connection may notice.
    pub fn send(&mut self, dice: &mut Dice, now: Duration, message: Message) -> bool {
        if self.cut.contains(&(message.from.0, message.to.0)) || dice.below(1000) < self.weather.lost {
            return false;
        }
        // A proposal that is handed on twice is in the log twice: only what Raft says for itself may be doubled, and no
        // connection between members does even that.
        let may_double = !matches!(message.body, Body::Propose(_));
        if dice.below(1000) < self.weather.doubled && may_double {
            self.depart(dice, now, self.weather.slowest, message.clone(), Vec::new());
        }
        self.depart(dice, now, self.weather.slowest, message, Vec::new());
        true
    }

    /// Takes a snapshot with its database, which takes a while. False: it is lost.
    pub fn send_snapshot(&mut self, dice: &mut Dice, now: Duration, message: Message, database: Vec<Bytes>) -> bool {
        if self.cut.contains(&(message.from.0, message.to.0)) || dice.below(1000) < self.weather.lost {
            return false;
        }
        self.depart(dice, now, SNAPSHOT_TAKES, message, database);
        true
    }

    fn depart(&mut self, dice: &mut Dice, now: Duration, slowest: Duration, message: Message, database: Vec<Bytes>) {
        let longest = slowest.as_micros() as u64;
        let arrives = now + Duration::from_micros(50 + dice.below(longest.max(1)));
        self.sent += 1;
        self.flights.push(Reverse(Flight { arrives, number: self.sent, message, database }));
    }

    /// The process of `gone` has ended: its kernel tells `to`, and refuses when that dials again. Nothing of this is lost, for
    /// kernels repeat themselves.
    pub fn hang_up(&mut self, dice: &mut Dice, now: Duration, gone: NodeId, to: NodeId) {
        let longest = 3 * self.weather.slowest.as_micros() as u64;
        let arrives = now + Duration::from_micros(150 + dice.below(longest.max(1)));
        self.hang_ups.push(HangUp { arrives, gone, to });
    }

    /// Who has ended, and who knows by `now`. Where a way is cut, a kernel gives up.
    pub fn hung_up(&mut self, now: Duration) -> Vec<(NodeId, NodeId)> {
        let arrived = self.hang_ups.extract_if(.., |hang_up| hang_up.arrives <= now);
        let pairs = arrived.map(|HangUp { gone, to, .. }| (gone, to));
        let is_cut = |from: NodeId, to: NodeId| self.cut.contains(&(from.0, to.0));
        pairs.filter(|(gone, to)| !is_cut(*gone, *to) && !is_cut(*to, *gone)).collect()
    }

    /// When something arrives next.
    pub fn next_arrival(&self) -> Option<Duration> {
        let flight = self.flights.peek().map(|Reverse(flight)| flight.arrives);
        flight.into_iter().chain(self.hang_ups.iter().map(|hang_up| hang_up.arrives)).min()
    }

    /// What has arrived by `now`, unless the way was cut meanwhile: then a snapshot arrives without its database.
    pub fn arrived(&mut self, now: Duration) -> Vec<(Message, Vec<Bytes>)> {
        let mut arrived = Vec::new();
        while self.flights.peek().is_some_and(|Reverse(flight)| flight.arrives <= now) {
            let Some(Reverse(Flight { message, database, .. })) = self.flights.pop() else { break };
            match self.cut.contains(&(message.from.0, message.to.0)) {
                false => arrived.push((message, database)),
                true if !database.is_empty() => arrived.push((message, Vec::new())),
                true => {}
            }
        }
        arrived
    }

    /// Nothing gets from `from` to `to` any more.
    pub fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }
}
