//! The members that a registry knows, in the order in which they came.

use crate::config::InitialCluster;

/// The keys of one cluster in a registry.
#[derive(Clone, Debug)]
pub struct Keys {
    /// How many members the cluster is to have.
    pub size: String,
    /// The prefix of the members' keys.
    pub members: String,
}

impl Keys {
    pub fn of(token: &str) -> Keys {
        // A token is one element of a path, but for the slashes that it may have around it.
        let cluster = format!("/_etcd/registry/{}", token.trim_matches('/'));
        Keys { size: format!("{cluster}/_config/size"), members: format!("{cluster}/members") }
    }

    pub fn member(&self, id: u64) -> String {
        format!("{}/{id:x}", self.members)
    }
}

/// One member: its key, what it says of itself (`name=url` pairs), and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Registered {
    key: String,
    urls: String,
    create_revision: i64,
}

/// Those who have registered. The first so many as there are to be make up the cluster; who comes later is too late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(Vec<Registered>);

/// A key of the registry that stands for no further member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMember {
    Malformed,
    Duplicate,
}

impl Members {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn add(&mut self, key: &str, urls: &str, create_revision: i64) -> Result<(), NoMember> {
        if !urls.contains('=') {
            return Err(NoMember::Malformed);
        }
        if self.0.iter().any(|member| member.key == key) {
            return Err(NoMember::Duplicate);
        }
        self.0.push(Registered { key: key.to_owned(), urls: urls.to_owned(), create_revision });
        self.0.sort_by_key(|member| member.create_revision);
        Ok(())
    }

    /// Whether a cluster of this size has no place for the member with this key.
    pub fn leaves_out(&self, key: &str, size: usize) -> bool {
        self.0.len() >= size && !self.first(size).any(|member| member.key == key)
    }

    /// The initial cluster, and its text. Pairs that cannot be read are no cluster.
    pub fn cluster(&self, size: usize) -> (String, Option<InitialCluster>) {
        let text = self.first(size).map(|member| &*member.urls).collect::<Vec<_>>().join(",");
        let cluster = InitialCluster::parse(&text).ok();
        (text, cluster)
    }

    fn first(&self, size: usize) -> impl Iterator<Item = &Registered> {
        self.0.iter().take(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(list: &[(&str, &str, i64)]) -> Members {
        let mut members = Members::default();
        for (key, urls, revision) in list {
            members.add(key, urls, *revision).unwrap();
        }
        members
    }

    #[test]
    fn keys_are_those_of_etcd() {
        let keys = Keys::of("tok");
        assert_eq!(keys.size, "/_etcd/registry/tok/_config/size");
        assert_eq!(keys.member(0xab), "/_etcd/registry/tok/members/ab");
        assert_eq!(Keys::of("/tok/").members, "/_etcd/registry/tok/members");
    }

    #[test]
    fn who_came_first_is_in() {
        let known = members(&[("c", "c=http://c:1", 9), ("a", "a=http://a:1", 3), ("b", "b=http://b:1", 5)]);
        for (size, out) in [(1, [false, true, true]), (2, [false, false, true]), (3, [false; 3])] {
            assert_eq!(["a", "b", "c"].map(|key| known.leaves_out(key, size)), out, "{size}");
        }
        assert_eq!((known.leaves_out("new", 3), known.leaves_out("new", 4)), (true, false));
        let (text, cluster) = known.cluster(2);
        assert_eq!(text, "a=http://a:1,b=http://b:1");
        assert_eq!(cluster.unwrap().0.len(), 2);
    }

    #[test]
    fn what_is_no_member() {
        let mut known = members(&[("a", "a=http://a:1", 1)]);
        assert_eq!(known.add("b", "nothing", 2), Err(NoMember::Malformed));
        assert_eq!(known.add("a", "a=http://a:2", 3), Err(NoMember::Duplicate));
        assert_eq!(known.len(), 1);
        known.add("b", "b=ftp://b:1", 4).unwrap();
        assert_eq!(known.cluster(2), ("a=http://a:1,b=ftp://b:1".to_owned(), None));
    }
}
