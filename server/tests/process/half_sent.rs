//! Requests that are begun and not ended: they are not waited for.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::server::{Home, addresses};

#[test]
fn a_question_of_a_peer_that_does_not_come_to_its_end_is_given_up() {
    let home = Home::new();
    let addresses = addresses();
    let mut server = home.spawn_at("one", &addresses, &[]);
    server.wait_for("ready to serve client requests");
    let mut socket = TcpStream::connect(addresses.1.strip_prefix("http://").unwrap()).unwrap();
    let head = "POST /leases HTTP/1.1\r\nhost: x\r\ncontent-type: application/protobuf\r\ncontent-length: 10\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(b"half").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("error reading body\n"), "{answer}");
    server.stop();
}
