//! The project's first description, played with the built program and its example files.
#![allow(missing_docs)]

use std::fs;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use zufar_tests::program::{self, Program};
use zufar_tests::{Client, Node, PATIENCE, wait_for};

/// Ended when it goes out of scope, whatever the test finds.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // Nothing is left to do for one that is already gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn status(arguments: &[&str]) -> String {
    let output = Command::new(program::zufar())
        .arg("status")
        .args(arguments)
        .output()
        .expect("the program can be run");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "status {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("status prints text")
}

const HEAD: &str = "\
Status=Up/Down
|/ State=Normal/Leaving/Joining/Moving
--  Address              Load       GUID                              Rack
";

#[test]
fn the_first_session() {
    if Program::is_stand_in() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let config = program::repository().join("example/node1.conf");
    let log = fs::File::create(home.path().join("log")).expect("a file can be made");
    let child = Command::new(program::zufar())
        .arg("serve")
        .arg(config)
        .args(["--runtime", &program::runtime()])
        .current_dir(home.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file can be shared"))
        .stderr(log)
        .spawn()
        .expect("the program can be run");
    let mut serving = Serving(child);
    let mut client = wait_for("the node to answer", PATIENCE / 3, || {
        if let Some(status) = serving.0.try_wait().expect("a child can be asked") {
            let log = fs::read_to_string(home.path().join("log")).unwrap_or_default();
            panic!("it ended with {status}:\n{log}");
        }
        Client::try_connect(8122).ok()
    });

    client.send("set a 0 0 5\r\nhello\r\n");
    client.expect("STORED\r\n");
    client.send("get a\r\n");
    client.expect("VALUE a 0 5\r\nhello\r\nEND\r\n");
    client.send("del a\r\n");
    client.expect("DELETED\r\n");
    client.send("get a\r\n");
    client.expect("END\r\n");
    client.send("setd b 0 0 3\r\nabc\r\n");
    client.expect("STORED\r\n");
    expect_location(&mut client);
    client.send("getd b\r\n");
    client.expect("VALUE b 0 3\r\nabc\r\nEND\r\n");
    expect_location(&mut client);
    for at in 0..9 {
        client.set(&format!("key:{at}"), "value");
    }
    wait_for("all to be on disk", PATIENCE, || {
        (client.stat("zufar", "dirty_items") == 0).then_some(())
    });

    let row = "UN  127.0.0.1:8123         0/10      0                                1\n";
    let wanted = format!("{HEAD}{row}");
    // It looks for the two others first, which are not there.
    wait_for("a node that serves alone", PATIENCE, || {
        (status(&["127.0.0.1", "8123"]) == wanted).then_some(())
    });
    assert_eq!(status(&["127.0.0.1:8123"]), wanted);
    let json: serde_json::Value =
        serde_json::from_str(&status(&["127.0.0.1", "8123", "--json"])).expect("JSON");
    let text = json.to_string();
    for part in ["127.0.0.1:8123", "\"0\"", "10"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }

    kill_process(Pid::from_child(&serving.0), Signal::TERM).expect("a child can be signalled");
    let status = wait_for("the process to stop", PATIENCE, || {
        serving.0.try_wait().expect("a child can be asked")
    });
    assert!(status.success(), "{status}");
    assert!(
        home.path().join("zufar-data/8122").is_dir(),
        "the data's place"
    );
}

fn expect_location(client: &mut Client) {
    let line = client.line();
    let milliseconds = line
        .strip_prefix("node-0 in ")
        .and_then(|rest| rest.strip_suffix("ms"))
        .unwrap_or_else(|| panic!("{line}"));
    assert!(milliseconds.parse::<u64>().is_ok(), "{line}");
}

#[test]
fn status_of_a_node_that_is_not_there() {
    if Program::is_stand_in() {
        return;
    }
    let port = zufar_tests::ports::reserve().to_string();
    let output = Command::new(program::zufar())
        .args(["status", "127.0.0.1", &port])
        .output()
        .expect("the program can be run");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains(&port), "{errors}");
}

/// The peer port is not for clients, and says no to what is no frame without falling over.
#[test]
fn nonsense_on_the_peer_port_harms_nobody() {
    if Program::is_stand_in() {
        return;
    }
    let node = Node::options().start();
    for nonsense in [
        &b"get a\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 100_000],
        &[0; 100_000],
        b"",
    ] {
        let mut client = Client::connect(node.peer_port());
        // A peer that is refused in the middle of its nonsense is told no more.
        let _ = client.try_send(nonsense);
        drop(client);
    }
    // A length that would need gigabytes is refused, not reserved.
    let mut client = Client::connect(node.peer_port());
    let _ = client.try_send(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let mut other = node.client();
    other.set("a", "1");
    assert_eq!(other.get("a").as_deref(), Some(&b"1"[..]));
    let resident = zufar_tests::process::resident_bytes(node.id(), "VmRSS").expect("it runs");
    assert!(resident < 400 << 20, "{resident} bytes are resident");
    let address = node.peer_port().to_string();
    let shown = status(&["127.0.0.1", &address]);
    assert!(shown.starts_with(HEAD), "{shown}");
}
