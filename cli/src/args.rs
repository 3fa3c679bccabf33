//! The command line's shape, and how a wrong one is answered.
//!
//! Decides the commands and their arguments. Refuses to know what they do.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::memcached_flags::MemcachedFlags;
use crate::options::Options;

const EXIT_CODES: &str = "\
Exit codes:
  0  it did what it was asked to; a stopped server has written and synced everything
  1  it failed while running: a server could not save everything, a node did not answer
  2  it could not start: a wrong argument or config, a port in use, an unusable directory";

/// A memcached that comes back warm.
#[derive(Debug, Parser)]
#[command(name = "zufar", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node.
    ///
    /// Flags win over the config file, which wins over the defaults. Every long flag of this
    /// list, but those under "memcached's tuning", is also a key of the config file:
    /// `memory = "1g"`, `listen = ["127.0.0.1:8122"]`, `no-disk = true`.
    #[command(after_help = EXIT_CODES)]
    Serve(Box<ServeArguments>),
    /// Show the nodes as one of them sees them.
    #[command(after_help = EXIT_CODES)]
    Status(StatusArguments),
    /// Show which nodes hold how many partitions of the key space, or who holds a key.
    #[command(after_help = EXIT_CODES)]
    Partitions(PartitionsArguments),
}

#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    /// A config file in TOML.
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(flatten)]
    pub(crate) memcached: MemcachedFlags,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) peer: PeerArguments,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PartitionsArguments {
    #[command(flatten)]
    pub(crate) peer: PeerArguments,
    /// Show who holds this key: as it is placed, and who is primary as far as the node knows.
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which node is asked.
#[derive(Args, Debug)]
pub(crate) struct PeerArguments {
    /// The node's peer address: HOST, HOST:PORT, or HOST and then PORT.
    #[arg(default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// The node's peer port [default: 21211].
    pub(crate) port: Option<u16>,
    /// A file of cluster secrets, as `zufar serve` takes it, for a node that has one. Or the
    /// variable ZUFAR_SECRET holds them.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
}

/// The command line, or what to say instead: help on standard output, or one line of error.
pub(crate) fn parse<I>(words: I) -> Result<Arguments, Answer>
where
    I: IntoIterator<Item: Into<std::ffi::OsString> + Clone>,
{
    Arguments::try_parse_from(words).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Answer::Help(error.render().to_string())
        }
        _ => Answer::Wrong(one_line(&error.render().to_string())),
    })
}

/// Why a command line is not to be carried out.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It asks for help or the version.
    Help(String),
    /// It is wrong.
    Wrong(String),
}

/// The first paragraph of clap's message: what follows are usage and hints.
fn one_line(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    let line = words.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}
