//! SRV records, asked for from a server of the DNS that knows three names.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use ferrite_client::srv::{Dns, Offer, client_endpoints, service};
use std::net::UdpSocket;

/// Priority, weight, port and target.
type Record = (u16, u16, u16, &'static str);

const ZONE: &[(&str, &[Record])] = &[
    ("_etcd-client-ssl._tcp.both.test", &[(0, 0, 2379, "a.both.test")]),
    ("_etcd-client._tcp.both.test", &[(10, 1, 1, "d.both.test"), (0, 5, 2, "b.both.test"), (10, 9, 3, "c.both.test")]),
    ("_etcd-client-blue._tcp.plain.test", &[(0, 0, 2379, "a.plain.test")]),
];

const NO_ERROR: u8 = 0;
const NO_SUCH_NAME: u8 = 3;
const SRV: u16 = 33;

/// Serves the zone until a packet without content ends it.
struct Server {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut packet = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut packet).unwrap();
                if length == 0 {
                    return;
                }
                socket.send_to(&answer(&packet[..length]), from).unwrap();
            }
        });
        Server { address, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ender = UdpSocket::bind("127.0.0.1:0").unwrap();
        ender.send_to(&[], self.address).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn answer(question: &[u8]) -> Vec<u8> {
    // The name is a row of labels, each behind its length, and an empty one at the end.
    let (mut labels, mut at) = (Vec::new(), 12);
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(std::str::from_utf8(&question[at + 1..at + 1 + length]).unwrap().to_ascii_lowercase());
        at += 1 + length;
    }
    let name = labels.join(".");
    let records = ZONE.iter().find(|(known, _)| *known == name).map(|(_, records)| *records);
    let code = if records.is_some() { NO_ERROR } else { NO_SUCH_NAME };
    let records = records.unwrap_or_default();
    let mut answer = question[..2].to_vec();
    answer.extend([0x84 | question[2] & 1, 0x80 | code]);
    for count in [1, records.len() as u16, 0, 0] {
        answer.extend(count.to_be_bytes());
    }
    answer.extend(&question[12..at + 5]);
    for (priority, weight, port, target) in records {
        // The name of the question again, and a minute to live.
        answer.extend([0xc0, 12]);
        answer.extend(SRV.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 60]);
        let target: Vec<u8> =
            target.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect();
        answer.extend((6 + target.len() as u16).to_be_bytes());
        for number in [priority, weight, port] {
            answer.extend(number.to_be_bytes());
        }
        answer.extend(target);
    }
    answer
}

#[tokio::test]
async fn offers_come_in_the_order_in_which_they_are_to_be_tried() {
    let server = Server::start();
    let dns = Dns::at(server.address).unwrap();
    let offer = |priority, weight, port, target: &str| Offer { target: target.to_string(), port, priority, weight };
    let offers = dns.offers("etcd-client", "both.test").await.unwrap();
    let expected = [offer(0, 5, 2, "b.both.test."), offer(10, 9, 3, "c.both.test."), offer(10, 1, 1, "d.both.test.")];
    assert_eq!(offers, expected);
    let missing = dns.offers("etcd-client", "nowhere.test").await.unwrap_err();
    let expected = format!("lookup _etcd-client._tcp.nowhere.test on {}: no such host", server.address);
    assert_eq!(missing.to_string(), expected);
}

#[tokio::test]
async fn endpoints_of_clients() {
    let server = Server::start();
    let dns = Dns::at(server.address).unwrap();
    let found = async |domain, suffix| client_endpoints(&dns, domain, suffix).await;
    let both = ["https://a.both.test.:2379", "http://b.both.test.:2", "http://c.both.test.:3", "http://d.both.test.:1"];
    assert_eq!(found("both.test", "").await.unwrap(), both);
    assert_eq!(found("plain.test", "blue").await.unwrap(), ["http://a.plain.test.:2379"]);
    let lookup = |name| format!("lookup {name}._tcp.plain.test on {}: no such host", server.address);
    assert_eq!(
        found("plain.test", "").await.unwrap_err(),
        format!("dns lookup errors: {} and {}", lookup("_etcd-client-ssl"), lookup("_etcd-client"))
    );
}

#[test]
fn names_of_services() {
    assert_eq!(service("etcd-server", false, ""), "etcd-server");
    assert_eq!(service("etcd-server", true, "blue"), "etcd-server-ssl-blue");
}
