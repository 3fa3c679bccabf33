//! Starts that must fail do so with one line that names the thing, exit code 2, and touch nothing.
#![allow(missing_docs)]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use zufar_tests::program::{self, Program};
use zufar_tests::{Node, PATIENCE, ports, wait_for};

fn home() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

/// Runs `zufar` and waits for its end; one that starts to serve instead is ended.
fn run<'a>(directory: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Output {
    let mut command = Command::new(program::zufar());
    command.current_dir(directory).args(arguments);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program can be run");
    let start = std::time::Instant::now();
    while child.try_wait().expect("a child can be asked").is_none() {
        if start.elapsed() > PATIENCE / 3 {
            child.kill().expect("a child can be killed");
            let output = child.wait_with_output().expect("a child ends");
            panic!("{command:?} runs on:\n{}", text(&output.stderr));
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.wait_with_output().expect("a child ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one line of a start that is refused. `named` must come in it.
fn refused<'a>(
    directory: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
    named: &[&str],
) -> String {
    let output = run(directory, arguments);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert_eq!(errors.lines().count(), 1, "more than one line:\n{errors}");
    assert_eq!(
        text(&output.stdout),
        "",
        "the error belongs on standard error"
    );
    for name in named {
        assert!(errors.contains(name), "{name} is not named: {errors}");
    }
    errors
}

fn listening(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Arguments for ports of our own, so that nothing but the tested error can be in the way.
fn own_ports() -> [String; 4] {
    let (client, peer) = (ports::reserve(), ports::reserve());
    [
        "--listen".to_owned(),
        listening(client),
        "--peer-listen".to_owned(),
        listening(peer),
    ]
}

fn serve<'a>(ports: &'a [String; 4], more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["serve"];
    arguments.extend(ports.iter().map(String::as_str));
    arguments.extend_from_slice(more);
    arguments
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory can be listed");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn a_second_process_on_the_same_data() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    node.client().set("a", "1");
    let data = node.data_dir().to_str().expect("text").to_owned();
    let ports = own_ports();
    let id = node.id().to_string();
    refused(
        node.home(),
        serve(&ports, &["--data-dir", &data]),
        &[&data, &id],
    );
    // The first goes on, and comes back with everything.
    let mut client = node.client();
    assert_eq!(client.get("a").as_deref(), Some(&b"1"[..]));
    client.set("b", "2");
    node.terminate();
    node.start();
    assert_eq!(node.client().get("b").as_deref(), Some(&b"2"[..]));
}

#[test]
fn a_directory_that_cannot_be_written() {
    if Program::is_stand_in() {
        return;
    }
    let home = home();
    let file = home.path().join("file");
    fs::write(&file, "a file, no directory").expect("a file can be written");
    let below = file.join("data").to_str().expect("text").to_owned();
    for path in [&*below, file.to_str().expect("text"), "/proc/zufar-data"] {
        let ports = own_ports();
        refused(home.path(), serve(&ports, &["--data-dir", path]), &[path]);
    }
    let content = fs::read_to_string(&file).expect("the file is there");
    assert_eq!(content, "a file, no directory");
}

#[test]
fn a_port_in_use() {
    if Program::is_stand_in() {
        return;
    }
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, ports::reserve())).expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let home = home();
    let data = home.path().join("data");
    let data_text = data.to_str().expect("text");
    let free = listening(ports::reserve());
    for (client, peer) in [(&address, &free), (&free, &address)] {
        let arguments = [
            "serve",
            "--listen",
            client,
            "--peer-listen",
            peer,
            "--data-dir",
            data_text,
        ];
        refused(home.path(), arguments, &[&address]);
        assert!(!data.exists(), "the data directory was made all the same");
    }
}

#[test]
fn configurations_that_are_wrong() {
    if Program::is_stand_in() {
        return;
    }
    let home = home();
    for (number, (config, named)) in [
        ("memroy = \"64m\"", "memroy"),
        ("memory = \"lots\"", "memory"),
        ("threads = \"two\"", "threads"),
        ("threads = 0", "threads"),
        ("guid = \"Not_Allowed\"", "guid"),
        ("when-full = \"panic\"", "when-full"),
        ("listen = 5", "listen"),
        ("[section]\nmemory = 1", "section"),
        ("memory = ", "line 1"),
        ("rack = \"1\"\n\nmemory = 64\nmemory = 64", "line 4"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("wrong{number}.conf");
        fs::write(home.path().join(&name), config).expect("a file can be written");
        let ports = own_ports();
        let mut arguments = vec!["serve", &name];
        arguments.extend(ports.iter().map(String::as_str));
        refused(home.path(), arguments, &[named]);
    }
    let ports = own_ports();
    let mut arguments = vec!["serve", "absent.conf"];
    arguments.extend(ports.iter().map(String::as_str));
    refused(home.path(), arguments, &["absent.conf"]);
    assert!(!home.path().join("zufar-data").exists(), "data was made");
}

#[test]
fn flags_that_are_wrong() {
    if Program::is_stand_in() {
        return;
    }
    let home = home();
    for (flags, named) in [
        (&["--memroy", "64"][..], "--memroy"),
        (&["-o", "no_such_word"], "no_such_word"),
        (&["-U", "11211"], "-U"),
        (&["-c", "0"], "0"),
        (&["-t", "0"], "0"),
        (&["-I", "1000"], "1000"),
        (&["-I", "256m"], "max-item-size 256 MiB"),
        (&["--data-dir", "x", "--no-disk"], "--no-disk"),
        (&["--peer-listen", "0.0.0.0:7"], "0.0.0.0"),
        (&["--runtime", "tokio"], "tokio"),
        (&["-S"], "-S"),
        (&["-l", "no.such.host.invalid"], "no.such.host.invalid"),
    ] {
        let mut arguments = vec!["serve"];
        let (client, peer) = (listening(ports::reserve()), listening(ports::reserve()));
        if !flags.contains(&"-l") {
            arguments.extend(["--listen", &client]);
        }
        if !flags.contains(&"--peer-listen") {
            arguments.extend(["--peer-listen", &peer]);
        }
        if !flags.contains(&"--data-dir") {
            arguments.push("--no-disk");
        }
        arguments.extend_from_slice(flags);
        refused(home.path(), arguments, &[named]);
    }
    assert!(entries(home.path()).is_empty(), "something was made");
}

#[test]
fn a_data_format_that_is_newer() {
    if Program::is_stand_in() {
        return;
    }
    let mut node = Node::options().start();
    node.client().set("a", "1");
    node.terminate();
    let format = node.data_dir().join("FORMAT");
    let old = fs::read_to_string(&format).expect("the format file is there");
    let version: u64 = old
        .split_whitespace()
        .last()
        .and_then(|version| version.parse().ok())
        .expect("the format file ends in a version");
    let newer = format!("{}", version + 41);
    fs::write(&format, old.replace(&version.to_string(), &newer)).expect("it can be written");
    let before = entries(node.data_dir());
    let data = node.data_dir().to_str().expect("text").to_owned();
    let ports = own_ports();
    refused(
        node.home(),
        serve(&ports, &["--data-dir", &data]),
        &[&data, &newer],
    );
    assert_eq!(entries(node.data_dir()), before, "something was touched");
    fs::write(&format, old).expect("it can be written");
    node.start();
    assert_eq!(node.client().get("a").as_deref(), Some(&b"1"[..]));
}

#[test]
fn memcached_s_own_command_line_is_enough() {
    if Program::is_stand_in() {
        return;
    }
    let home = home();
    let port = ports::reserve();
    let pidfile = home.path().join("pid");
    // As Debian's unit has it, with the tuning that people add.
    let arguments = [
        "serve",
        "-m",
        "64",
        "-p",
        &port.to_string(),
        "-u",
        "root",
        "-l",
        "127.0.0.1",
        "-P",
        pidfile.to_str().expect("text"),
        "-c",
        "500",
        "-t",
        "1",
        "-b",
        "100",
        "-I",
        "2m",
        "-U",
        "0",
        "-v",
        "-o",
        "idle_timeout=100,slab_reassign,lru_crawler,hash_algorithm=murmur3",
    ];
    let log = home.path().join("log");
    let errors = fs::File::create(&log).expect("a file can be made");
    let mut child = Command::new(program::zufar())
        .current_dir(home.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .expect("the program can be run");
    let mut client = wait_for("the node to answer", PATIENCE / 3, || {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            let log = fs::read_to_string(&log).unwrap_or_default();
            panic!("it ended with {status}:\n{log}");
        }
        zufar_tests::Client::try_connect(port).ok()
    });
    let settings = client.stats("settings");
    for (name, value) in [
        ("maxbytes", "67108864"),
        ("maxconns", "500"),
        ("num_threads", "1"),
        ("tcp_backlog", "100"),
        ("item_size_max", "2097152"),
        ("idle_timeout", "100"),
        ("verbosity", "1"),
    ] {
        let wanted = (name.to_owned(), value.to_owned());
        assert!(settings.contains(&wanted), "{name} {value}: {settings:?}");
    }
    let written = fs::read_to_string(&pidfile).expect("the pid file is there");
    assert_eq!(written.trim(), child.id().to_string());
    let log_text = fs::read_to_string(&log).expect("the log is there");
    let warnings = log_text
        .lines()
        .filter(|line| line.contains("slab_reassign"))
        .count();
    assert_eq!(
        warnings, 1,
        "one warning line for all accepted words:\n{log_text}"
    );
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .expect("a child can be signalled");
    let status = wait_for("the process to stop", PATIENCE, || {
        child.try_wait().expect("a child can be asked")
    });
    assert!(status.success(), "{status}");
    assert!(!pidfile.exists(), "the pid file is left");
}

/// The line may come a moment after the first answer.
fn await_ready_line(node: &Node) {
    wait_for("the ready line", PATIENCE, || {
        let log = node.log();
        (log.contains("ready") && log.ends_with('\n')).then_some(())
    });
}

#[test]
fn one_ready_line_where_there_is_no_terminal() {
    if Program::is_stand_in() {
        return;
    }
    let node = Node::options().start();
    await_ready_line(&node);
    let log = node.log();
    let ready: Vec<&str> = log.lines().filter(|line| line.contains("ready")).collect();
    assert_eq!(ready.len(), 1, "{log}");
    assert!(ready[0].contains(&listening(node.port())), "{log}");
    let runtime = format!(" threads 2 on {}, ", program::runtime());
    assert!(ready[0].contains(&runtime), "{log}");
}

#[test]
fn the_log_is_json_if_so_told() {
    if Program::is_stand_in() {
        return;
    }
    let node = Node::options().flags(["--log-format", "json"]).start();
    await_ready_line(&node);
    let log = node.log();
    for line in log.lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|value| value.is_object()), "{line}");
    }
}

#[test]
fn the_data_directory_is_private() {
    if Program::is_stand_in() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let node = Node::options().start();
    let metadata = fs::metadata(node.data_dir()).expect("the directory is there");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
}

#[test]
fn help_and_version() {
    if Program::is_stand_in() {
        return;
    }
    let home = home();
    let output = run(home.path(), ["--version"]);
    assert!(output.status.success());
    let wanted = format!("zufar {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&output.stdout), wanted);
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["status", "--help"],
        &["partitions", "--help"],
    ] {
        let output = run(home.path(), arguments.iter().copied());
        assert!(output.status.success(), "{arguments:?}");
        assert!(text(&output.stdout).contains("Usage:"), "{arguments:?}");
    }
}
