"""What every client is put through, whatever its methods are called.

Each client's script wraps its library in an Adapter and calls run(). A difference between what
is stored and what is read ends the script with a traceback, and so with a non-zero exit code.
memcached_session.js and memcache_crate/ go through the same parts.
"""

import sys
import time

ITEM_BYTES_MAX = 1 << 20
MANY_KEYS = 10_000


def same(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: found {str(found)[:200]!r}, wanted {str(wanted)[:200]!r}")


def eventually(probe, what, patience_s=20):
    until = time.monotonic() + patience_s
    while not probe():
        if time.monotonic() > until:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.05)


class Adapter:
    """One library. Methods that return truth values say whether the server did it.

    As it stands, for a library whose client has these methods; what differs is overridden.
    """

    # The name of the time to live among the parameters of set.
    ttl = "time"

    def __init__(self, client):
        self.client = client

    def set(self, key, value, ttl_s=0):
        return self.client.set(key, value, **{self.ttl: ttl_s})

    def get(self, key): return self.client.get(key)
    def add(self, key, value): return self.client.add(key, value)
    def replace(self, key, value): return self.client.replace(key, value)
    def append(self, key, value): return self.client.append(key, value)
    def prepend(self, key, value): return self.client.prepend(key, value)
    def delete(self, key): return self.client.delete(key)
    def increment(self, key, by): return self.client.incr(key, by)
    def decrement(self, key, by): return self.client.decr(key, by)
    def touch(self, key, ttl_s): return self.client.touch(key, ttl_s)

    def gets(self, key):
        """Value and cas unique."""
        return self.client.gets(key)

    def cas(self, key, value, unique): return self.client.cas(key, value, unique)
    def set_many(self, items): same(self.client.set_multi(items), [], "set_multi")
    def get_many(self, keys): return self.client.get_multi(keys)
    def delete_many(self, keys): assert self.client.delete_multi(keys)
    def flush(self): return self.client.flush_all()

    def stats(self):
        """Names and values, as text."""
        (_, stats), = self.client.get_stats()
        return {text(name): text(value) for name, value in stats.items()}

    def refuses(self, key, value):
        """Whether the value is refused, by the server or by the library itself."""
        return not self.set(key, value)

    def close(self):
        """Ends the connection, where that takes more than forgetting it."""

    def own(self):
        """What this library alone does, noreply included where it has that."""
        raise NotImplementedError


def text(thing):
    return thing.decode() if isinstance(thing, bytes) else str(thing)


def store_and_read(client):
    same(client.get("absent"), None, "an absent key")
    assert client.set("a", b"1")
    same(client.get("a"), b"1", "a value")
    assert client.set("a", b"")
    same(client.get("a"), b"", "an empty value")
    every_byte = bytes(range(256)) * 4 + b"\r\nEND\r\nVALUE x 0 1\r\n"
    assert client.set("bytes", every_byte)
    same(client.get("bytes"), every_byte, "every byte")
    assert not client.add("a", b"2")
    assert client.add("added", b"2")
    assert not client.replace("not-there", b"2")
    assert client.replace("added", b"bb")
    assert client.append("added", b"c")
    assert client.prepend("added", b"a")
    same(client.get("added"), b"abbc", "a value with both ends")
    assert client.delete("added")
    same(client.get("added"), None, "a deleted key")
    key = "k" * 250
    assert client.set(key, b"long")
    same(client.get(key), b"long", "the longest key")


def count(client):
    assert client.set("n", b"10")
    same(client.increment("n", 5), 15, "incr")
    same(client.decrement("n", 7), 8, "decr")
    same(client.decrement("n", 100), 0, "decr below nothing")
    assert client.set("n", b"18446744073709551615")
    same(client.increment("n", 1), 0, "incr past the end")
    for round_number in range(1, 1001):
        same(client.increment("n", 1), round_number, "a thousand counts")


def compare(client):
    assert client.set("c", b"1")
    value, unique = client.gets("c")
    same(value, b"1", "gets")
    assert client.cas("c", b"2", unique)
    assert not client.cas("c", b"3", unique)
    same(client.get("c"), b"2", "a value that was compared")


def expire(client):
    assert client.set("short", b"1", ttl_s=2)
    assert client.set("long", b"1", ttl_s=1000)
    assert client.set("touched", b"1", ttl_s=2)
    assert client.touch("touched", 1000)
    same(client.get("short"), b"1", "a value before its time")
    eventually(lambda: client.get("short") is None, "a value to expire")
    same(client.get("long"), b"1", "a long-lived value")
    same(client.get("touched"), b"1", "a touched value")
    month_and_more = int(time.time()) + 60 * 60 * 24 * 60
    assert client.set("absolute", b"1", ttl_s=month_and_more)
    same(client.get("absolute"), b"1", "an absolute time to come")


def large(client):
    value = bytes(i * 7 % 251 for i in range(ITEM_BYTES_MAX))
    for number in range(5):
        assert client.set(f"large:{number}", value[number:])
    for number in range(5):
        same(client.get(f"large:{number}"), value[number:], "a large value")
    assert client.refuses("large:5", value + b"1")
    same(client.get("large:5"), None, "a value that is too large")
    same(client.get("large:4"), value[4:], "the next value")


def many(client):
    items = {f"many:{number:06}": b"value %d" % number for number in range(MANY_KEYS)}
    client.set_many(items)
    same(client.get_many(list(items)), items, "10,000 keys in one get")
    odd = list(items)[1::2]
    client.delete_many(odd)
    left = {key: value for key, value in items.items() if key not in set(odd)}
    same(client.get_many(list(items)), left, "what is left of 10,000 keys")


def flush(client):
    assert client.set("before", b"1")
    assert client.flush()
    same(client.get("before"), None, "a flushed key")
    assert client.set("after", b"1")
    same(client.get("after"), b"1", "a key after the flush")


def statistics(client):
    stats = client.stats()
    for name in ("pid", "uptime", "version", "curr_items", "cmd_get", "cmd_set", "bytes"):
        assert name in stats, f"{name} is missing"
    assert int(stats["cmd_set"]) > MANY_KEYS, stats["cmd_set"]


def own(client):
    client.own()


PARTS = (store_and_read, count, compare, expire, large, many, flush, own, statistics)


def run(connect):
    """Connects to the host and port of the command line, and goes through all parts."""
    client = connect(sys.argv[1], int(sys.argv[2]))
    for part in PARTS:
        part(client)
        print(f"{part.__name__}: as it should be")
    client.close()
