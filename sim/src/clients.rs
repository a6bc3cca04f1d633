//! Clients that read and write, one request after the other, each at a member that it leaves when it is not answered.

use std::ops::Range;
use std::time::Duration;

use ferrite_state::Outcome as Applied;
use ferrite_storage::vfs::lying::Dice;

use crate::cluster::Cluster;
use crate::defect::Defect;
use crate::history::{History, Operation, Outcome, SLOTS, Value};
use crate::node::{Errand, Life, Ticket};
use crate::requests;

const CLIENTS: usize = 6;
/// Groups of keys that all clients share, and that change all the time.
const GROUPS: u64 = 6;
/// Groups that seldom change: what is dead of them is long in files that are mostly alive.
const QUIET_GROUPS: Range<u64> = 100..200;
/// Clients wait at least so long for an answer; the most patient one several times as long.
const PATIENCE: Duration = Duration::from_millis(250);
/// The longest pause between two requests.
const PAUSE_MILLIS: u64 = 160;

#[derive(Debug)]
struct Client {
    /// Whom it asks, until that one does not answer.
    node: usize,
    patience: Duration,
    waits: Option<Waits>,
    /// When it asks next.
    next: Duration,
}

/// What a client waits for.
#[derive(Debug)]
struct Waits {
    request: usize,
    ticket: Ticket,
    until: Duration,
    /// The revision at which it asked, where a defect wants to know.
    revision: i64,
}

#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<Client>,
    next_value: Value,
}

impl Clients {
    pub fn new(members: usize, dice: &mut Dice) -> Clients {
        let client = |number: usize| {
            let next = Duration::from_millis(dice.below(2000));
            Client { node: number % members, patience: PATIENCE * (1 + 2 * number as u32), waits: None, next }
        };
        Clients { clients: (0..CLIENTS).map(client).collect(), next_value: 1 }
    }

    /// When somebody has something to do.
    pub fn next(&self) -> Duration {
        let next = |client: &Client| client.waits.as_ref().map_or(client.next, |waits| waits.until);
        self.clients.iter().map(next).min().unwrap_or(Duration::MAX)
    }

    /// Whether nobody waits.
    pub fn are_at_rest(&self) -> bool {
        self.clients.iter().all(|client| client.waits.is_none())
    }

    /// Those whose time has come ask, or give up. `leased` are groups whose keys hang on leases.
    pub fn act(&mut self, cluster: &mut Cluster, history: &mut History, leased: &[u64]) {
        for number in 0..self.clients.len() {
            match &self.clients[number].waits {
                Some(waits) if waits.until <= cluster.now => self.give_up(number, cluster, history),
                None if self.clients[number].next <= cluster.now => self.ask(number, cluster, history, leased),
                _ => {}
            }
        }
    }

    /// Nobody asks anything new; who waits gives up in the end.
    pub fn fall_silent(&mut self) {
        self.clients.iter_mut().for_each(|client| client.next = Duration::MAX);
    }

    fn give_up(&mut self, number: usize, cluster: &mut Cluster, history: &History) {
        let Some(waits) = self.clients[number].waits.take() else { return };
        let event = history.0[waits.request];
        if cluster.defect() == Some(Defect::ProposedTwice) && event.operation != Operation::Get {
            let node = cluster.any_node();
            cluster.propose(node, Ticket::new(waits.ticket.errand), requests::encoded(event.group, event.operation));
        }
        waits.ticket.give_up();
        self.clients[number].node = cluster.any_node();
        self.rest(number, cluster);
    }

    fn rest(&mut self, number: usize, cluster: &mut Cluster) {
        let pause = Duration::from_millis(cluster.dice.below(PAUSE_MILLIS));
        let client = &mut self.clients[number];
        if client.next < Duration::MAX {
            client.next = cluster.now + pause;
        }
    }

    fn ask(&mut self, number: usize, cluster: &mut Cluster, history: &mut History, leased: &[u64]) {
        let node = self.clients[number].node;
        if cluster.life(node).is_none() {
            self.clients[number].node = cluster.any_node();
            return self.rest(number, cluster);
        }
        let dice = &mut cluster.dice;
        let (group, operation) = match leased.get(dice.below(leased.len() as u64 * 4 + 1) as usize) {
            Some(group) => (*group, Operation::Get),
            None if dice.once_in(3) => {
                let Range { start, end } = QUIET_GROUPS;
                (start + dice.below(end - start), self.operation(dice))
            }
            None => (dice.below(GROUPS), self.operation(dice)),
        };
        let request = history.ask(group, operation, cluster.now);
        let ticket = Ticket::new(Errand::Request(request));
        let client = &mut self.clients[number];
        let revision = cluster.life(node).map_or(0, |life| life.engine.shared.keyspace().revision() as i64);
        client.waits = Some(Waits { request, ticket: ticket.clone(), until: cluster.now + client.patience, revision });
        if operation != Operation::Get {
            cluster.propose(node, ticket, requests::encoded(group, operation));
        } else if cluster.confirm(node, ticket.clone()) {
            self.confirmed(request, node, true, cluster, history);
        }
    }

    fn operation(&mut self, dice: &mut Dice) -> Operation {
        let slot = dice.below(SLOTS as u64) as usize;
        match dice.below(10) {
            0..=3 => Operation::Put { slot, value: self.new_value() },
            4 => Operation::Delete { slot },
            5..=7 => Operation::Get,
            _ => {
                let new = self.new_value();
                Operation::Swap { slot, expected: new.saturating_sub(1 + dice.below(12)), new }
            }
        }
    }

    /// A value that nobody else writes.
    pub fn new_value(&mut self) -> Value {
        self.next_value += 1;
        self.next_value
    }

    /// A write has been applied, or refused.
    pub fn applied(&mut self, request: usize, outcome: &Applied, cluster: &mut Cluster, history: &mut History) {
        let outcome = outcome.as_ref().map_or(Outcome::Refused, requests::outcome);
        self.answer(request, outcome, cluster, history);
    }

    /// Nothing comes of a request.
    pub fn refused(&mut self, request: usize, cluster: &mut Cluster, history: &mut History) {
        self.answer(request, Outcome::Refused, cluster, history);
    }

    /// A member may answer a read, or cannot.
    pub fn confirmed(
        &mut self,
        request: usize,
        node: usize,
        is_confirmed: bool,
        cluster: &mut Cluster,
        history: &mut History,
    ) {
        let waits = self.clients.iter().filter_map(|client| client.waits.as_ref());
        let Some(waits) = waits.into_iter().find(|waits| waits.request == request) else { return };
        let revision = match cluster.defect() {
            Some(Defect::ReadsAtRevisionOfQuestion) => waits.revision,
            _ => 0,
        };
        let life = cluster.life(node).filter(|_| is_confirmed);
        let read = |life: &Life| requests::read(&life.engine.shared.keyspace(), history.0[request].group, revision);
        let outcome = life.and_then(read);
        self.answer(request, outcome.unwrap_or(Outcome::Refused), cluster, history);
    }

    fn answer(&mut self, request: usize, outcome: Outcome, cluster: &mut Cluster, history: &mut History) {
        let waits_for_it = |client: &Client| client.waits.as_ref().is_some_and(|waits| waits.request == request);
        let Some(number) = self.clients.iter().position(waits_for_it) else { return };
        self.clients[number].waits = None;
        history.answer(request, cluster.now, outcome);
        let event = history.0[request];
        cluster.tell(&format_args!("client {number}: group {} {:?} -> {outcome:?}", event.group, event.operation));
        self.rest(number, cluster);
    }
}
