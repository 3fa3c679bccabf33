"""What every client is put through, whatever its methods are called.

Each client's script wraps its library in an Adapter and calls run(). A difference between what
is stored and what is read ends the script with a traceback, and so with a non-zero exit code.
"""

import sys
import time

LARGE_BYTES = 1_000_000
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
    """One library. Methods that return truth values say whether the server did it."""

    def set(self, key, value, ttl_s=0): raise NotImplementedError
    def get(self, key): raise NotImplementedError
    def add(self, key, value): raise NotImplementedError
    def replace(self, key, value): raise NotImplementedError
    def append(self, key, value): raise NotImplementedError
    def prepend(self, key, value): raise NotImplementedError
    def delete(self, key): raise NotImplementedError
    def increment(self, key, by): raise NotImplementedError
    def decrement(self, key, by): raise NotImplementedError
    def touch(self, key, ttl_s): raise NotImplementedError
    def gets(self, key): """Value and cas unique."""; raise NotImplementedError
    def cas(self, key, value, unique): raise NotImplementedError
    def set_many(self, items): raise NotImplementedError
    def get_many(self, keys): raise NotImplementedError
    def delete_many(self, keys): raise NotImplementedError
    def flush(self): raise NotImplementedError
    def stats(self): """Names and values, as text."""; raise NotImplementedError


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
    value = bytes(i * 7 % 251 for i in range(LARGE_BYTES))
    for number in range(5):
        assert client.set(f"large:{number}", value[number:])
    for number in range(5):
        same(client.get(f"large:{number}"), value[number:], "a large value")


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


def run(connect):
    host, port = sys.argv[1], int(sys.argv[2])
    client = connect(host, port)
    parts = (store_and_read, count, compare, expire, large, many, flush, statistics)
    for part in parts:
        part(client)
        print(f"{part.__name__}: as it should be")
