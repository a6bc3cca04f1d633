//! A running server: its log lines come over a channel, so that waiting for one is no polling.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use prost::Message;
use tempfile::TempDir;
use tonic::client::Grpc;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, and the lines that it has written to stderr.
pub struct Server {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    pub url: String,
}

/// A place for the data of a member.
pub struct Home(TempDir);

impl Home {
    pub fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    pub fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Starts a server on an address of its own, and does not wait for it.
    pub fn spawn(&self, flags: &[&str]) -> Server {
        self.spawn_at("one", &addresses(), flags)
    }

    /// The same with a name, and with these URLs for clients and peers.
    pub fn spawn_at(&self, name: &str, (client, peer): &(String, String), flags: &[&str]) -> Server {
        let data = self.data().display().to_string();
        let mut all = vec![format!("--name={name}"), format!("--data-dir={data}")];
        all.push(format!("--listen-client-urls={client}"));
        all.push(format!("--advertise-client-urls={client}"));
        all.push(format!("--listen-peer-urls={peer}"));
        all.push(format!("--initial-advertise-peer-urls={peer}"));
        all.extend(flags.iter().map(|flag| flag.to_string()));
        Server::spawn(&all, self.0.path(), client.clone())
    }

    /// Starts a server that works.
    pub fn start(&self, flags: &[&str]) -> Server {
        let mut server = self.spawn(flags);
        server.wait_for("ready to serve client requests");
        server
    }
}

/// URLs for clients and peers that no other test uses: each test has an address of the loopback network to itself.
pub fn addresses() -> (String, String) {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let [_, b, c, _] = std::process::id().to_be_bytes();
    let [.., d] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed) as u8;
    let host = Ipv4Addr::new(127, 1 + (b ^ c) % 250, d, count);
    (format!("http://{host}:2379"), format!("http://{host}:2380"))
}

impl Server {
    pub fn spawn(arguments: &[String], dir: &Path, url: String) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_etcd"))
            .args(arguments)
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Server { child, lines, said: Vec::new(), url }
    }

    /// Waits for a line with this text in it.
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {text:?} ({error}) in:\n{}", self.said.join("\n")),
            }
        }
    }

    /// Waits for its end; returns all that it said.
    pub fn wait_for_end(&mut self) -> (ExitStatus, Vec<String>) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end:\n{}", self.said.join("\n")),
            }
        }
        (self.child.wait().unwrap(), self.said.clone())
    }

    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Ends it at once, whatever it is doing.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as an init system would.
    pub fn stop(mut self) {
        self.terminate();
        self.wait_for_end();
    }

    pub async fn connect(&self) -> Client {
        let channel = Endpoint::from_shared(self.url.clone()).unwrap().connect().await.unwrap();
        Client(Grpc::new(channel))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls by path: of any method, with any message.
pub struct Client(pub Grpc<Channel>);

impl Client {
    pub async fn call<Q, R>(&mut self, path: &'static str, request: Q) -> Result<R, Status>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        self.call_with(path, request, &[]).await
    }

    pub async fn call_with<Q, R>(
        &mut self,
        path: &'static str,
        request: Q,
        metadata: &[(&'static str, &[u8])],
    ) -> Result<R, Status>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        self.0.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let mut request = Request::new(request);
        for (name, value) in metadata {
            request.metadata_mut().insert(*name, AsciiMetadataValue::try_from(*value).unwrap());
        }
        let path = http::uri::PathAndQuery::from_static(path);
        Ok(self.0.unary(request, path, ProstCodec::<Q, R>::default()).await?.into_inner())
    }
}

/// Runs the async part of a test.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}
