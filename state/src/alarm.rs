//! Alarms: which member says that something is wrong, and what that forbids.

use std::collections::BTreeSet;

use bytes::Bytes;
use ferrite_proto::etcdserverpb as pb;
use ferrite_proto::etcdserverpb::AlarmType;
use ferrite_proto::etcdserverpb::alarm_request::AlarmAction;
use ferrite_storage::{RowChange, Table};
use prost::Message;

use crate::tables::row;

/// The alarms that are raised. What they forbid is looked up each time a command is applied, so that it holds from the next
/// entry on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// By kind, then member. A kind may be one that this version does not know.
    raised: BTreeSet<(i32, u64)>,
}

impl Alarms {
    pub(crate) fn load_row(&mut self, key: &[u8]) -> Result<(), prost::DecodeError> {
        let alarm = pb::AlarmMember::decode(key)?;
        self.raised.insert((alarm.alarm, alarm.member_id));
        Ok(())
    }

    pub fn all(&self) -> impl Iterator<Item = pb::AlarmMember> {
        self.raised.iter().map(|(alarm, member_id)| pb::AlarmMember { alarm: *alarm, member_id: *member_id })
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (Table, Bytes, Bytes)> {
        self.all().map(|alarm| (Table::Alarm, alarm.encode_to_vec().into(), Bytes::new()))
    }

    /// Whether any member has raised an alarm of this kind.
    pub fn is_raised(&self, alarm: AlarmType) -> bool {
        self.raised.range((alarm as i32, 0)..=(alarm as i32, u64::MAX)).next().is_some()
    }

    pub(crate) fn apply(&mut self, request: &pb::AlarmRequest, rows: &mut Vec<RowChange>) -> pb::AlarmResponse {
        let alarm = pb::AlarmMember { member_id: request.member_id, alarm: request.alarm };
        let entry = (request.alarm, request.member_id);
        let is_none = request.alarm == AlarmType::None as i32;
        let key = || Bytes::from(alarm.encode_to_vec());
        let alarms = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => self.all().filter(|each| is_none || each.alarm == request.alarm).collect(),
            Ok(AlarmAction::Activate) if !is_none => {
                if self.raised.insert(entry) {
                    rows.push(row(Table::Alarm, key(), Bytes::new()));
                }
                vec![alarm]
            }
            Ok(AlarmAction::Deactivate) if self.raised.remove(&entry) => {
                rows.push(RowChange { table: Table::Alarm, key: key(), value: None });
                vec![alarm]
            }
            // An action that is none of etcd's does nothing, too.
            Ok(AlarmAction::Activate | AlarmAction::Deactivate) | Err(_) => vec![],
        };
        pb::AlarmResponse { header: None, alarms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_raised_listed_and_cleared_as_in_etcd() {
        let (get, activate, deactivate) = (0, 1, 2);
        let (none, nospace, corrupt) = (0, 1, 2);
        let mut alarms = Alarms::default();
        let mut check = |action, member_id, alarm, answer: &[(u64, i32)], changed: usize| {
            let mut rows = Vec::new();
            let request = pb::AlarmRequest { action, member_id, alarm };
            let response = alarms.apply(&request, &mut rows);
            let answered: Vec<_> = response.alarms.iter().map(|each| (each.member_id, each.alarm)).collect();
            assert_eq!((&answered[..], rows.len()), (answer, changed), "{request:?}");
            // Rows say what is raised.
            for row in &rows {
                let mut loaded = Alarms::default();
                loaded.load_row(&row.key).unwrap();
                assert_eq!(alarms.raised.is_superset(&loaded.raised), row.value.is_some());
            }
        };
        check(get, 0, none, &[], 0);
        check(activate, 7, none, &[], 0);
        check(activate, 7, nospace, &[(7, nospace)], 1);
        check(activate, 7, nospace, &[(7, nospace)], 0);
        check(activate, 0, nospace, &[(0, nospace)], 1);
        check(activate, 7, corrupt, &[(7, corrupt)], 1);
        check(get, 9, none, &[(0, nospace), (7, nospace), (7, corrupt)], 0);
        check(get, 9, corrupt, &[(7, corrupt)], 0);
        check(deactivate, 8, nospace, &[], 0);
        check(deactivate, 0, none, &[], 0);
        check(deactivate, 7, nospace, &[(7, nospace)], 1);
        check(deactivate, 0, nospace, &[(0, nospace)], 1);
        check(17, 7, corrupt, &[], 0);
        assert!(!alarms.is_raised(AlarmType::Nospace) && alarms.is_raised(AlarmType::Corrupt));
    }
}
