//! Listeners: from the URLs of the flags to bound sockets.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, UnixListener, lookup_host};

use crate::config::{Url, Urls};
use crate::rpc::Socket;

/// Connections that the kernel may keep for us, from before we serve them, too.
const BACKLOG: u32 = 1024;

/// What a port serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// gRPC and pages.
    Client,
    /// gRPC only: pages have ports of their own.
    ClientGrpc,
    /// Pages only.
    ClientHttp,
    Metrics,
    Peer,
}

impl Port {
    /// What net threads serve: all but peers.
    pub const OF_CLIENTS: [Port; 4] = [Port::Client, Port::ClientGrpc, Port::ClientHttp, Port::Metrics];

    /// Serves only once this member can answer clients.
    pub fn waits_until_ready(self) -> bool {
        matches!(self, Port::Client | Port::ClientGrpc | Port::ClientHttp)
    }

    /// What the log calls it.
    pub fn traffic(self) -> &'static str {
        match self {
            Port::Client => "grpc+http",
            Port::ClientGrpc => "grpc",
            Port::ClientHttp => "http",
            Port::Metrics => "metrics",
            Port::Peer => "peer",
        }
    }
}

/// A socket that is bound.
#[derive(Debug)]
pub struct Bound {
    pub port: Port,
    pub url: Url,
    pub socket: Socket,
}

/// Binds everything that the flags ask for.
pub async fn bind_all(urls: &Urls) -> Result<Vec<Bound>, String> {
    let client = if urls.listen_client_http.is_empty() { Port::Client } else { Port::ClientGrpc };
    let lists = [
        (Port::Peer, &urls.listen_peer),
        (client, &urls.listen_client),
        (Port::ClientHttp, &urls.listen_client_http),
        (Port::Metrics, &urls.listen_metrics),
    ];
    let mut bound = Vec::new();
    for (port, list) in lists {
        for url in list {
            let socket = bind(url, urls).await.map_err(|error| {
                let kind = if url.is_unix() { "unix" } else { "tcp" };
                format!("listen {kind} {}: bind: {error}", url.address)
            })?;
            bound.push(Bound { port, url: url.clone(), socket });
        }
    }
    Ok(bound)
}

async fn bind(url: &Url, urls: &Urls) -> io::Result<Socket> {
    if url.is_unix() {
        // What an earlier life left; a socket cannot be bound over it.
        match std::fs::remove_file(&url.address) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        return UnixListener::bind(&url.address).map(Socket::Unix);
    }
    let mut addresses: Vec<SocketAddr> = lookup_host(&url.address).await?.collect();
    // `localhost` means the IPv4 one where there are both, as in Go.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let address = *addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
    listener(address, urls.reuse_port).map(Socket::Tcp)
}

fn listener(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    // Go sets it always, so that a server can be started again at once.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
