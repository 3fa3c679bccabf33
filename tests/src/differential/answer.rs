//! Answers as they come from the wire.
//!
//! Decides where an answer ends, and which of several quiet requests one belongs to. Refuses to
//! know what it should be.

use std::io;

use crate::Client;
use crate::client::shown;

use super::request::{Request, Silence};

/// A line and the data behind it, if it announces some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: Vec<u8>,
    pub(super) data: Option<Vec<u8>>,
}

impl Line {
    /// The words of the line.
    pub(super) fn words(&self) -> Vec<&[u8]> {
        self.text.split(|&byte| byte == b' ').collect()
    }
}

/// What one request was answered: no line at all, one, or those of a get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) lines: Vec<Line>,
}

impl Answer {
    /// Whether nothing was said.
    pub(super) fn is_silent(&self) -> bool {
        self.lines.is_empty()
    }

    /// The first line's text, empty when there is none.
    pub(super) fn head(&self) -> &[u8] {
        self.lines.first().map_or(&[][..], |line| &line.text)
    }

    /// The first word.
    pub(super) fn code(&self) -> &[u8] {
        let head = self.head();
        head.split(|&byte| byte == b' ').next().unwrap_or(head)
    }

    /// Whether it says that something is wrong.
    pub(super) fn is_error(&self) -> bool {
        matches!(self.code(), b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR")
    }

    /// The answer as a person can read it.
    pub(super) fn told(&self) -> String {
        if self.is_silent() {
            return "nothing".to_owned();
        }
        let mut told = String::new();
        for line in &self.lines {
            if !told.is_empty() {
                told.push_str("; ");
            }
            told.push_str(&shown(&line.text));
            if let Some(data) = &line.data {
                told.push_str(" with ");
                told.push_str(&shown(data));
            }
        }
        told
    }
}

/// Reads one line, and its data.
fn read_line(client: &mut Client) -> io::Result<Line> {
    let text = client.try_line_bytes()?;
    let word = match text.split(|&byte| byte == b' ').next() {
        Some(b"VALUE") => 3,
        Some(b"VA") => 1,
        _ => return Ok(Line { text, data: None }),
    };
    let length = text.split(|&byte| byte == b' ').nth(word);
    let length = length
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok())
        .ok_or_else(|| io::Error::other(format!("no length in {}", shown(&text))))?;
    let mut data = client.try_bytes(length + 2)?;
    if data.split_off(length) != b"\r\n" {
        return Err(io::Error::other(format!(
            "{} and its data do not end",
            shown(&text)
        )));
    }
    let data = Some(data);
    Ok(Line { text, data })
}

/// Reads one answer.
pub(super) fn read(client: &mut Client) -> io::Result<Answer> {
    let mut answer = Answer::default();
    loop {
        let line = read_line(client)?;
        let goes_on = line.text.starts_with(b"VALUE ");
        answer.lines.push(line);
        if !goes_on {
            return Ok(answer);
        }
    }
}

/// Reads what a run of requests that may be silent is answered, up to and with the no-op behind
/// it: an answer for each of them.
pub(super) fn read_run(client: &mut Client, run: &[&Request]) -> io::Result<Vec<Answer>> {
    let mut answers = vec![Answer::default(); run.len()];
    let mut next = 0;
    loop {
        let answer = read(client)?;
        if answer.head() == b"MN" {
            return Ok(answers);
        }
        let place = place(run, next, &answer)
            .ok_or_else(|| io::Error::other(format!("nobody asked for {}", answer.told())))?;
        next = place + 1;
        answers[place] = answer;
    }
}

/// Which request of a run is answered: the one with that opaque; an answer without belongs to
/// the first that is not known to be silent.
fn place(run: &[&Request], next: usize, answer: &Answer) -> Option<usize> {
    let words = answer.lines[0].words();
    let opaque = words.iter().skip(1).find(|word| word.starts_with(b"O"));
    let mut places = next..run.len();
    match opaque {
        Some(opaque) => places.find(|&at| run[at].flag(b'O') == Some(opaque)),
        None => places
            .clone()
            .find(|&at| run[at].silence == Silence::Usual)
            .or_else(|| places.next()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(opaque: &str) -> Request {
        let mut request = Request::new("mg");
        request.flags = vec![opaque.as_bytes().to_vec()];
        request.silence = Silence::Usual;
        request
    }

    fn answer(text: &str) -> Answer {
        Answer {
            lines: vec![Line {
                text: text.as_bytes().to_vec(),
                data: None,
            }],
        }
    }

    #[test]
    fn opaques_tell_whose_an_answer_is() {
        let (one, two, three) = (quiet("O1"), quiet("O2"), quiet("O3"));
        let run = [&one, &two, &three];
        assert_eq!(place(&run, 0, &answer("HD O2")), Some(1));
        assert_eq!(place(&run, 0, &answer("HD kx O3")), Some(2));
        assert_eq!(place(&run, 1, &answer("CLIENT_ERROR bad")), Some(1));
        assert_eq!(place(&run, 2, &answer("HD O2")), None);
    }
}
