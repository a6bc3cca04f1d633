//! The process: threads, listeners, signals. The only place where threads are started.
//!
//!   main thread   signals, acceptors
//!   net x n       connections of clients and their calls
//!   peer          connections of peers
//!   member, wal, apply, store   one owner each
//!
//! Ports are bound before the data directory is touched, and served when this member has published itself.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ferrite_member::ApplyNews;
use ferrite_member::bootstrap::Beginning;
use ferrite_observe::log;
use ferrite_observe::log::{Logger, Value, lines};
use ferrite_observe::metrics::{Registry, families};
use ferrite_storage::vfs::{Disk, OptionalSync, Vfs};
use ferrite_storage::wal;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::LocalSet;

use crate::assemble::{Assembled, Owners, SLOW_SYNC, Surroundings, assemble, directories, election_ticks};
use crate::banner;
use crate::config::{self, Command, Config, ConfigError, Discovery};
use crate::end::{End, Ending};
use crate::grpc::Backups;
use crate::halt::Halt;
use crate::handle::{Door, Handle};
use crate::handover;
use crate::http::{self, FrontDoor, Site};
use crate::init;
use crate::listen::{Bound, Port, bind_all};
use crate::loops::{self, ApplyListeners, ApplySeat, Clock, Fatal, LogNews, MemberSeat, PeerLane};
use crate::net::{NetThread, observing, rpc_settings, services_settings};
use crate::open_files::{self, Connections};
use crate::peers::{self, Begin, BeginError, PeerRuntime, PeerThread, Roster};
use crate::post::Post;
use crate::rpc::{Accepted, Acceptor, Budget, lane};

/// A data directory that another process holds is waited for so long: restarts overlap.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(100);
/// Calls that are open when the server stops may end within this time.
const DRAIN: Duration = Duration::from_secs(1);
/// Stack of a net thread.
const NET_STACK_BYTES: usize = 8 << 20;

/// Runs `etcd` with the process's arguments and environment.
pub fn main() -> ExitCode {
    // A thread that panics must not leave the others at work.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let early = Logger::early();
    match config::parse(&arguments, environment, &early) {
        Ok(Command::Help) => {
            complain(config::USAGE);
            print(&(config::listing() + "\n"))
        }
        Ok(Command::Version) => print(&config::version()),
        Ok(Command::Serve(asked)) => match asked.logger() {
            Ok(logger) => match asked.check(&logger) {
                Ok(config) => serve(config, &logger),
                Err(error) => refuse(&logger, error),
            },
            Err(error) => refuse(&early, error),
        },
        Err(error) => refuse(&early, error),
    }
}

// Whoever reads either through a pipe may have seen enough.

fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn say_running(logger: &Logger) {
    let arguments: Vec<String> = std::env::args().collect();
    log!(logger, lines::RUNNING, Value::List(&arguments));
}

fn refuse(logger: &Logger, error: ConfigError) -> ExitCode {
    if matches!(error, ConfigError::Invalid(_) | ConfigError::Said) {
        say_running(logger);
    }
    match error {
        ConfigError::Usage(text) => {
            complain(&format!("{text}\n{}", config::USAGE));
            ExitCode::from(2)
        }
        ConfigError::Invalid(text) => {
            log!(logger, lines::FAILED_TO_VERIFY_FLAGS, &text);
            ExitCode::FAILURE
        }
        ConfigError::Said => ExitCode::FAILURE,
        ConfigError::Printed(text) => {
            complain(&text);
            ExitCode::FAILURE
        }
        ConfigError::Level(level) => {
            complain(&format!("panic: unrecognized level: {level:?}"));
            ExitCode::from(2)
        }
    }
}

fn serve(mut config: Config, logger: &Logger) -> ExitCode {
    say_running(logger);
    config.complete(&config::default_host(), logger);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(logger, &error),
    };
    match LocalSet::new().block_on(&runtime, run(&config, logger)) {
        Ok(Some(signal)) => init::end_by(signal),
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => refuse_start(&config, logger, error),
    }
}

/// A registry that has no place for this member is no failure of this member.
fn refuse_start(config: &Config, logger: &Logger, error: AnyError) -> ExitCode {
    let Some(refused @ BeginError::Discovery(_)) = error.downcast_ref() else { return fail(logger, &*error) };
    let Discovery { token, endpoints, .. } = &config.discovery;
    log!(logger, lines::DISCOVERY_TOKEN_USED, token, Value::List(endpoints), Value::Shown(refused));
    log!(logger, lines::DISCOVERY_TOKEN_NOT_TO_REUSE);
    ExitCode::FAILURE
}

fn fail(logger: &Logger, error: &(impl std::fmt::Display + ?Sized)) -> ExitCode {
    let text = error.to_string();
    log!(logger, lines::START_FAILED, &text);
    ExitCode::FAILURE
}

type AnyError = Box<dyn std::error::Error>;

/// Runs the server until a signal ends it, and says which one; none if the member was removed from its cluster.
async fn run(config: &Config, logger: &Logger) -> Result<Option<i32>, AnyError> {
    banner::inspect_data_dir(config, logger);
    let connections = open_files::connections(logger)?;
    banner::configuring_listeners(&config.urls, logger);
    let listeners = bind_all(&config.urls).await?;
    banner::starting(config, logger);
    let mut config = config.clone();
    config.adjust(logger);
    let config = &config;
    let peer_runtime = PeerRuntime::new()?;
    let surroundings = surroundings(&peer_runtime, logger);
    let Assembled { owners, door, peers, roster, removed, warnings } = open(config, &surroundings).await?;
    banner::opened(&door, &warnings, logger);
    let posts = Posts::new();
    let slow_after = config.limits.warning_apply_duration;
    let closing = owners.apply.0.closing();
    let owners = start_owners(owners, &door, &posts.all(), peers, roster, slow_after, logger)?;
    let mut clients = start_net(config, &door, &posts.net, &surroundings)?;
    let mut peers = start_peer(config, &door, posts.peer, peer_runtime, &surroundings)?;
    banner::serving(&door, &config.urls, logger);
    let ending = Ending::new(removed.subscribe())?;
    let end = serve_until_end(listeners, &mut clients, &mut peers, &connections, &door, ending, logger).await;
    banner::ended(end, logger);
    banner::closes(lines::CLOSING, config, logger);
    clients.stop();
    drain(&clients.threads).await;
    // Before anybody is handed anything more: whoever brings work may have to do it, and on a full disk wait for ever.
    closing.begin();
    if matches!(end, End::Signal(..)) {
        handover::hand_over(&door, config.heartbeat(), logger).await;
    }
    close(owners, &door);
    // Peers last: what the owners sent at their end is still on its way.
    banner::of_peers(lines::STOPPING_PEERS, &config.urls, logger);
    door.peers.transport.stop();
    peers.stop();
    join(peers.threads);
    banner::of_peers(lines::STOPPED_PEERS, &config.urls, logger);
    banner::closes(lines::CLOSED, config, logger);
    Ok(match end {
        End::Signal(signal, _) => Some(signal),
        End::Removed => None,
    })
}

fn surroundings(peer_runtime: &PeerRuntime, logger: &Logger) -> Surroundings {
    let registry = Arc::new(Registry::new());
    families::register_fresh(&registry);
    Surroundings {
        clock: Clock::start(),
        registry,
        logger: logger.clone(),
        halt: Halt::of_process(logger),
        peer_runtime: peer_runtime.handle().clone(),
    }
}

/// Serves peers at once: a member needs them before it can say that it is there. Clients only then.
async fn serve_until_end(
    listeners: Vec<Bound>,
    clients: &mut Servers,
    peers: &mut Servers,
    connections: &Connections,
    door: &Door,
    mut ending: Ending,
    logger: &Logger,
) -> End {
    let (of_peers, listeners): (Vec<Bound>, Vec<Bound>) =
        listeners.into_iter().partition(|bound| bound.port == Port::Peer);
    let (late, early): (Vec<Bound>, Vec<Bound>) =
        listeners.into_iter().partition(|bound| bound.port.waits_until_ready());
    peers.accept(of_peers, &connections.peers, logger);
    clients.accept(early, &connections.clients, logger);
    if let Err(end) = ending.unless(until_published(door)).await {
        return end;
    }
    clients.accept(late, &connections.clients, logger);
    init::notify_ready(logger);
    ending.wait().await
}

/// Where answers are left for the threads that serve.
struct Posts {
    net: Vec<Arc<Post>>,
    peer: Arc<Post>,
}

impl Posts {
    /// One for each net thread: as many as there are cores, but one is left to the owners.
    fn new() -> Posts {
        let net_threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1));
        Posts { net: (0..net_threads).map(|_| Arc::default()).collect(), peer: Arc::default() }
    }

    fn all(&self) -> Vec<Arc<Post>> {
        [&self.net[..], std::slice::from_ref(&self.peer)].concat()
    }
}

/// Threads that serve connections, and what brings them those.
struct Servers {
    threads: Vec<JoinHandle<()>>,
    /// For each port, the lane to each of the threads.
    lanes: Vec<(Port, Vec<mpsc::Sender<Accepted>>)>,
    accepting: Vec<tokio::task::JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Servers {
    /// Starts an acceptor for each listener; it deals its connections out to the lanes of its port.
    fn accept(&mut self, listeners: Vec<Bound>, open: &Arc<Semaphore>, logger: &Logger) {
        for Bound { port, url, socket } in listeners {
            let of_port = self.lanes.iter().find(|(each, _)| *each == port);
            let lanes = of_port.map(|(_, lanes)| lanes.clone()).unwrap_or_default();
            let acceptor = Acceptor::new(socket, url.to_string(), lanes, open.clone(), logger.clone());
            banner::accepting(port, &url, logger);
            self.accepting.push(tokio::task::spawn_local(acceptor.run()));
        }
    }

    /// Accepts nothing more, and tells the threads to end.
    fn stop(&mut self) {
        self.accepting.drain(..).for_each(|task| task.abort());
        self.lanes.clear();
        let _ = self.stop.send(true);
    }
}

/// The net threads: one for each post.
fn start_net(
    config: &Config,
    door: &Arc<Door>,
    posts: &[Arc<Post>],
    surroundings: &Surroundings,
) -> Result<Servers, AnyError> {
    let Surroundings { registry, logger, .. } = surroundings;
    let (stop, stopped) = watch::channel(false);
    let budget = Arc::<Budget>::default();
    let backups = Arc::new(Backups::new(logger));
    let mut threads = Vec::new();
    let mut lanes: Vec<(Port, Vec<mpsc::Sender<Accepted>>)> = Port::OF_CLIENTS.map(|port| (port, Vec::new())).into();
    for post in posts {
        let handle = Handle::new(door.clone(), post.clone());
        if threads.is_empty() {
            http::register(registry, config, &handle);
        }
        let thread = NetThread {
            handle,
            registry: registry.clone(),
            services: services_settings(config),
            rpc: rpc_settings(config),
            budget: budget.clone(),
            backups: backups.clone(),
            observing: observing(config, logger),
            door: FrontDoor { hosts: config.http.host_whitelist.clone(), origins: config.http.cors.clone() },
            stopped: stopped.clone(),
            logger: logger.clone(),
        };
        let mut receivers = Vec::new();
        for (port, senders) in &mut lanes {
            let (sender, receiver) = lane();
            senders.push(sender);
            receivers.push((*port, receiver));
        }
        threads.push(spawn("net", NET_STACK_BYTES, move || thread.run(receivers))?);
    }
    Ok(Servers { threads, lanes, accepting: Vec::new(), stop })
}

/// The peer thread.
fn start_peer(
    config: &Config,
    door: &Arc<Door>,
    post: Arc<Post>,
    runtime: PeerRuntime,
    surroundings: &Surroundings,
) -> Result<Servers, AnyError> {
    let (sender, receiver) = lane();
    let (stop, stopped) = watch::channel(false);
    let site = Site {
        handle: Handle::new(door.clone(), post),
        metrics: surroundings.registry.clone(),
        door: FrontDoor { hosts: Vec::new(), origins: Vec::new() },
        logger: surroundings.logger.clone(),
    };
    let hurry = config.raft.initial_election_tick_advance.then(|| election_ticks(config));
    let thread = PeerThread { runtime, site, hurry };
    let threads = vec![spawn("peer", 0, move || thread.run(receiver, stopped))?];
    Ok(Servers { threads, lanes: vec![(Port::Peer, vec![sender])], accepting: Vec::new(), stop })
}

/// Opens the data directory; one that another process holds is waited for a while.
async fn open(config: &Config, surroundings: &Surroundings) -> Result<Assembled<OptionalSync<Disk>>, AnyError> {
    let logger = &surroundings.logger;
    if config.member.unsafe_no_fsync {
        log!(logger, lines::NO_FSYNC);
    }
    let vfs = OptionalSync::new(Disk, !config.member.unsafe_no_fsync);
    let begin = match wal::exists(&vfs, &directories(config).log)? {
        true if config.cluster.force_new => {
            log!(logger, lines::FORCING_NEW_CLUSTER);
            Some(Begin { beginning: Beginning::Alone, known: Vec::new() })
        }
        true => {
            if !config.discovery.endpoints.is_empty() {
                log!(logger, lines::DISCOVERY_TOKEN_IGNORED, &directories(config).log.display().to_string());
            }
            None
        }
        false => Some(peers::begin(config, &peers::asker(config), logger).await?),
    };
    let give_up = Instant::now() + LOCK_WAIT;
    let mut is_told = false;
    loop {
        match assemble(&vfs, config, begin.as_ref(), surroundings) {
            Err(error) if error.is_locked() && Instant::now() < give_up => {
                if !is_told {
                    log!(logger, lines::WAITING_FOR_LOCK, Value::Shown(&error));
                    is_told = true;
                }
                tokio::time::sleep(LOCK_RETRY).await;
            }
            assembled => return Ok(assembled?),
        }
    }
}

/// The threads of the owners, in the order in which they end.
fn start_owners<V: Vfs>(
    owners: Owners<V>,
    door: &Arc<Door>,
    posts: &[Arc<Post>],
    peers: PeerLane,
    mut roster: Roster,
    slow_after: Duration,
    logger: &Logger,
) -> Result<Vec<JoinHandle<()>>, AnyError> {
    let Owners { member, log, apply, store, reads } = owners;
    let store_knows = Arc::new(AtomicBool::new(false));
    let of_all = || (door.outlets.clone(), posts.to_vec(), door.signals.clone(), door.halt.clone());
    let mut threads = Vec::new();
    let (outlets, all, signals, _) = of_all();
    let clock = door.clock;
    let member = MemberSeat::new(member.0, member.1, outlets, all, signals, peers, clock);
    threads.push(spawn("member", 0, move || member.run())?);
    let (outlets, _, signals, halt) = of_all();
    let logs = logger.clone();
    let mut news = move |news: LogNews| match news {
        LogNews::Saved(index) => log!(logs, lines::SAVED_SNAPSHOT, index.0),
        LogNews::SlowSync(took) => log!(logs, lines::SLOW_SYNC, took, SLOW_SYNC),
    };
    threads.push(spawn("wal", 0, move || {
        end_if_fatal(loops::log(log.0, &log.1, &outlets, &signals, &mut news), &halt);
    })?);
    let (outlets, all, _, halt) = of_all();
    let knows = store_knows.clone();
    let logs = logger.clone();
    let news = Box::new(move |news: ApplyNews| match news {
        ApplyNews::Slow { index, kind, took } => {
            let request = format!("{} at index {index}", kind.name());
            log!(logs, lines::APPLY_TOOK_TOO_LONG, took, slow_after, "", &request, "", "");
        }
        ApplyNews::Trimmed { revision, took } => log!(logs, lines::COMPACTED, revision, took),
        ApplyNews::Installed { index, term } => log!(logs, lines::APPLIED_SNAPSHOT, index.0, term.0),
    });
    let fatal = Box::new(move |error| end_if_fatal(Err(error), &halt));
    let state = door.state.clone();
    let members = Box::new(move || roster.follow(&state.tables().cluster));
    let listeners = ApplyListeners { news, members };
    let apply = ApplySeat::new(apply.0, apply.1, outlets, all, knows, listeners, fatal);
    threads.push(spawn("apply", 0, move || apply.run())?);
    let (outlets, all, signals, halt) = of_all();
    threads.push(spawn("store", 0, move || {
        end_if_fatal(loops::store(store.0, &store.1, &outlets, &all, &signals, &store_knows), &halt);
    })?);
    for read in reads {
        threads.push(spawn("read", 0, move || read.run())?);
    }
    Ok(threads)
}

/// An owner that cannot go on ends the process.
fn end_if_fatal(ended: Result<(), Fatal>, halt: &Halt) {
    if let Err(error) = ended {
        halt.halt(&error);
    }
}

fn spawn(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, std::io::Error> {
    const STACK_BYTES: usize = 2 << 20;
    std::thread::Builder::new().name(name.to_string()).stack_size(stack.max(STACK_BYTES)).spawn(body)
}

/// Waits until this member has published itself through the log: then it may serve.
async fn until_published(door: &Door) {
    const LOOK: Duration = Duration::from_millis(5);
    let is_published =
        || door.signals.published.load(Ordering::Relaxed) && door.state.tables().cluster.version().is_some();
    while !is_published() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Lets the net threads end their calls.
async fn drain(net: &[JoinHandle<()>]) {
    let give_up = Instant::now() + DRAIN;
    while net.iter().any(|thread| !thread.is_finished()) && Instant::now() < give_up {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Ends the owners, each when the one before it has ended.
fn close(threads: Vec<JoinHandle<()>>, door: &Door) {
    let _ = door.outlets.member.push(ferrite_member::Input::Stop);
    door.reads.close();
    join(threads);
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        // One that panics takes the process with it; there is no other error.
        let _ = thread.join();
    }
}
