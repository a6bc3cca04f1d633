//! A server under test: started on a folder, measured from outside, ended with SIGKILL, started again.
//!
//! What is measured comes from `/proc`, so that it is the kernel's word and not the server's: CPU from `stat`, memory from
//! `smaps_rollup`, bytes on their way to the device from `io`. Syncs are counted by `strace`, which slows a server down:
//! count them in a run of its own.

use crate::grpc::{CallError, Connection, rpc};
use bytes::Bytes;
use ferrite_proto::etcdserverpb::RangeRequest;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How to start a server: everything but whether it has data yet.
#[derive(Clone, Debug)]
pub struct Setup {
    binary: PathBuf,
    /// Below it: `data`, and `log` with what the server printed.
    dir: PathBuf,
    client_port: u16,
    peer_port: u16,
    flags: Vec<String>,
    syncs: Syncs,
}

/// What becomes of the server's syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syncs {
    Plain,
    Counted,
    /// Each takes so much longer.
    Delayed(Duration),
}

impl Setup {
    /// A server in a folder that is emptied first.
    pub fn fresh(binary: &Path, dir: &Path, flags: &[String]) -> io::Result<Setup> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        // Both are held until both are known, so that they differ.
        let (client, peer) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        Ok(Setup {
            binary: binary.canonicalize().map_err(|e| io::Error::other(format!("{}: {e}", binary.display())))?,
            dir: dir.to_owned(),
            client_port: client.local_addr()?.port(),
            peer_port: peer.local_addr()?.port(),
            flags: flags.to_vec(),
            syncs: Syncs::Plain,
        })
    }

    /// From the next start on, syncs are counted.
    pub fn counting_syncs(mut self) -> Setup {
        self.syncs = Syncs::Counted;
        self
    }

    /// From the next start on, each sync takes so much longer.
    pub fn delay_syncs(&mut self, delay: Duration) {
        self.syncs = Syncs::Delayed(delay);
    }

    pub fn set_flags(&mut self, flags: Vec<String>) {
        self.flags = flags;
    }

    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn sync_counts(&self) -> PathBuf {
        self.dir.join("syncs")
    }

    /// The server without its flags, under `strace` if its syncs are not plain.
    fn traced(&self) -> Command {
        let mut strace = Command::new("strace");
        strace.args(["-f", "--seccomp-bpf", "-e", "trace=fsync,fdatasync,msync,sync_file_range"]);
        match self.syncs {
            Syncs::Plain => return Command::new(&self.binary),
            Syncs::Counted => strace.args(["-c", "-U", "calls,name", "-o"]).arg(self.sync_counts()),
            Syncs::Delayed(delay) => {
                let inject = format!("inject=fsync,fdatasync,msync:delay_enter={}us", delay.as_micros());
                strace.args(["-e", &inject, "-o", "/dev/null"])
            }
        };
        strace.arg(&self.binary);
        strace
    }

    fn command(&self) -> Command {
        let mut command = self.traced();
        let (client, peer) = (format!("http://{}", self.endpoint()), self.peer_url());
        command.arg("--name=bench").arg(format!("--data-dir={}", self.dir.join("data").display()));
        command.arg(format!("--listen-client-urls={client}")).arg(format!("--advertise-client-urls={client}"));
        command.arg(format!("--listen-peer-urls={peer}")).arg(format!("--initial-advertise-peer-urls={peer}"));
        command.arg(format!("--initial-cluster=bench={peer}")).arg("--log-level=warn").args(&self.flags);
        // A stray setting must not make the two sides differ.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ETCD_")) {
            command.env_remove(name);
        }
        command
    }

    /// Starts the server and waits until it answers a linearizable read.
    pub async fn start(&self, patience: Duration) -> Result<Server, StartError> {
        let begin = Instant::now();
        let mut server = self.spawn()?;
        loop {
            if let Some(status) = server.child.try_wait()? {
                return Err(StartError::Ended(format!("{status}; {}", self.log().display())));
            }
            if tokio::time::timeout(PROBE_PATIENCE, probe(&self.endpoint())).await.is_ok_and(|r| r.is_ok()) {
                break;
            }
            if begin.elapsed() > patience {
                return Err(StartError::Silent(format!("{patience:?}; {}", self.log().display())));
            }
            tokio::time::sleep(POLL).await;
        }
        server.started_in = begin.elapsed();
        if self.syncs != Syncs::Plain {
            server.pid = only_child(server.child.id())?;
        }
        Ok(server)
    }

    /// Starts the server and kills it at a moment when it may still be recovering.
    pub async fn start_and_kill(&self, moment: Duration) -> Result<(), StartError> {
        let server = self.spawn()?;
        tokio::time::sleep(moment).await;
        server.kill()?;
        Ok(())
    }

    fn spawn(&self) -> io::Result<Server> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = self.command().stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Server { pid: child.id(), child, setup: self.clone(), started_in: Duration::ZERO })
    }
}

/// How often a starting server is asked whether it serves.
const POLL: Duration = Duration::from_millis(2);
/// Then it is asked again: what a member is asked before it knows of a leader can wait until it times out after seconds,
/// though the member has long been ready.
const PROBE_PATIENCE: Duration = Duration::from_millis(200);

async fn probe(endpoint: &str) -> Result<(), CallError> {
    let connection = Connection::open(endpoint).await?;
    let request = RangeRequest { key: Bytes::from_static(b"\0"), ..Default::default() };
    connection.call(rpc::RANGE, &request).await.map(|_| ())
}

fn only_child(pid: u32) -> io::Result<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    children
        .split_whitespace()
        .next()
        .and_then(|c| c.parse().ok())
        .ok_or_else(|| io::Error::other("strace has no child"))
}

/// Why there is no server.
#[derive(Debug)]
pub enum StartError {
    Io(io::Error),
    Ended(String),
    Silent(String),
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> StartError {
        StartError::Io(error)
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Io(error) => write!(f, "cannot start the server: {error}"),
            StartError::Ended(how) => write!(f, "the server ended while starting: {how}"),
            StartError::Silent(how) => write!(f, "the server did not serve within {how}"),
        }
    }
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pid: u32,
    setup: Setup,
    /// From the start of the process to its first linearizable answer.
    pub started_in: Duration,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu: Duration,
    /// Bytes it caused to be sent to the device.
    pub written_bytes: u64,
}

/// Memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub resident_bytes: u64,
    pub anonymous_bytes: u64,
}

impl Server {
    pub fn endpoint(&self) -> String {
        self.setup.endpoint()
    }

    pub fn usage(&self) -> io::Result<Usage> {
        let written_bytes = field(&format!("/proc/{}/io", self.pid), "write_bytes:")?;
        Ok(Usage { cpu: cpu(&self.pid.to_string())?, written_bytes })
    }

    pub fn memory(&self) -> io::Result<Memory> {
        let kib = |name| Ok::<u64, io::Error>(field(&format!("/proc/{}/smaps_rollup", self.pid), name)? << 10);
        Ok(Memory { resident_bytes: kib("Rss:")?, anonymous_bytes: kib("Anonymous:")? })
    }

    /// Ends the server as a crash would, without a word to it.
    pub fn kill(mut self) -> io::Result<()> {
        self.end()
    }

    /// The syncs of a server that counted them, which this ends.
    pub fn kill_and_count_syncs(mut self) -> io::Result<u64> {
        self.end()?;
        let table = fs::read_to_string(self.setup.sync_counts())?;
        let calls = |line: &str| {
            let mut words = line.split_whitespace();
            let (count, name) = (words.next()?.parse::<u64>().ok()?, words.next()?);
            matches!(name, "fsync" | "fdatasync" | "msync").then_some(count)
        };
        Ok(table.lines().filter_map(calls).sum())
    }

    fn end(&mut self) -> io::Result<()> {
        if self.pid != self.child.id() {
            // strace writes its table when what it traces has ended.
            if let Some(pid) = rustix::process::Pid::from_raw(self.pid as i32) {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
            }
        } else {
            self.child.kill()?;
        }
        self.child.wait().map(|_| ())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is owed to a process that has already been waited for.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            drop(self.end());
        }
    }
}

fn field(path: &str, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| io::Error::other(format!("{path}: no {name}")))
}

fn cpu(pid: &str) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may contain anything; utime and stime are the 12th and 13th words behind it.
    let words = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    let ticks: Option<u64> =
        words.get(11..13).and_then(|w| Some(w[0].parse::<u64>().ok()? + w[1].parse::<u64>().ok()?));
    let ticks = ticks.ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat: not understood")))?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// CPU time of this program so far.
pub fn own_cpu() -> Duration {
    cpu("self").unwrap_or_default()
}
