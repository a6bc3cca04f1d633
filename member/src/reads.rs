//! Linearizable reads: one round of ReadIndex for all that wait, then the state machine has to come that far.
//!
//!   arrived ──round──▶ asked ──index──▶ confirmed ──applied──▶ answered
//!
//! A reader joins the next round, never the one under way: its index might have been decided before the reader came.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use ferrite_raft::{Index, ReadState};

use crate::member::{ReadFailed, Waiter};

/// A round that brought no answer is sent again after this time (etcd's interval).
const RESEND: Duration = Duration::from_millis(500);

/// The readers of a member. Each stands for a call of a client, so they are bounded by the streams that are open.
#[derive(Debug)]
pub struct Reads<R> {
    arrived: Vec<R>,
    asked: Option<Round<R>>,
    /// In the order of their indexes.
    confirmed: VecDeque<(Index, Vec<R>)>,
    /// Rounds so far: their numbers are the contexts that Raft hands back.
    rounds: u64,
}

#[derive(Debug)]
struct Round<R> {
    number: u64,
    sent: Duration,
    readers: Vec<R>,
}

impl<R: Waiter> Reads<R> {
    /// No readers. Rounds count up from `first`, so that answers to an earlier life are not taken for ours.
    pub fn new(first: u64) -> Self {
        Reads { arrived: Vec::new(), asked: None, confirmed: VecDeque::new(), rounds: first }
    }

    /// A reader has come.
    pub fn arrive(&mut self, reader: R) {
        self.arrived.push(reader);
    }

    /// What to ask Raft now, if a round is to begin or to be sent again.
    pub fn ask(&mut self, now: Duration) -> Option<Bytes> {
        match &mut self.asked {
            Some(round) if now.saturating_sub(round.sent) < RESEND => return None,
            Some(round) => round.readers.retain(|reader| !reader.gone()),
            None => {}
        }
        if self.asked.as_ref().is_none_or(|round| round.readers.is_empty()) {
            if self.arrived.is_empty() {
                self.asked = None;
                return None;
            }
            self.asked = Some(Round { number: 0, sent: now, readers: std::mem::take(&mut self.arrived) });
        }
        let round = self.asked.as_mut()?;
        self.rounds += 1;
        round.number = self.rounds;
        round.sent = now;
        Some(Bytes::copy_from_slice(&self.rounds.to_be_bytes()))
    }

    /// Raft has found an index to read at. Answers to rounds that are over are ignored.
    pub fn confirm(&mut self, state: &ReadState) {
        let number = state.context.as_array().map(|bytes| u64::from_be_bytes(*bytes));
        if let Some(round) = self.asked.take_if(|round| Some(round.number) == number) {
            self.confirmed.push_back((state.index, round.readers));
        }
    }

    /// Answers those whose index has been applied.
    pub fn answer(&mut self, applied: Index, answers: &mut Vec<(R, Result<(), ReadFailed>)>) {
        while let Some((_, readers)) = self.confirmed.pop_front_if(|(index, _)| *index <= applied) {
            answers.extend(readers.into_iter().map(|reader| (reader, Ok(()))));
        }
    }

    /// Fails those whose index is not known yet: a new leader may not know what the old one committed.
    pub fn fail_unconfirmed(&mut self, why: ReadFailed, answers: &mut Vec<(R, Result<(), ReadFailed>)>) {
        let asked = self.asked.take().map(|round| round.readers).unwrap_or_default();
        answers.extend(asked.into_iter().map(|reader| (reader, Err(why))));
    }

    /// Fails everybody.
    pub fn fail_all(&mut self, why: ReadFailed, answers: &mut Vec<(R, Result<(), ReadFailed>)>) {
        self.fail_unconfirmed(why, answers);
        let confirmed = self.confirmed.drain(..).flat_map(|(_, readers)| readers);
        answers.extend(self.arrived.drain(..).chain(confirmed).map(|reader| (reader, Err(why))));
    }

    /// Somebody waits for entries to be applied.
    pub fn waits_for_apply(&self) -> bool {
        !self.confirmed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Debug, Clone)]
    struct Reader(&'static str, Arc<()>);

    impl Waiter for Reader {
        fn gone(&self) -> bool {
            Arc::strong_count(&self.1) == 1
        }
    }

    fn reader(name: &'static str) -> Reader {
        let rc = Arc::new(());
        std::mem::forget(Arc::clone(&rc));
        Reader(name, rc)
    }

    fn state(index: u64, context: Bytes) -> ReadState {
        ReadState { index: Index(index), context }
    }

    fn names(answers: &[(Reader, Result<(), ReadFailed>)]) -> Vec<(&'static str, Result<(), ReadFailed>)> {
        answers.iter().map(|(reader, answer)| (reader.0, *answer)).collect()
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_round_serves_all_that_came_before_it_and_waits_for_apply() {
        let mut reads = Reads::new(0);
        let mut answers = Vec::new();
        assert_eq!(reads.ask(MS), None);
        reads.arrive(reader("a"));
        reads.arrive(reader("b"));
        let context = reads.ask(MS).unwrap();
        reads.arrive(reader("late"));
        assert_eq!(reads.ask(2 * MS), None, "one round at a time");
        reads.confirm(&state(7, context));
        reads.answer(Index(6), &mut answers);
        assert!(answers.is_empty());
        reads.answer(Index(7), &mut answers);
        assert_eq!(names(&answers), [("a", Ok(())), ("b", Ok(()))]);
        assert!(reads.ask(3 * MS).is_some(), "the late one has a round of its own");
    }

    #[test]
    fn an_answer_to_an_earlier_round_is_ignored() {
        let mut reads = Reads::new(0);
        let mut answers = Vec::new();
        reads.arrive(reader("a"));
        let first = reads.ask(MS).unwrap();
        let second = reads.ask(501 * MS).unwrap();
        assert_ne!(first, second);
        reads.confirm(&state(1, first));
        reads.answer(Index(9), &mut answers);
        assert!(answers.is_empty());
        reads.confirm(&state(2, second));
        reads.answer(Index(9), &mut answers);
        assert_eq!(names(&answers), [("a", Ok(()))]);
    }

    #[test]
    fn a_new_leader_fails_those_without_an_index_only() {
        let mut reads = Reads::new(0);
        let mut answers = Vec::new();
        reads.arrive(reader("confirmed"));
        let context = reads.ask(MS).unwrap();
        reads.confirm(&state(5, context));
        reads.arrive(reader("asked"));
        reads.ask(MS).unwrap();
        reads.arrive(reader("arrived"));
        reads.fail_unconfirmed(ReadFailed::LeaderChanged, &mut answers);
        assert_eq!(names(&answers), [("asked", Err(ReadFailed::LeaderChanged))]);
        reads.fail_all(ReadFailed::Stopping, &mut answers);
        assert_eq!(answers.len(), 3);
    }

    #[test]
    fn a_round_that_nobody_waits_for_is_not_sent_again() {
        let mut reads = Reads::new(0);
        let rc = Arc::new(());
        let other = Arc::clone(&rc);
        reads.arrive(Reader("a", rc));
        reads.ask(MS).unwrap();
        drop(other);
        assert_eq!(reads.ask(501 * MS), None);
    }
}
