//! How members and clusters get their ids: from SHA-1, so that all who start from the same flags agree.

use ferrite_raft::NodeId;
use sha1::{Digest, Sha1};

/// The id of a member of a new cluster.
pub fn member_id(peer_urls: &[String], cluster_token: &str) -> NodeId {
    NodeId(first_eight(sorted(peer_urls).chain_update(cluster_token)))
}

/// The id of a member that is added to a running cluster.
pub fn member_id_at(peer_urls: &[String], unix_seconds: i64) -> NodeId {
    NodeId(first_eight(sorted(peer_urls).chain_update(unix_seconds.to_string())))
}

/// The id of a cluster, from its first members.
pub fn cluster_id(members: impl IntoIterator<Item = NodeId>) -> u64 {
    let mut ids: Vec<_> = members.into_iter().collect();
    ids.sort();
    first_eight(ids.into_iter().fold(Sha1::new(), |hash, id| hash.chain_update(id.0.to_be_bytes())))
}

fn sorted(urls: &[String]) -> Sha1 {
    let mut urls: Vec<_> = urls.iter().collect();
    urls.sort();
    urls.into_iter().fold(Sha1::new(), |hash, url| hash.chain_update(url))
}

fn first_eight(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("SHA-1 has 20 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_etcd() {
        let url = |port: u16| vec![format!("http://127.0.0.1:{port}")];
        let check = |urls: &[Vec<String>], members: &[u64], cluster| {
            let ids: Vec<_> = urls.iter().map(|urls| member_id(urls, "etcd-cluster")).collect();
            assert_eq!(ids.iter().map(|id| id.0).collect::<Vec<_>>(), members);
            assert_eq!(cluster_id(ids), cluster);
        };
        check(&[vec!["http://localhost:2380".into()]], &[0x8e9e_05c5_2164_694d], 0xcdf8_1819_4e3a_8c32);
        check(
            &[url(12380), url(22380), url(32380)],
            &[0xddd6_7b31_2462_fd7b, 0x9e73_7feb_b6b9_9eee, 0x0628_170c_800d_bcee],
            0x7384_1b4a_9097_c907,
        );
    }

    #[test]
    fn the_order_of_urls_does_not_matter_and_time_does() {
        let urls = ["http://b:1".to_string(), "http://a:1".to_string()];
        let reversed = [urls[1].clone(), urls[0].clone()];
        assert_eq!(member_id(&urls, "t"), member_id(&reversed, "t"));
        assert_eq!(member_id_at(&urls, 1), member_id(&urls, "1"));
        assert_ne!(member_id_at(&urls, 1), member_id_at(&urls, 2));
    }
}
