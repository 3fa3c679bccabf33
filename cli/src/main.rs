//! The `zufar` command.
//!
//! Decides which command runs, and which allocator serves all of them. Refuses to know more:
//! `args` has the command line; `serve`, `status` and `partitions` do the work.

mod advertise;
mod allocator;
mod args;
mod cluster;
mod config;
mod daemon;
mod error;
mod exit;
mod generation;
mod guid;
mod host;
mod listen;
mod log;
mod memcached_flags;
mod options;
mod output;
mod partitions;
mod peer;
mod pidfile;
mod privileges;
mod screen;
mod secrets;
mod serve;
mod settings;
mod signals;
mod size;
mod status;
mod umask;

use std::process::ExitCode;

use crate::args::{Answer, Command};

fn main() -> ExitCode {
    match args::parse(std::env::args_os()) {
        Ok(arguments) => match arguments.command {
            Command::Serve(arguments) => serve::run(*arguments),
            Command::Status(arguments) => status::run(&arguments),
            Command::Partitions(arguments) => partitions::run(&arguments),
        },
        Err(Answer::Help(text)) => match output::answer(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => exit::FAILED.into(),
        },
        Err(Answer::Wrong(line)) => {
            output::complain(&line);
            exit::NOT_STARTED.into()
        }
    }
}
