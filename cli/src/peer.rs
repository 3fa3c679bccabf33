//! A conversation of a command with a node's peer port.
//!
//! Decides how long it may take and how it is protected. Refuses to know what is said.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use zufar_core::protocol::peer::{Frame, VERSION_HIGHEST, VERSION_LOWEST, decode, encode};
use zufar_core::secure::{Credentials, Refusal, Secrets, Stream};
use zufar_core::settings::Limits;

use crate::args::PeerArguments;
use crate::error::describe;
use crate::options::ListenAddress;
use crate::secrets::{self, SecretSource};
use crate::settings::{CLIENT_PORT, peer_port};
use crate::{exit, output};

/// How long a conversation may take.
const PATIENCE: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 16 * 1024;

/// Longest frame that a node sends.
pub(crate) fn frame_bytes_max() -> usize {
    Limits::default().frame_bytes_max
}

/// Begins a conversation with the node that was named, which is also how errors name it; or says
/// what is wrong.
pub(crate) fn begin(arguments: &PeerArguments) -> Result<(Conversation, ListenAddress), ExitCode> {
    let not_started = |line: String| -> ExitCode {
        output::complain(&line);
        exit::NOT_STARTED.into()
    };
    let (host, port) = address(arguments).map_err(not_started)?;
    let secrets = SecretSource::find(arguments.secret_file.clone());
    let secrets = secrets.map(|source| source.read()).transpose();
    let secrets = secrets.map_err(|error| not_started(error.to_string()))?;
    let secrets = secrets.map(|(secrets, _)| secrets);
    let begun = Conversation::begin(&host, port, secrets);
    let shown = ListenAddress {
        host,
        port: Some(port),
    };
    match begun {
        Ok(conversation) => Ok((conversation, shown)),
        Err(error) => {
            output::complain(&format!("node {shown}: {error}"));
            Err(exit::FAILED.into())
        }
    }
}

/// The address that was named.
pub(crate) fn address(arguments: &PeerArguments) -> Result<(String, u16), String> {
    let address: ListenAddress = arguments.host.parse()?;
    match (address.port, arguments.port) {
        (Some(_), Some(_)) => Err(format!("two ports: `{}` has one", arguments.host)),
        (one, other) => {
            let port = one.or(other).unwrap_or(peer_port(CLIENT_PORT));
            Ok((address.host, port))
        }
    }
}

/// A conversation that has begun.
pub(crate) struct Conversation {
    connection: TcpStream,
    protection: Stream,
    /// What has been said by the node and not been taken.
    input: Vec<u8>,
    until: Instant,
}

impl Conversation {
    /// Connects to the node and says hello.
    pub(crate) fn begin(host: &str, port: u16, secrets: Option<Secrets>) -> Result<Self, String> {
        let until = Instant::now() + PATIENCE;
        let connection = connect(host, port, until).map_err(|error| describe(&error))?;
        let seed = secrets::seed().map_err(|error| error.0)?;
        let credentials = Credentials::new("", secrets);
        let mut opening = Vec::new();
        let protection = Stream::initiator(&credentials, seed, &mut opening);
        let mut conversation = Self {
            connection,
            protection,
            input: Vec::new(),
            until,
        };
        conversation.write(&opening)?;
        conversation.say(&Frame::Hello {
            lowest: VERSION_LOWEST,
            highest: VERSION_HIGHEST,
            guid: "",
            node: None,
        })?;
        Ok(conversation)
    }

    /// Says something to the node.
    pub(crate) fn say(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        let (mut plain, mut output) = (Vec::new(), Vec::new());
        encode(frame, &mut plain);
        self.protection.send(&plain, &mut output);
        self.write(&output)
    }

    /// The next frame that the node says, whole. A refusal is an error.
    pub(crate) fn next_frame(&mut self) -> Result<Vec<u8>, String> {
        loop {
            match decode(&self.input, frame_bytes_max()) {
                Err(error) => return Err(format!("it does not speak the peer protocol: {error}")),
                Ok(Some((Frame::Refused { text, .. }, _))) => {
                    return Err(format!("it refuses: {}", plain(text)));
                }
                Ok(Some((_, bytes))) => return Ok(self.input.drain(..bytes).collect()),
                Ok(None) => self.receive()?,
            }
        }
    }

    fn write(&mut self, output: &[u8]) -> Result<(), String> {
        let written = self.connection.write_all(output);
        written.map_err(|error| describe(&error))
    }

    fn receive(&mut self) -> Result<(), String> {
        let mut buffer = [0; READ_BYTES];
        let read = left(self.until)
            .and_then(|left| self.connection.set_read_timeout(Some(left)))
            .and_then(|()| self.connection.read(&mut buffer));
        match read {
            Ok(0) => Err("it has closed the connection".to_owned()),
            Ok(read) => {
                let mut output = Vec::new();
                let received =
                    self.protection
                        .receive(&buffer[..read], &mut self.input, &mut output);
                received.map_err(|refusal| refused(&refusal))?;
                self.write(&output)
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::WouldBlock => Err("it does not answer".to_owned()),
                _ => Err(describe(&error)),
            },
        }
    }
}

fn refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Refused { text, .. } => format!("it refuses: {}", plain(text)),
        Refusal::Protocol => "it does not speak the peer protocol".to_owned(),
        other => format!("it is refused: {other}"),
    }
}

fn connect(host: &str, port: u16, until: Instant) -> io::Result<TcpStream> {
    let mut result = Err(io::Error::new(ErrorKind::NotFound, "it has no address"));
    for address in (host, port).to_socket_addrs()? {
        let patience = left(until)?;
        result = TcpStream::connect_timeout(&address, patience);
        if result.is_ok() {
            break;
        }
    }
    let stream = result?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(ErrorKind::TimedOut, "it does not answer"));
    }
    Ok(left)
}

/// What came over the network must not steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.replace(char::is_control, "?")
}
