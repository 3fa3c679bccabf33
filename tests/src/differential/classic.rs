//! The classic commands of a stream.
//!
//! Decides their arguments. Refuses to know meta commands and answers.

use super::Listed;
use super::generator::Generator;
use super::keys::Family;
use super::request::{Request, Silence};

/// Once in so many requests that may have it, `noreply`.
const NOREPLY_ONCE_IN: u64 = 10;
/// Longest line of a get-and-touch: memcached takes no longer one.
const LINE_BYTES_MAX: usize = 2000;

impl Generator<'_> {
    /// get, gets, gat, gats.
    pub(super) fn fetch(&mut self) -> Request {
        let command = self
            .random
            .pick(&["get", "get", "gets", "gets", "gat", "gats"]);
        let touches = command.starts_with("gat");
        let mut request = Request::new(command);
        if touches {
            request = request.word(self.exptime());
        }
        let most = match self.random.below(100) {
            0..60 => 1,
            60..90 => 10,
            90..99 => 100,
            _ => 300,
        };
        let mut bytes = 0;
        for _ in 0..=self.random.below(most) {
            let key = self.key();
            let name = &self.keys[key].name;
            bytes += name.len() + 2;
            if touches && bytes > LINE_BYTES_MAX {
                break;
            }
            request = request.word(name);
            request = self.space(request);
            request.keys.push(key);
        }
        self.end(request)
    }

    /// set, add, replace, append, prepend, cas.
    pub(super) fn store(&mut self) -> Vec<Request> {
        let command = self.random.pick(&[
            "set", "set", "set", "add", "replace", "append", "prepend", "cas", "cas",
        ]);
        let extends = matches!(command, "append" | "prepend");
        let key = if command == "append" {
            self.key_to_append()
        } else {
            self.key()
        };
        let nears_limit =
            self.sets_apart && command == "set" && self.keys[key].family == Family::Big;
        let nears_limit = nears_limit && self.random.once_in(4);
        let value = if nears_limit {
            self.value_near_limit()
        } else {
            self.value(key, extends)
        };
        let mut request = Request::new(command)
            .word(&self.keys[key].name)
            .word(self.client_flags().to_string());
        request = self.space(request).word(self.exptime());
        request = request.word(value.len().to_string());
        if command == "cas" {
            request = request.raw(" ").cas(key, self.cas_choice());
        }
        if !nears_limit {
            request = self.noreply(request);
        }
        request = self.end(request).data(&value);
        request.keys.push(key);
        if nears_limit {
            return self.set_apart(request, Listed::ItemLimit);
        }
        vec![request]
    }

    /// delete, also with the time that old clients send.
    pub(super) fn delete(&mut self) -> Request {
        let key = self.key();
        let mut request = Request::new("delete").word(&self.keys[key].name);
        if self.random.once_in(8) {
            request = request.word("0");
        }
        self.finish(request, key)
    }

    /// incr and decr.
    pub(super) fn count(&mut self) -> Vec<Request> {
        if self.sets_apart && self.random.once_in(10) {
            return self.count_huge();
        }
        let key = if self.random.once_in(8) {
            self.key()
        } else {
            self.key_of(Family::Counter)
        };
        let command = self.random.pick(&["incr", "decr"]);
        let request = Request::new(command)
            .word(&self.keys[key].name)
            .word(self.delta(command == "decr").to_string());
        vec![self.finish(request, key)]
    }

    /// Counts from numbers with which memcached has its difficulties, round 2^64, too.
    fn count_huge(&mut self) -> Vec<Request> {
        let key = self.key_of(Family::Counter);
        let number = self.huge_number().to_string();
        let mut set = Request::new("set").word(&self.keys[key].name);
        set = set.raw(" 0 0 ").raw(number.len().to_string());
        set.keys.push(key);
        let delta = self.random.pick(&[0, 1, 2, 1 << 63, u64::MAX]);
        let mut count = Request::new(self.random.pick(&["incr", "decr"]))
            .word(&self.keys[key].name)
            .word(delta.to_string())
            .end();
        count.keys.push(key);
        let mut requests = vec![set.end().data(number.as_bytes())];
        requests.extend(self.set_apart(count, Listed::NumberBeyondEnd));
        requests
    }

    /// touch.
    pub(super) fn touch(&mut self) -> Request {
        let key = self.key();
        let request = Request::new("touch")
            .word(&self.keys[key].name)
            .word(self.exptime());
        self.finish(request, key)
    }

    fn finish(&mut self, request: Request, key: usize) -> Request {
        let request = self.noreply(request);
        let request = self.space(request);
        let mut request = self.end(request);
        request.keys.push(key);
        request
    }

    fn noreply(&mut self, mut request: Request) -> Request {
        if !self.random.once_in(NOREPLY_ONCE_IN) {
            return request;
        }
        request.silence = Silence::Always;
        request.word("noreply")
    }

    /// What concerns no key.
    pub(super) fn govern(&mut self) -> Vec<Request> {
        match self.random.below(20) {
            0..4 => vec![Request::new("version").end()],
            4..11 => vec![Request::new("mn").end()],
            11..15 => {
                let level = self.random.pick(&["0", "1"]);
                vec![self.unnamed(Request::new("verbosity").word(level))]
            }
            15..17 => vec![self.unnamed(Request::new("cache_memlimit").word("1024"))],
            17 => {
                // A flush to come makes memcached forget one that has been, whose items are
                // there again: another flush goes behind it before anybody can see them.
                let later = Request::new("flush_all").word("1000000");
                let later = self.unnamed(later);
                vec![later, Request::new("flush_all").end()]
            }
            _ => {
                let delay = self.random.pick(&["", " 0", " -1"]);
                vec![self.unnamed(Request::new("flush_all").raw(delay))]
            }
        }
    }

    fn unnamed(&mut self, request: Request) -> Request {
        let request = self.noreply(request);
        self.end(request)
    }
}
