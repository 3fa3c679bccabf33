//! A raw client: bytes out, exact bytes in, never waiting for ever.
//!
//! Decides how a conversation is held and when it has failed. Refuses to know what the answers
//! should be.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::PATIENCE;

const READ_BYTES: usize = 64 * 1024;

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What came before the end of a connection.
#[derive(Clone, Debug)]
pub struct Rest {
    /// All that was received.
    pub bytes: Vec<u8>,
    /// Whether that is all that was sent. It may not be where the server closed before it had
    /// read everything: the kernel then resets the connection, and drops what is on its way.
    pub is_whole: bool,
}

impl Stream {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    fn writer(&mut self) -> &mut (dyn Write + Send) {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }

    fn finish(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

/// One connection. The methods that return no `Result` panic when the conversation fails.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    input: Vec<u8>,
    taken: usize,
}

impl Client {
    /// Connects to `port` of 127.0.0.1.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn try_connect(port: u16) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self::over(Stream::Tcp(stream)))
    }

    /// Connects to `port` of 127.0.0.1.
    ///
    /// # Panics
    /// When nothing listens there.
    #[must_use]
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).unwrap_or_else(|error| panic!("connect to port {port}: {error}"))
    }

    /// Connects to the Unix socket at `path`.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn try_connect_unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self::over(Stream::Unix(stream)))
    }

    fn over(stream: Stream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            taken: 0,
        }
    }

    /// A second handle of the same connection, to write from another thread.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn writer(&self) -> io::Result<impl Write + Send + use<>> {
        Ok(match self.stream.try_clone()? {
            Stream::Tcp(stream) => Box::new(stream) as Box<dyn Write + Send>,
            Stream::Unix(stream) => Box::new(stream),
        })
    }

    /// Changes how long a read may take.
    ///
    /// # Panics
    /// If the socket refuses.
    pub fn set_patience(&mut self, patience: Duration) {
        let patience = Some(patience);
        match &self.stream {
            Stream::Tcp(stream) => stream.set_read_timeout(patience),
            Stream::Unix(stream) => stream.set_read_timeout(patience),
        }
        .expect("a time-out that is not zero can be set");
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.writer().write_all(bytes)
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref())
            .unwrap_or_else(|error| panic!("send: {error}"));
    }

    /// Says that nothing more will be sent.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn finish(&mut self) {
        let result = self.stream.finish();
        result.expect("an open connection can be half closed");
    }

    /// Breaks the connection off: the server gets a reset and no end.
    ///
    /// # Panics
    /// If the socket refuses.
    pub fn reset(self) {
        let at_once = Some(Duration::ZERO);
        match &self.stream {
            Stream::Tcp(stream) => set_socket_linger(stream, at_once),
            Stream::Unix(stream) => set_socket_linger(stream, at_once),
        }
        .expect("a socket can be told not to linger");
    }

    /// Reads once. 0 is the end.
    fn fill(&mut self) -> io::Result<usize> {
        if self.taken > 0 {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        let old = self.input.len();
        self.input.resize(old + READ_BYTES, 0);
        let room = &mut self.input[old..];
        let result = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(room),
            Stream::Unix(stream) => stream.read(room),
        };
        self.input.truncate(old + *result.as_ref().unwrap_or(&0));
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(io::Error::new(
                ErrorKind::TimedOut,
                format!("no answer; read so far: {}", shown(&self.input)),
            )),
            other => other,
        }
    }

    fn fill_some(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                format!("closed; read so far: {}", shown(self.waiting())),
            )),
            _ => Ok(()),
        }
    }

    /// What has been read and not taken.
    fn waiting(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When the connection is broken or silent.
    pub fn try_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.waiting().len() < count {
            self.fill_some()?;
        }
        let bytes = self.waiting()[..count].to_vec();
        self.taken += count;
        Ok(bytes)
    }

    /// The next line, without its `\r\n`.
    ///
    /// # Errors
    /// When the connection is broken or silent, or the line does not end in `\r\n`.
    pub fn try_line_bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        let end = loop {
            if let Some(at) = self.waiting()[searched..].iter().position(|&b| b == b'\n') {
                break searched + at;
            }
            searched = self.waiting().len();
            self.fill_some()?;
        };
        let line = self.waiting()[..end].to_vec();
        self.taken += end + 1;
        match line.strip_suffix(b"\r") {
            Some(line) => Ok(line.to_vec()),
            None => Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("a line without a carriage return: {}", shown(&line)),
            )),
        }
    }

    /// The next line as text.
    ///
    /// # Errors
    /// As [`Self::try_line_bytes`].
    pub fn try_line(&mut self) -> io::Result<String> {
        let line = self.try_line_bytes()?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// The next line as text.
    ///
    /// # Panics
    /// When there is none.
    pub fn line(&mut self) -> String {
        self.try_line()
            .unwrap_or_else(|error| panic!("read a line: {error}"))
    }

    /// Reads exactly these bytes, or returns what came instead as soon as it differs.
    ///
    /// # Errors
    /// When the connection is broken or silent.
    pub fn try_expect(&mut self, expected: &[u8]) -> io::Result<Option<Vec<u8>>> {
        loop {
            let waiting = self.waiting();
            let length = waiting.len().min(expected.len());
            if waiting[..length] != expected[..length] {
                return Ok(Some(waiting.to_vec()));
            }
            if length == expected.len() {
                self.taken += length;
                return Ok(None);
            }
            self.fill_some()?;
        }
    }

    /// Reads exactly these bytes.
    ///
    /// # Panics
    /// When others come, or none.
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let found = self
            .try_expect(expected)
            .unwrap_or_else(|error| panic!("expected {}: {error}", shown(expected)));
        if let Some(found) = found {
            panic!("expected {}\n   found {}", shown(expected), shown(&found));
        }
    }

    /// Expects the server to close, and nothing before that.
    ///
    /// # Panics
    /// When something comes, or when it stays open.
    pub fn expect_end(&mut self) {
        while self.waiting().is_empty() {
            match self.fill() {
                Ok(0) => return,
                Ok(_) => {}
                // Unread input on the server's side makes the kernel reset the connection.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("expected the end: {error}"),
            }
        }
        panic!("expected the end, found {}", shown(self.waiting()));
    }

    /// All that comes until the server closes, and whether it closed in peace.
    ///
    /// # Errors
    /// When the connection is silent before that.
    pub fn try_rest(&mut self) -> io::Result<Rest> {
        let is_whole = loop {
            match self.fill() {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break false,
                Err(error) => return Err(error),
            }
        };
        let bytes = self.waiting().to_vec();
        self.taken = self.input.len();
        Ok(Rest { bytes, is_whole })
    }

    /// Sends with `send`, says that nothing more comes, and meanwhile reads all that the server
    /// answers until it closes. A server that closes before everything is sent is no error.
    ///
    /// # Errors
    /// When the connection is silent before the end.
    pub fn try_converse(
        &mut self,
        send: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
    ) -> io::Result<Rest> {
        let mut half = self.stream.try_clone()?;
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || send(half.writer()).and_then(|()| half.finish()));
            let mut rest = self.try_rest()?;
            // Only one of the two threads is told of a reset.
            rest.is_whole &= sender.join().expect("sending does not panic").is_ok();
            Ok(rest)
        })
    }

    /// Sends a line and reads one.
    ///
    /// # Errors
    /// When the connection is broken or silent.
    pub fn try_ask(&mut self, line: &str) -> io::Result<String> {
        self.try_send(format!("{line}\r\n").as_bytes())?;
        self.try_line()
    }

    /// Sends a line and reads one.
    ///
    /// # Panics
    /// When the connection is broken or silent.
    pub fn ask(&mut self, line: &str) -> String {
        self.try_ask(line)
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Stores a value; returns the answer.
    ///
    /// # Errors
    /// When the connection is broken or silent.
    pub fn try_set(&mut self, key: &str, value: &[u8]) -> io::Result<String> {
        let mut request = format!("set {key} 0 0 {}\r\n", value.len()).into_bytes();
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
        self.try_send(&request)?;
        self.try_line()
    }

    /// Stores a value.
    ///
    /// # Panics
    /// When it isn't stored.
    pub fn set(&mut self, key: &str, value: impl AsRef<[u8]>) {
        let answer = self.try_set(key, value.as_ref());
        assert_eq!(answer.expect("an answer"), "STORED", "set {key}");
    }

    /// Reads a value.
    ///
    /// # Errors
    /// When the connection is broken or silent, or the answer is no answer to a get.
    pub fn try_get(&mut self, key: &str) -> io::Result<Option<Vec<u8>>> {
        self.try_send(format!("get {key}\r\n").as_bytes())?;
        let mut found = self.try_values()?;
        assert!(found.len() <= 1, "one key, {} values", found.len());
        Ok(found.pop().map(|(_, value)| value))
    }

    /// Reads a value.
    ///
    /// # Panics
    /// When the conversation fails.
    pub fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        self.try_get(key)
            .unwrap_or_else(|error| panic!("get {key}: {error}"))
    }

    /// Keys and values up to the next END.
    ///
    /// # Errors
    /// When the connection is broken or silent, or the answer is no answer to a get.
    pub fn try_values(&mut self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut values = Vec::new();
        loop {
            let line = self.try_line()?;
            if line == "END" {
                return Ok(values);
            }
            let words: Vec<&str> = line.split(' ').collect();
            let (["VALUE", key, _, length] | ["VALUE", key, _, length, _]) = words[..] else {
                return Err(io::Error::other(line));
            };
            let length: usize = length.parse().map_err(io::Error::other)?;
            let mut value = self.try_bytes(length + 2)?;
            if value.split_off(length) != b"\r\n" {
                return Err(io::Error::other(format!("value of {key} has no end")));
            }
            values.push((key.to_owned(), value));
        }
    }

    /// Keys and values up to the next END.
    ///
    /// # Panics
    /// When the conversation fails.
    pub fn values(&mut self) -> Vec<(String, Vec<u8>)> {
        self.try_values()
            .unwrap_or_else(|error| panic!("read values: {error}"))
    }

    /// Stores many values, pipelined, and checks every answer.
    ///
    /// # Panics
    /// When one isn't stored.
    pub fn set_many(&mut self, items: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let mut request = Vec::new();
        let mut waiting = 0;
        for (key, value) in items {
            request.extend_from_slice(format!("set {key} 0 0 {}\r\n", value.len()).as_bytes());
            request.extend_from_slice(&value);
            request.extend_from_slice(b"\r\n");
            waiting += 1;
            if request.len() >= READ_BYTES || waiting >= 500 {
                self.send(&request);
                request.clear();
                self.expect_stored(waiting);
                waiting = 0;
            }
        }
        self.send(&request);
        self.expect_stored(waiting);
    }

    fn expect_stored(&mut self, count: usize) {
        for _ in 0..count {
            assert_eq!(self.line(), "STORED");
        }
    }

    /// Reads many values, a hundred keys a request, and gives each to `check`, misses as none.
    ///
    /// # Panics
    /// When the conversation fails.
    pub fn get_many(&mut self, keys: &[String], mut check: impl FnMut(&str, Option<&[u8]>)) {
        for keys in keys.chunks(100) {
            self.send(format!("get {}\r\n", keys.join(" ")));
            let values = self.values();
            let mut found = values.iter().peekable();
            for key in keys {
                let value = found.next_if(|(name, _)| name == key);
                check(key, value.map(|(_, value)| value.as_slice()));
            }
            assert!(found.peek().is_none(), "a value that was not asked for");
        }
    }

    /// What `stats WORD` answers, in order.
    ///
    /// # Errors
    /// When the connection is broken or silent, or the answer has another form.
    pub fn try_stats(&mut self, word: &str) -> io::Result<Vec<(String, String)>> {
        let line = format!("stats {word}");
        self.try_send(format!("{}\r\n", line.trim_end()).as_bytes())?;
        let mut stats = Vec::new();
        loop {
            let line = self.try_line()?;
            if line == "END" {
                return Ok(stats);
            }
            let stat = line
                .strip_prefix("STAT ")
                .and_then(|rest| rest.split_once(' '));
            let (name, value) = stat.ok_or_else(|| io::Error::other(line.clone()))?;
            stats.push((name.to_owned(), value.to_owned()));
        }
    }

    /// What `stats WORD` answers, in order.
    ///
    /// # Panics
    /// When the conversation fails.
    pub fn stats(&mut self, word: &str) -> Vec<(String, String)> {
        self.try_stats(word)
            .unwrap_or_else(|error| panic!("stats {word}: {error}"))
    }

    /// One number of `stats WORD`.
    ///
    /// # Panics
    /// When it isn't there or is no number.
    pub fn stat(&mut self, word: &str, name: &str) -> u64 {
        let stats = self.stats(word);
        let found = stats.iter().find(|(known, _)| known == name);
        let (_, value) =
            found.unwrap_or_else(|| panic!("stats {word} has no {name}, only {stats:?}"));
        value
            .parse()
            .unwrap_or_else(|_| panic!("stats {word}: {name} is {value}, no number"))
    }
}

/// Bytes as a person can read them, cut where they are many.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 400;
    let text = bytes[..bytes.len().min(MOST)].escape_ascii();
    if bytes.len() > MOST {
        format!("\"{text}\" … ({} bytes)", bytes.len())
    } else {
        format!("\"{text}\"")
    }
}
