//! `zufar serve`: from a command line to a node that serves, and to its end.
//!
//! Decides the order: everything is checked before anything is touched, and every port is
//! bound before the data directory is opened. Refuses to know what a node does.

use std::io::IsTerminal;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use signal_hook::iterator::Signals;
use zufar_core::disk::{Disk, Recovery};
use zufar_core::machine::Listener;
use zufar_core::notice::Notice;
use zufar_core::settings::Settings;
use zufar_core::worker::Worker;
use zufar_host::{Bound, Launch, Running};
use zufar_storage::Storage;

use crate::args::ServeArguments;
use crate::cluster::{self, Prepared};
use crate::error::{StartError, describe, refuse, without_code};
use crate::listen::{self, Listening, SocketFile};
use crate::log::Log;
use crate::options::{LogFormat, Runtime};
use crate::pidfile::PidFile;
use crate::privileges::{self, User};
use crate::screen::Announcement;
use crate::settings::{self, Found, Host, Plan};
use crate::{config, daemon, exit, guid, host, output, signals};

/// Runs a node until it is told to stop.
pub(crate) fn run(arguments: ServeArguments) -> ExitCode {
    let plan = match plan(arguments) {
        Ok(plan) => plan,
        Err(error) => {
            output::complain(&error.to_string());
            return exit::NOT_STARTED.into();
        }
    };
    let log = Arc::new(Log::new(plan.log_format));
    let started = checked(&plan).and_then(|user| {
        if plan.daemon && !daemon::is_child() {
            return daemon::start().map(Started::InBackground);
        }
        start(&plan, user.as_ref(), &log).map(Started::Here)
    });
    match started {
        Ok(Started::Here(node)) => node.serve(&plan, &log),
        Ok(Started::InBackground(code)) => code,
        Err(error) => {
            match plan.log_format {
                LogFormat::Text => output::complain(&error.to_string()),
                LogFormat::Json => log.error("not-started", error.to_string()),
            }
            exit::NOT_STARTED.into()
        }
    }
}

enum Started {
    Here(Node),
    InBackground(ExitCode),
}

/// A node that serves.
struct Node {
    running: Running,
    storage: Option<Kept>,
    settings: Arc<Settings>,
    clients: Vec<String>,
    peers: Vec<String>,
    pidfile: Option<PidFile>,
    /// Removed when the node is gone.
    _socket_file: Option<SocketFile>,
}

/// What the operator wants; touches nothing.
fn plan(arguments: ServeArguments) -> Result<Plan, StartError> {
    let taken = arguments.memcached.take()?;
    let mut options = arguments.options;
    options.idle_timeout = options.idle_timeout.or(taken.idle_timeout);
    if let Some(path) = &arguments.config {
        options = options.or(config::read(path)?);
    }
    let mut plan = settings::resolve(&options, &Host::look()?)?;
    plan.warnings.extend(taken.warning());
    Ok(plan)
}

/// Checks what depends on the machine, and still touches nothing.
fn checked(plan: &Plan) -> Result<Option<User>, StartError> {
    host::allow_files(plan)?;
    match &plan.user {
        Some(name) => privileges::find(name),
        None => Ok(None),
    }
}

fn start(plan: &Plan, user: Option<&User>, log: &Arc<Log>) -> Result<Node, StartError> {
    if plan.daemon {
        daemon::leave_session()?;
    }
    let signals =
        signals::hold().map_err(|error| refuse!("can't take signals: {}", describe(&error)))?;
    for warning in &plan.warnings {
        log.warning("ignored", warning.clone());
    }
    let secrets = cluster::secrets(plan, log)?;
    let listening = listen::bind(plan, secrets.is_some())?;
    let mut prepared = Prepared::new(plan, secrets, &listening)?;
    let port = plan.port(listening.tcp_port);
    let data_directory = plan.data.as_ref().map(|data| data.directory(port));
    let mut pidfile = plan.pidfile.as_deref().map(PidFile::prepare).transpose()?;
    if let Some(user) = user {
        hand_over(user, &listening, data_directory.as_ref(), pidfile.as_ref())?;
    }
    let (storage, recovery) = open(plan, data_directory.clone(), log)?;
    cluster::tell_of_notes(plan, &recovery, log);
    let guid = match (&plan.guid, &data_directory) {
        (Some(guid), _) => guid.clone(),
        (None, Some(directory)) => guid::kept(directory)?,
        (None, None) => guid::drawn()?,
    };
    if let Some(pidfile) = &mut pidfile {
        pidfile.write()?;
    }
    let unix_ms = unix_ms();
    let settings = Arc::new(plan.settings(Found {
        guid,
        peer_address: prepared.peer_address(&listening),
        tcp_port: listening.tcp_port,
        data_directory: data_directory.clone(),
        started_unix_s: unix_ms / 1000,
    }));
    let datagrams = prepared.datagrams.take();
    let directory = data_directory.as_deref();
    let company = prepared.company(plan, &settings, &recovery, directory, unix_ms)?;
    let machines = company.workers(&settings, &recovery, unix_ms)?;
    let sockets = (listening.sockets, datagrams);
    let running = run_workers(plan.runtime, machines, sockets, storage.clone(), log)
        .and_then(|running| obey(signals, running, log))
        .map_err(|error| refuse!("can't start threads: {}", describe(&error)))?;
    Ok(Node {
        running,
        storage,
        settings,
        clients: listening.clients,
        peers: listening.peers.iter().map(ToString::to_string).collect(),
        pidfile,
        _socket_file: listening.socket_file,
    })
}

/// Milliseconds since the Unix epoch; 0 for a clock that is before it.
fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let milliseconds = since_epoch.map_or(0, |since| since.as_millis());
    u64::try_from(milliseconds).unwrap_or(u64::MAX)
}

/// Hands over what the new user must be able to use, and becomes it.
fn hand_over(
    user: &User,
    listening: &Listening,
    data_directory: Option<&PathBuf>,
    pidfile: Option<&PidFile>,
) -> Result<(), StartError> {
    if let Some(file) = &listening.socket_file {
        user.own(file.path())?;
    }
    if let Some(file) = pidfile {
        user.own(file.path())?;
    }
    if let Some(directory) = data_directory {
        user.own_directory(directory)?;
    }
    user.become_it()
}

/// The storage, and how many damaged databases the operator has been told of.
#[derive(Clone)]
struct Kept {
    storage: Arc<Storage>,
    told: Arc<AtomicUsize>,
}

impl Kept {
    /// Tells of databases that were set aside since the last time.
    fn tell(&self, log: &Log) {
        let aside = self.storage.set_aside();
        let told = self.told.swap(aside.len(), Relaxed);
        for path in aside.iter().skip(told) {
            log.error(
                "database-set-aside",
                format!(
                    "the database is damaged; it is kept as {} and a new one has its place",
                    path.display()
                ),
            );
        }
    }
}

fn open(
    plan: &Plan,
    directory: Option<PathBuf>,
    log: &Log,
) -> Result<(Option<Kept>, Recovery), StartError> {
    let (Some(data), Some(directory)) = (&plan.data, directory) else {
        return Ok((None, Recovery::default()));
    };
    // What RocksDB writes is for nobody else.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let options = zufar_storage::Options {
        directory,
        memory_bytes_max: data.rocksdb_bytes,
    };
    let (storage, recovery, _) =
        Storage::open(options).map_err(|error| StartError(without_code(&error.to_string())))?;
    let kept = Kept {
        storage: Arc::new(storage),
        told: Arc::default(),
    };
    kept.tell(log);
    Ok((Some(kept), recovery))
}

fn run_workers(
    runtime: Runtime,
    machines: Vec<Worker>,
    (listeners, datagrams): (Vec<(Bound, Listener)>, Option<UdpSocket>),
    kept: Option<Kept>,
    log: &Arc<Log>,
) -> std::io::Result<Running> {
    let disk = kept
        .as_ref()
        .map(|kept| Arc::clone(&kept.storage) as Arc<dyn Disk>);
    let log = Arc::clone(log);
    let notify = move |notice: Notice| {
        log.notice(&notice);
        // The storage has no voice of its own; a reopening, which may set one aside, has.
        if let Some(kept) = &kept {
            kept.tell(&log);
        }
    };
    let launch = match runtime {
        Runtime::Mio => zufar_runtime_mio::launch,
        Runtime::Smol => zufar_runtime_smol::launch,
    };
    launch(Launch {
        machines,
        listeners,
        datagrams,
        disk,
        notify: Arc::new(notify),
    })
}

fn obey(signals: Signals, running: Running, log: &Arc<Log>) -> std::io::Result<Running> {
    signals::obey(signals, running.stopper(), Arc::clone(log))?;
    Ok(running)
}

impl Node {
    /// Says that the node serves, waits for its end, and sees to it that all is closed.
    fn serve(self, plan: &Plan, log: &Log) -> ExitCode {
        self.announce(plan, log);
        if plan.daemon
            && let Err(error) = daemon::detach(plan.verbosity > 0)
        {
            log.warning("daemon", format!("can't detach: {}", describe(&error)));
        }
        let mut saved = true;
        if let Err(error) = self.running.wait() {
            saved = false;
            log.error(
                "failed",
                format!("an event loop failed: {}", describe(&error)),
            );
        }
        saved &= !log.has_stopped_dirty();
        if let Some(kept) = &self.storage {
            kept.tell(log);
            if kept.storage.close().is_err() {
                saved = false;
                log.error(
                    "not-synced",
                    "the last changes could not be synced to disk".to_owned(),
                );
            }
        }
        drop(self.pidfile);
        if !saved {
            return exit::FAILED.into();
        }
        let kept = match self.storage {
            Some(_) => "everything is on disk",
            None => "there is no disk",
        };
        log.info("stopped", kept.to_owned());
        ExitCode::SUCCESS
    }

    fn announce(&self, plan: &Plan, log: &Log) {
        let announcement = Announcement {
            settings: &self.settings,
            clients: &self.clients,
            peers: &self.peers,
            cluster: plan.cluster.as_ref().map(|cluster| &*cluster.name),
            runtime: plan.runtime,
            rocksdb_bytes: plan.data.as_ref().map_or(0, |data| data.rocksdb_bytes),
        };
        let is_for_people = plan.log_format == LogFormat::Text && std::io::stderr().is_terminal();
        if is_for_people {
            output::tell(&announcement.screen());
        } else {
            log.info("ready", announcement.line());
        }
    }
}
