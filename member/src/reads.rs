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

/// The readers of a member. Each stands for a call of a client; those whose call is over are forgotten at each tick.
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
    /// Under which numbers it was sent. An answer to any of them will do: all its readers had come before the first.
    first: u64,
    last: u64,
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
            let (first, readers) = (self.rounds + 1, std::mem::take(&mut self.arrived));
            self.asked = Some(Round { first, last: first, sent: now, readers });
        }
        let round = self.asked.as_mut()?;
        self.rounds += 1;
        (round.last, round.sent) = (self.rounds, now);
        Some(Bytes::copy_from_slice(&self.rounds.to_be_bytes()))
    }

    /// Raft has found an index to read at. Answers to rounds that are over are ignored.
    pub fn confirm(&mut self, state: &ReadState) {
        let Some(number) = state.context.as_array().map(|bytes| u64::from_be_bytes(*bytes)) else { return };
        if let Some(round) = self.asked.take_if(|round| (round.first..=round.last).contains(&number)) {
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

    /// Forgets readers that wait no more. Without a leader nobody else does, and they come as long as that lasts.
    pub fn forget_gone(&mut self) {
        self.arrived.retain(|reader| !reader.gone());
        self.confirmed.retain_mut(|(_, readers)| {
            readers.retain(|reader| !reader.gone());
            !readers.is_empty()
        });
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
    fn an_answer_to_any_time_that_a_round_was_sent_counts() {
        for answered in 0..3 {
            let mut reads = Reads::new(0);
            let mut answers = Vec::new();
            reads.arrive(reader("before"));
            let before = reads.ask(MS).unwrap();
            reads.confirm(&state(1, before.clone()));
            reads.arrive(reader("a"));
            // A network that takes longer for an answer than it takes us to ask again.
            let sent = [2, 502, 1002].map(|at| reads.ask(at * MS).unwrap());
            reads.confirm(&state(2, before));
            reads.confirm(&state(3, sent[answered].clone()));
            reads.answer(Index(2), &mut answers);
            assert_eq!(names(&answers), [("before", Ok(()))], "the answer to another round is none");
            reads.answer(Index(3), &mut answers);
            assert_eq!(answers.len(), 2);
            sent.into_iter().for_each(|late| reads.confirm(&state(4, late)));
            reads.answer(Index(4), &mut answers);
            assert_eq!(answers.len(), 2);
        }
    }

    #[test]
    fn who_waits_no_more_is_forgotten() {
        let mut reads = Reads::new(0);
        let arrive = |reads: &mut Reads<Reader>| {
            let rc = Arc::new(());
            reads.arrive(Reader("a", Arc::clone(&rc)));
            rc
        };
        let confirmed = arrive(&mut reads);
        let context = reads.ask(MS).unwrap();
        reads.confirm(&state(5, context));
        let arrived = arrive(&mut reads);
        reads.forget_gone();
        assert_eq!((reads.arrived.len(), reads.confirmed.len()), (1, 1));
        drop((confirmed, arrived));
        reads.forget_gone();
        assert_eq!((reads.arrived.len(), reads.confirmed.len()), (0, 0));
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
