//! The table of malformed lines.
//!
//! Decides their answers, after memcached 1.6.45. Keys named `absent` do not exist, whatever was
//! sent before.

use super::Since::{Ever, Recently, Zufar};
use super::Then::{Closes, Goes};
use super::{Malformed, Since, Then};

const FORMAT: &str = r"CLIENT_ERROR bad command line format\r\n";
const UNKNOWN: &str = r"ERROR\r\n";
const EXPTIME: &str = r"CLIENT_ERROR invalid exptime argument\r\n";
const DELTA: &str = r"CLIENT_ERROR invalid numeric delta argument\r\n";
const CHUNK: &str = r"CLIENT_ERROR bad data chunk\r\n";
const TOO_LARGE: &str = r"SERVER_ERROR object too large for cache\r\n";
const TOKEN: &str = r"CLIENT_ERROR bad token in command line format\r\n";
const DUPLICATE: &str = r"CLIENT_ERROR duplicate flag\r\n";
const INVALID: &str = r"CLIENT_ERROR invalid flag\r\n";
const EITHER: &str = r"CLIENT_ERROR invalid or duplicate flag\r\n";
const TOO_MANY: &str = r"CLIENT_ERROR options flags are too long\r\n";
const OPAQUE: &str = r"CLIENT_ERROR opaque token too long\r\n";
const DECODING: &str = r"CLIENT_ERROR error decoding key\r\n";
const STORE_MODE: &str = r"CLIENT_ERROR invalid mode for ms M token\r\n";
const COUNT_MODE: &str = r"CLIENT_ERROR invalid mode for ma M token\r\n";

const fn line(since: Since, sent: &'static str, answer: &'static str) -> Malformed {
    Malformed {
        sent,
        answer,
        then: Goes,
        since,
    }
}

const fn last(since: Since, sent: &'static str, then: Then) -> Malformed {
    Malformed {
        sent,
        answer: "",
        then,
        since,
    }
}

/// All lines.
pub const TABLE: &[Malformed] = &[
    // Nothing, or next to nothing.
    line(Recently, r"\r\n", FORMAT),
    line(Recently, r"\n", FORMAT),
    line(Recently, r" \r\n", FORMAT),
    line(Recently, r"x\r\n", FORMAT),
    // Commands that do not exist.
    line(Ever, r"nonsense\r\n", UNKNOWN),
    line(Ever, r"nonsense with arguments\n", UNKNOWN),
    line(Ever, r"GET absent\r\n", UNKNOWN),
    line(Ever, r"Set absent 0 0 1\r\n", UNKNOWN),
    line(Ever, r"VERSION\r\n", UNKNOWN),
    line(Ever, r"getx absent\r\n", UNKNOWN),
    line(Ever, r"mx absent\r\n", UNKNOWN),
    line(Ever, r"mnx\r\n", UNKNOWN),
    line(Ever, r"\xff\xfe\xfd\r\n", UNKNOWN),
    // Missing arguments.
    line(Recently, r"get\r\n", FORMAT),
    line(Recently, r"gets\r\n", FORMAT),
    line(Recently, r"get \r\n", FORMAT),
    line(Recently, r"gat\r\n", FORMAT),
    line(Recently, r"gat 0\r\n", FORMAT),
    line(Recently, r"gats 0\r\n", FORMAT),
    line(Recently, r"set\r\n", FORMAT),
    line(Recently, r"set absent\r\n", FORMAT),
    line(Recently, r"set absent 0 0\r\n", FORMAT),
    line(Recently, r"add absent 0 0\r\n", FORMAT),
    line(Recently, r"replace absent 0\r\n", FORMAT),
    line(Recently, r"append absent\r\n", FORMAT),
    line(Recently, r"prepend\r\n", FORMAT),
    line(Recently, r"cas absent 0 0\r\n", FORMAT),
    line(Recently, r"delete\r\n", FORMAT),
    line(Recently, r"incr\r\n", FORMAT),
    line(Recently, r"incr absent\r\n", FORMAT),
    line(Recently, r"decr absent\r\n", FORMAT),
    line(Recently, r"touch\r\n", FORMAT),
    line(Recently, r"touch absent\r\n", FORMAT),
    line(Recently, r"verbosity\r\n", FORMAT),
    line(Recently, r"mg\r\n", FORMAT),
    line(Recently, r"md\r\n", FORMAT),
    line(Recently, r"ma\r\n", FORMAT),
    line(Recently, r"me\r\n", FORMAT),
    line(Recently, r"ms\r\n", FORMAT),
    line(Recently, r"ms absent\r\n", FORMAT),
    // Arguments that mean nothing.
    line(Recently, r"delete absent junk\r\n", r"NOT_FOUND\r\n"),
    line(Recently, r"delete absent a b c d e\r\n", r"NOT_FOUND\r\n"),
    line(Ever, r"delete absent 0\r\n", r"NOT_FOUND\r\n"),
    line(Ever, r"delete absent 0 noreply\r\n", ""),
    // Keys that are too long.
    line(Ever, r"get \*251{k}\r\n", FORMAT),
    line(Ever, r"gets \*251{k}\n", FORMAT),
    line(Ever, r"get absent \*251{k}\r\n", FORMAT),
    line(Ever, r"gat 0 \*251{k}\r\n", FORMAT),
    line(Recently, r"set \*251{k} 0 0 5\r\nget x\r\n", FORMAT),
    line(Recently, r"cas \*251{k} 0 0 5 1\r\nget x\r\n", FORMAT),
    line(Ever, r"incr \*251{k} 1\r\n", FORMAT),
    line(Ever, r"touch \*251{k} 0\r\n", FORMAT),
    line(Ever, r"delete \*251{k}\r\n", FORMAT),
    line(Ever, r"mg \*251{k} v\r\n", FORMAT),
    line(Recently, r"ms \*251{k} 5\r\nmgf v\r\n", FORMAT),
    line(Ever, r"md \*251{k}\r\n", FORMAT),
    line(Ever, r"ma \*251{k}\r\n", FORMAT),
    // Lengths that can't be: there is no data that could be passed over.
    line(Ever, r"set absent 0 0 -1\r\n", FORMAT),
    line(Ever, r"set absent 0 0 abc\r\n", FORMAT),
    line(Ever, r"set absent 0 0 2147483647\r\n", FORMAT),
    line(Recently, r"set absent 0 0 99999999999\r\n", FORMAT),
    line(Ever, r"ms absent -1\r\n", FORMAT),
    line(Ever, r"ms absent abc\r\n", FORMAT),
    // Other numbers that are none: the data is passed over.
    line(Recently, r"set absent abc 0 5\r\nget x\r\n", FORMAT),
    line(Recently, r"set absent -1 0 5\r\nget x\r\n", FORMAT),
    line(Recently, r"set absent 4294967296 0 5\r\nget x\r\n", FORMAT),
    line(Recently, r"set absent 0 abc 5\r\nget x\r\n", FORMAT),
    line(Recently, r"set absent 0 1x 5\r\nget x\r\n", FORMAT),
    line(Recently, r"set absent 0 2147483648 5\r\nget x\r\n", FORMAT),
    line(Recently, r"set absent 0 9999999999 5\r\nget x\r\n", FORMAT),
    line(Recently, r"add absent x 0 5\r\nget x\r\n", FORMAT),
    line(Recently, r"cas absent 0 0 5 abc\r\nget x\r\n", FORMAT),
    line(Recently, r"cas absent 0 0 5 -1\r\nget x\r\n", FORMAT),
    line(Recently, r"set absent abc 0 5 noreply\r\nget x\r\n", ""),
    line(Ever, r"incr absent abc\r\n", DELTA),
    line(Ever, r"incr absent -1\r\n", DELTA),
    line(Ever, r"decr absent 1x\r\n", DELTA),
    line(Ever, r"decr absent 18446744073709551616\r\n", DELTA),
    line(Ever, r"incr absent abc noreply\r\n", ""),
    line(Ever, r"touch absent abc\r\n", EXPTIME),
    line(Recently, r"touch absent 2147483648\r\n", EXPTIME),
    line(Ever, r"touch absent abc noreply\r\n", ""),
    line(Ever, r"gat abc absent\r\n", EXPTIME),
    line(Recently, r"gats 2147483648 absent\r\n", EXPTIME),
    line(Ever, r"flush_all abc\r\n", EXPTIME),
    line(Ever, r"cache_memlimit abc\r\n", UNKNOWN),
    line(Ever, r"cache_memlimit 7\r\n", TOO_SMALL),
    line(Ever, r"cache_memlimit 1000000001\r\n", NOT_MEGABYTES),
    // Data that does not end where it should.
    line(Ever, r"set absent 0 0 2\r\nabX\n", CHUNK),
    line(Ever, r"set absent 0 0 2\r\nabcd", CHUNK),
    line(Ever, r"set absent 0 0 2 noreply\r\nabcd", ""),
    line(Ever, r"ms absent 2\r\nabX\n", CHUNK),
    line(Ever, r"ms absent 2 q\r\nabcd", CHUNK),
    // Values that are too large: the data is passed over.
    line(
        Ever,
        r"set absent 0 0 1048577\r\n\*1048577{v}\r\n",
        TOO_LARGE,
    ),
    line(
        Ever,
        r"add absent 0 0 1048577\r\n\*1048577{v}\r\n",
        TOO_LARGE,
    ),
    line(Ever, r"ms absent 1048577 q\r\n\*1048577{v}\r\n", TOO_LARGE),
    line(
        Ever,
        r"set absent 0 0 1048577 noreply\r\n\*1048577{v}\r\n",
        "",
    ),
    // Meta flags.
    line(Ever, r"mg absent !\r\n", INVALID),
    line(Ever, r"mg absent v Z\r\n", INVALID),
    line(Recently, r"mg absent S1\r\n", INVALID),
    line(Ever, r"mg absent v v\r\n", DUPLICATE),
    line(Ever, r"mg absent q v k q\r\n", DUPLICATE),
    line(Ever, r"mg absent O1 O2\r\n", DUPLICATE),
    line(Ever, r"mg absent \xff\r\n", DUPLICATE),
    line(Ever, r"ms absent 5 v v\r\nget x\r\n", DUPLICATE),
    line(Ever, r"ms absent 5 !\r\nget x\r\n", INVALID),
    line(Recently, r"md absent v v\r\n", DUPLICATE),
    line(Recently, r"md absent !\r\n", INVALID),
    line(Ever, r"ma absent v v\r\n", EITHER),
    line(Ever, r"ma absent !\r\n", EITHER),
    line(Ever, r"ma absent Nx\r\n", EITHER),
    line(Ever, r"ma absent Jx\r\n", EITHER),
    line(Ever, r"ma absent D-1\r\n", EITHER),
    line(Ever, r"ma absent q Tx\r\n", EITHER),
    line(Ever, r"mg absent Tx\r\n", TOKEN),
    line(Recently, r"mg absent T2147483648\r\n", TOKEN),
    line(Ever, r"mg absent q Nx\r\n", TOKEN),
    line(Ever, r"mg absent R\r\n", TOKEN),
    line(Ever, r"mg absent C-1\r\n", TOKEN),
    line(Recently, r"mg absent Ex\r\n", TOKEN),
    line(Ever, r"ms absent 5 Tx\r\nget x\r\n", TOKEN),
    line(Ever, r"ms absent 5 Cx\r\nget x\r\n", TOKEN),
    line(Ever, r"ms absent 5 Fx\r\nget x\r\n", FORMAT),
    line(Recently, r"ms absent 5 F4294967296 q\r\nget x\r\n", FORMAT),
    line(Ever, r"ms absent 5 MX\r\nget x\r\n", STORE_MODE),
    line(Ever, r"ms absent 5 q MX\r\nget x\r\n", STORE_MODE),
    line(Ever, r"ma absent MX\r\n", COUNT_MODE),
    line(Ever, r"ma absent q MX\r\n", COUNT_MODE),
    line(Ever, r"mg absent O\*31{o}\r\n", r"EN O\*31{o}\r\n"),
    line(Ever, r"mg absent O\*32{o}\r\n", OPAQUE),
    line(Ever, r"md absent q O\*32{o}\r\n", OPAQUE),
    line(Ever, r"ma absent O\*32{o}\r\n", OPAQUE),
    line(Recently, r"ms absent 5 O\*32{o}\r\nget x\r\n", OPAQUE),
    line(Ever, r"mg !!! b\r\n", DECODING),
    line(Ever, r"mg Zm9 b\r\n", DECODING),
    line(Ever, r"ms !!! 5 b\r\nget x\r\n", DECODING),
    line(
        Ever,
        r"mg absent v s c f t h l k u q a b d e g i j m n o\r\n",
        TOO_MANY,
    ),
    line(
        Recently,
        r"ma absent v s c f t h l k u q a b d e g i j m n o\r\n",
        TOO_MANY,
    ),
    line(Ever, r"mg absent Omine k\r\n", r"EN Omine kabsent\r\n"),
    // What Zufar does not have.
    line(
        Recently,
        r"shutdown\r\n",
        r"SERVER_ERROR: shutdown not enabled\r\n",
    ),
    line(Ever, r"stats nonsense\r\n", UNKNOWN),
    line(
        Ever,
        r"stats detail\r\n",
        r"CLIENT_ERROR usage: stats detail on|off|dump\r\n",
    ),
    line(
        Ever,
        r"stats cachedump\r\n",
        r"CLIENT_ERROR bad command line\r\n",
    ),
    line(
        Zufar,
        r"watch\r\n",
        r"CLIENT_ERROR watch commands not allowed\r\n",
    ),
    line(
        Zufar,
        r"slabs reassign 1 2\r\n",
        r"CLIENT_ERROR slab reassignment disabled\r\n",
    ),
    line(
        Zufar,
        r"lru_crawler crawl all\r\n",
        r"CLIENT_ERROR lru crawler disabled\r\n",
    ),
    // What closes the connection, and says nothing.
    last(Ever, r"quit\r\nget absent\r\n", Closes),
    last(Ever, r"POST / HTTP/1.1\r\nHost: x\r\n", Closes),
    last(Ever, r"\*3000{x}", Closes),
    last(Ever, r"touch \*3000{k}", Closes),
    last(Ever, r"gat 0 \*3000{k}", Closes),
];

const TOO_SMALL: &str = r"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n";
const NOT_MEGABYTES: &str = r"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n";
