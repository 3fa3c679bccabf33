//! Running in the background.
//!
//! Decides how: the process starts itself again in a session of its own and waits until that
//! one serves or has failed, so errors reach the terminal and the exit code tells the truth.
//! (A fork would do, but not in safe Rust.) Refuses to know what is run.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};

use crate::error::{StartError, describe, refuse};

/// Set for the process that runs in the background.
const MARK: &str = "ZUFAR_DAEMON_CHILD";
const READY: &[u8] = b"ready\n";

/// Whether this is the process that runs in the background.
pub(crate) fn is_child() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts the process again in the background, and returns once it serves or has failed.
pub(crate) fn start() -> Result<ExitCode, StartError> {
    let refused = |error: io::Error| refuse!("can't run in the background: {}", describe(&error));
    let program = std::env::current_exe().map_err(refused)?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(refused)?;
    let mut said = Vec::new();
    if let Some(output) = child.stdout.take() {
        let bytes_max = u64::try_from(READY.len()).expect("a short word");
        output
            .take(bytes_max)
            .read_to_end(&mut said)
            .map_err(refused)?;
    }
    if said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().map_err(refused)?;
    // It has said why, on the standard error that it shares with this process.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Leaves the terminal's session. For the process in the background, before all else.
pub(crate) fn leave_session() -> Result<(), StartError> {
    rustix::process::setsid()
        .map(drop)
        .map_err(|error| refuse!("can't run in the background: {}", describe(&error.into())))
}

/// Tells the waiting process that this one serves, and lets go of what it shares with it: the
/// current directory, standard output, and standard error unless the operator wants to read on.
pub(crate) fn detach(keep_stderr: bool) -> io::Result<()> {
    io::stdout().lock().write_all(READY)?;
    io::stdout().lock().flush()?;
    std::env::set_current_dir("/")?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    if !keep_stderr {
        rustix::stdio::dup2_stderr(&null)?;
    }
    Ok(())
}
