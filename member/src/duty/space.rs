//! A disk without room: NOSPACE is raised while there still is a reserve, and cleared when there is room again.
//!
//!   log writer, store keeper ──short──▶ Room ──▶ Space ──▶ Alarm, through the log ──▶ puts are refused by applying
//!
//! Each member speaks of its own disk only. What this duty raised it clears; an alarm that was there before (the quota's,
//! an operator's, one of an earlier life) is left alone, for nobody here knows why it was raised: as in etcd, it stands until
//! somebody disarms it. A start says so in the log. Once what was raised here is seen cleared, what is raised later is not ours.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::AlarmType;
use ferrite_proto::etcdserverpb::alarm_request::AlarmAction;

use super::RETRY;

/// Room that has been there for so long will stay: NOSPACE is not to come and go with every file.
const STEADY: Duration = Duration::from_secs(5);

/// Whether the log and the store have the space for their next file. Their owners say so, the duty looks.
#[derive(Debug, Default)]
pub struct Room {
    log_is_short: AtomicBool,
    store_is_short: AtomicBool,
}

impl Room {
    pub fn set_log_is_short(&self, is_short: bool) {
        self.log_is_short.store(is_short, Ordering::Relaxed);
    }

    pub fn set_store_is_short(&self, is_short: bool) {
        self.store_is_short.store(is_short, Ordering::Relaxed);
    }

    pub fn is_short(&self) -> bool {
        self.log_is_short.load(Ordering::Relaxed) || self.store_is_short.load(Ordering::Relaxed)
    }
}

/// The duty of one member.
#[derive(Debug)]
pub(super) struct Space {
    member: u64,
    next_try: Duration,
    alarm: Alarm,
    /// Since when there has been room.
    room_since: Option<Duration>,
}

/// What this duty has to do with the alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    NotOurs,
    /// Asked for here. Until it is seen it may be on its way.
    Asked,
    /// Raised here, and seen.
    Ours,
}

impl Space {
    pub(super) fn new(member: u64) -> Space {
        Space { member, next_try: Duration::ZERO, alarm: Alarm::NotOurs, room_since: None }
    }

    pub(super) fn request(&mut self, now: Duration, room: &Room, is_raised: bool) -> Option<pb::InternalRaftRequest> {
        self.alarm = match self.alarm {
            Alarm::Asked if is_raised => Alarm::Ours,
            Alarm::Ours if !is_raised => Alarm::NotOurs,
            alarm => alarm,
        };
        let action = if room.is_short() {
            self.room_since = None;
            (!is_raised).then_some(AlarmAction::Activate)
        } else {
            let since = *self.room_since.get_or_insert(now);
            let is_steady = now.saturating_sub(since) >= STEADY;
            (self.alarm == Alarm::Ours && is_steady).then_some(AlarmAction::Deactivate)
        };
        let action = action.filter(|_| now >= self.next_try)?;
        if action == AlarmAction::Activate {
            self.alarm = Alarm::Asked;
        }
        self.next_try = now + RETRY;
        let (action, alarm) = (action as i32, AlarmType::Nospace as i32);
        let request = pb::AlarmRequest { action, member_id: self.member, alarm };
        Some(pb::InternalRaftRequest { alarm: Some(request), ..Default::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At each second: whether the disk is short, whether the alarm is raised, and what is proposed.
    fn check(script: &[(u64, bool, bool, Option<AlarmAction>)]) {
        let (mut duty, room) = (Space::new(7), Room::default());
        for (second, is_short, is_raised, expected) in script {
            room.set_store_is_short(*is_short);
            let request = duty.request(Duration::from_secs(*second), &room, *is_raised);
            let action = request.map(|request| request.alarm.expect("an alarm").action);
            assert_eq!(action, expected.map(|action| action as i32), "second {second} of {script:?}");
        }
    }

    #[test]
    fn a_full_disk_raises_the_alarm_and_room_clears_it() {
        let (raise, clear) = (Some(AlarmAction::Activate), Some(AlarmAction::Deactivate));
        check(&[(0, false, false, None), (1, true, false, raise), (2, true, false, None), (3, true, true, None)]);
        // Nothing came of it.
        check(&[(1, true, false, raise), (7, true, false, None), (8, true, false, raise)]);
        // Room has to stay, and a second try to clear it waits for the first.
        check(&[
            (1, true, false, raise),
            (10, false, true, None),
            (11, true, true, None),
            (12, false, true, None),
            (16, false, true, None),
            (17, false, true, clear),
            (18, false, true, None),
            (24, false, true, clear),
            (25, false, false, None),
        ]);
        // The raise takes its time, and room comes first.
        check(&[(1, true, false, raise), (2, false, false, None), (7, false, true, None), (8, false, true, clear)]);
        // Once it is cleared, who raises it again is somebody else.
        let ours = [(1, true, false, raise), (2, true, true, None), (10, false, true, None), (15, false, true, clear)];
        check(&[&ours[..], &[(16, false, false, None), (60, false, true, None), (90, false, true, None)]].concat());
        // But for a disk that is full again.
        check(&[&ours[..], &[(16, false, false, None), (60, true, false, raise), (61, true, true, None)]].concat());
        // Raised by somebody else.
        check(&[(1, true, true, None), (2, false, true, None), (30, false, true, None)]);
    }

    #[test]
    fn either_owner_can_be_short() {
        let room = Room::default();
        for (log, store) in [(false, false), (true, false), (false, true), (true, true)] {
            room.set_log_is_short(log);
            room.set_store_is_short(store);
            assert_eq!(room.is_short(), log || store);
        }
    }
}
