//! One node under test: its process, its ports, its data, and those of its companions.
//!
//! Decides how it is started, probed, stopped, killed and started again. Refuses to know what a
//! test does with it, and which companions it has ([`crate::companions`]).

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, iter};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::program::{self, Program};
use crate::{Client, PATIENCE, cluster, companions, ports, wait_for};

/// How a node is started. The defaults are small: 64 MiB, two threads, data on disk.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    pub(crate) program: Program,
    pub(crate) runtime: Option<String>,
    memory_mib: u32,
    threads: u16,
    disk: bool,
    pub(crate) data_dir: Option<PathBuf>,
    item_size: Option<String>,
    connections_max: Option<u32>,
    idle_timeout_s: Option<u32>,
    pub(crate) guid: String,
    /// Its place among the nodes of its cluster, by which it gets one of several runtimes.
    pub(crate) number: usize,
    unix_socket: bool,
    pub(crate) flags: Vec<String>,
    config: String,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            program: Program::under_test(),
            runtime: None,
            memory_mib: 64,
            threads: 2,
            disk: true,
            data_dir: None,
            item_size: None,
            connections_max: None,
            idle_timeout_s: None,
            guid: "7".to_owned(),
            number: 0,
            unix_socket: false,
            flags: Vec::new(),
            config: String::new(),
        }
    }
}

impl NodeOptions {
    /// Runs this program, whatever the environment asks for.
    #[must_use]
    pub fn program(mut self, program: Program) -> Self {
        self.program = program;
        self
    }

    /// Runs over this runtime, whatever the environment asks for.
    #[must_use]
    pub fn runtime(mut self, name: &str) -> Self {
        self.runtime = Some(name.to_owned());
        self
    }

    /// Bound of the memory tier.
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(mut self, threads: u16) -> Self {
        self.threads = threads;
        self
    }

    /// A plain cache.
    #[must_use]
    pub fn no_disk(mut self) -> Self {
        self.disk = false;
        self
    }

    /// Keeps the data here rather than in a directory of its own.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Longest value, as the flag has it.
    #[must_use]
    pub fn item_size(mut self, size: &str) -> Self {
        self.item_size = Some(size.to_owned());
        self
    }

    /// Most client connections.
    #[must_use]
    pub fn connections_max(mut self, count: u32) -> Self {
        self.connections_max = Some(count);
        self
    }

    /// Seconds after which a silent client is closed.
    #[must_use]
    pub fn idle_timeout_s(mut self, seconds: u32) -> Self {
        self.idle_timeout_s = Some(seconds);
        self
    }

    /// Serves clients on a Unix socket, [`Node::unix_socket`], and not on TCP.
    #[must_use]
    pub fn unix_socket(mut self) -> Self {
        self.unix_socket = true;
        self
    }

    /// Its lasting name.
    #[must_use]
    pub fn guid(mut self, guid: &str) -> Self {
        self.guid = guid.to_owned();
        self
    }

    /// More flags, as they are; only Zufar gets them.
    #[must_use]
    pub fn flags<'a>(mut self, flags: impl IntoIterator<Item = &'a str>) -> Self {
        self.flags.extend(flags.into_iter().map(str::to_owned));
        self
    }

    /// More lines of the configuration file; only Zufar gets them.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// Starts the node and waits until it answers, and with companions until they have shared
    /// out what there is.
    ///
    /// # Panics
    /// When it doesn't.
    #[must_use]
    pub fn start(self) -> Node {
        let companions = companions::of(&self);
        let mut node = self.prepared();
        node.companions = companions;
        companions::introduce(&mut node);
        node.start();
        node.await_shared_out();
        node
    }

    /// A node that has not been started yet.
    pub(crate) fn prepared(self) -> Node {
        let home = TempDir::with_prefix("zufar-test-").expect("a temporary directory can be made");
        let data_dir = self
            .data_dir
            .clone()
            .unwrap_or_else(|| home.path().join("data"));
        Node {
            port: ports::reserve(),
            peer_port: ports::reserve(),
            log: home.path().join("log"),
            options: self,
            data_dir,
            home,
            child: None,
            companions: Vec::new(),
            cluster_flags: Vec::new(),
            is_shared_out: AtomicBool::new(true),
        }
    }
}

/// A running node, or one between two runs. It is killed when it goes out of scope.
///
/// If it has companions, all that is done to it as a process (killed, stopped, started) is done to
/// all of them at once, unless a method says otherwise. Clients talk to this one.
#[derive(Debug)]
pub struct Node {
    options: NodeOptions,
    port: u16,
    peer_port: u16,
    home: TempDir,
    data_dir: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    pub(crate) companions: Vec<Node>,
    /// What tells it of the other nodes of its cluster.
    pub(crate) cluster_flags: Vec<String>,
    /// Since the last start its cluster has been whole.
    is_shared_out: AtomicBool,
}

impl Node {
    /// Options to start one.
    #[must_use]
    pub fn options() -> NodeOptions {
        NodeOptions::default()
    }

    /// Its lasting name.
    #[must_use]
    pub fn guid(&self) -> &str {
        &self.options.guid
    }

    /// This node and its companions.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        iter::once(self).chain(&self.companions)
    }

    /// How many nodes hold each item.
    #[must_use]
    pub fn copies(&self) -> u64 {
        cluster::copies(self.all().count())
    }

    /// A figure of this node and its companions together.
    ///
    /// # Panics
    /// If one of them does not show it.
    #[must_use]
    pub fn total(&self, group: &str, name: &str) -> u64 {
        self.all().map(|it| it.client().stat(group, name)).sum()
    }

    /// The flags that it is started with from now on, in place of those before.
    pub fn set_flags<'a>(&mut self, flags: impl IntoIterator<Item = &'a str>) {
        self.options.flags = flags.into_iter().map(str::to_owned).collect();
    }

    /// The client port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The peer port.
    #[must_use]
    pub fn peer_port(&self) -> u16 {
        self.peer_port
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A directory of this node's own, for the test to use.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The process id.
    ///
    /// # Panics
    /// If it isn't running.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("the node runs").id()
    }

    /// Where the Unix socket is.
    #[must_use]
    pub fn unix_socket(&self) -> PathBuf {
        self.home.path().join("socket")
    }

    /// A new connection. The first one after a start waits until the cluster, if the node has
    /// companions, has shared out what there is.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn client(&self) -> Client {
        self.await_shared_out();
        self.try_client()
            .unwrap_or_else(|error| panic!("connect to port {}: {error}", self.port))
    }

    fn await_shared_out(&self) {
        if !self.is_shared_out.swap(true, Ordering::Relaxed) {
            cluster::await_shared_out(&self.all().collect::<Vec<_>>());
        }
    }

    fn try_client(&self) -> io::Result<Client> {
        if self.options.unix_socket {
            Client::try_connect_unix(&self.unix_socket())
        } else {
            Client::try_connect(self.port)
        }
    }

    /// All that the program has printed, over all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts the process again on the same ports and data, and waits until it answers.
    ///
    /// # Panics
    /// When it doesn't answer, or runs already.
    pub fn start(&mut self) {
        self.launch();
        self.await_ready();
    }

    /// Starts the process and waits for nothing. Companions that run stay as they are.
    ///
    /// # Panics
    /// When it can't be started, or runs already.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "the node runs already");
        self.launch_alone();
        *self.is_shared_out.get_mut() = self.companions.is_empty();
        for companion in &mut self.companions {
            if !companion.is_running() {
                companion.launch_alone();
            }
        }
    }

    fn launch_alone(&mut self) {
        let log = self.open_log();
        let errors = log.try_clone().expect("a file can be shared");
        let mut command = match self.options.program {
            Program::Zufar => self.zufar_command(),
            Program::Memcached => self.memcached_command(),
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
    }

    /// Waits until the started process answers.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn await_ready(&mut self) {
        self.await_ready_alone();
        for companion in &mut self.companions {
            companion.await_ready_alone();
        }
    }

    fn await_ready_alone(&mut self) {
        let start = Instant::now();
        while self.version().is_none() {
            let child = self.child.as_mut().expect("the node has been launched");
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                self.child = None;
                panic!("the program ended with {status}:\n{}", self.log());
            }
            assert!(
                start.elapsed() < PATIENCE,
                "not ready after {PATIENCE:?}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn version(&self) -> Option<String> {
        self.try_client().ok()?.try_ask("version").ok()
    }

    fn open_log(&self) -> File {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("the log can be written")
    }

    fn zufar_command(&self) -> Command {
        let options = &self.options;
        let mut command = Command::new(program::zufar());
        command.current_dir(self.home.path()).arg("serve");
        let config = self.home.path().join("zufar.toml");
        let text = format!("guid = \"{}\"\n{}", options.guid, options.config);
        fs::write(&config, text).expect("the configuration can be written");
        command.arg(config);
        let runtime = options.runtime.clone();
        let runtime = runtime.unwrap_or_else(|| program::runtime_of(options.number));
        command.args(["--runtime", &runtime]);
        if options.unix_socket {
            command.arg("--unix-socket").arg(self.unix_socket());
        } else {
            command.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        }
        command.args(["--peer-listen", &format!("127.0.0.1:{}", self.peer_port)]);
        command.args(["--memory", &options.memory_mib.to_string()]);
        command.args(["--threads", &options.threads.to_string()]);
        if options.disk {
            command.arg("--data-dir").arg(&self.data_dir);
        } else {
            command.arg("--no-disk");
        }
        if let Some(size) = &options.item_size {
            command.args(["--max-item-size", size]);
        }
        if let Some(count) = options.connections_max {
            command.args(["--max-connections", &count.to_string()]);
        }
        if let Some(seconds) = options.idle_timeout_s {
            command.args(["--idle-timeout", &seconds.to_string()]);
        }
        command.args(&options.flags);
        command.args(&self.cluster_flags);
        command
    }

    fn memcached_command(&self) -> Command {
        let options = &self.options;
        let path = program::memcached().expect("memcached is installed");
        let mut command = Command::new(path);
        command.args(["-u", "root", "-l", "127.0.0.1", "-U", "0"]);
        command.args(["-p", &self.port.to_string()]);
        command.args(["-m", &options.memory_mib.to_string()]);
        command.args(["-t", &options.threads.to_string()]);
        if let Some(size) = &options.item_size {
            command.args(["-I", size]);
        }
        if let Some(count) = options.connections_max {
            command.args(["-c", &count.to_string()]);
        }
        if options.unix_socket {
            command.arg("-s").arg(self.unix_socket());
        }
        if let Some(seconds) = options.idle_timeout_s {
            command.args(["-o", &format!("idle_timeout={seconds}")]);
        }
        command
    }

    /// Kills the process, as a crash would.
    ///
    /// # Panics
    /// If it isn't running.
    pub fn kill_9(&mut self) {
        let mut children = self.take_children();
        for child in &mut children {
            child.kill().expect("a child can be killed");
        }
        for child in &mut children {
            child.wait().expect("a killed child ends");
        }
    }

    /// Asks the process to stop and waits until it has. How companions end is of no matter.
    ///
    /// # Panics
    /// If it isn't running or does not stop.
    pub fn stop_with(&mut self, signal: Signal) -> ExitStatus {
        self.stop_all_with(signal)[0]
    }

    /// How each has ended, this one first.
    fn stop_all_with(&mut self, signal: Signal) -> Vec<ExitStatus> {
        let children = self.take_children();
        for child in &children {
            kill_process(Pid::from_child(child), signal).expect("a child can be signalled");
        }
        children.into_iter().map(await_end).collect()
    }

    /// The processes of all that run, this one's first.
    fn take_children(&mut self) -> Vec<Child> {
        let mut children = vec![self.child.take().expect("the node runs")];
        for companion in &mut self.companions {
            if companion.is_running() {
                children.extend(companion.child.take());
            }
        }
        children
    }

    /// Waits until the process has ended by itself, this one alone.
    ///
    /// # Panics
    /// If it hasn't been started or does not end.
    pub fn await_end(&mut self) -> ExitStatus {
        await_end(self.child.take().expect("the node runs"))
    }

    /// Asks the process to stop; it must exit with 0.
    ///
    /// # Panics
    /// If it doesn't.
    pub fn terminate(&mut self) {
        let statuses = self.stop_all_with(Signal::TERM);
        for (status, node) in statuses.iter().zip(self.all()) {
            assert!(status.success(), "{status} on SIGTERM:\n{}", node.log());
        }
    }

    /// Waits until all that has been acknowledged is written and synced.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn await_written(&self) {
        self.all().for_each(Self::await_written_alone);
    }

    fn await_written_alone(&self) {
        let mut client = self.client();
        wait_for("all to be on disk", PATIENCE, || {
            let stats = client.stats("zufar");
            let caught_up = ["dirty_items", "synced_lag_ms"]
                .iter()
                .all(|name| stats.contains(&((*name).to_owned(), "0".to_owned())));
            caught_up.then_some(())
        });
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nothing is left to do for one that is already gone.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            show(&format!(
                "last lines of the log of node {}:\n{}",
                self.guid(),
                tail.join("\n")
            ));
        }
    }
}

fn await_end(mut child: Child) -> ExitStatus {
    wait_for("the process to stop", PATIENCE, || {
        child.try_wait().expect("a child can be asked")
    })
}

/// Prints something beside a failing test's own message.
#[expect(clippy::print_stderr, reason = "the reader of a failed test needs it")]
fn show(text: &str) {
    eprintln!("{text}");
}
