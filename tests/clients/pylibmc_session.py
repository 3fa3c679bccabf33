"""pylibmc, and so libmemcached, in the text protocol."""

import sys

import pylibmc

import session


class Pylibmc(session.Adapter):
    def __init__(self, client):
        self.client = client

    def set(self, key, value, ttl_s=0):
        return self.client.set(key, value, time=ttl_s)

    def get(self, key):
        return self.client.get(key)

    def add(self, key, value):
        return self.client.add(key, value)

    def replace(self, key, value):
        return self.client.replace(key, value)

    def append(self, key, value):
        return self.client.append(key, value)

    def prepend(self, key, value):
        return self.client.prepend(key, value)

    def delete(self, key):
        return self.client.delete(key)

    def increment(self, key, by):
        # pylibmc marks numbers by their flags: a counter must be stored as one.
        return self.client.incr(key, by)

    def decrement(self, key, by):
        return self.client.decr(key, by)

    def touch(self, key, ttl_s):
        return self.client.touch(key, ttl_s)

    def gets(self, key):
        return self.client.gets(key)

    def cas(self, key, value, unique):
        return self.client.cas(key, value, unique)

    def set_many(self, items):
        session.same(self.client.set_multi(items), [], "set_multi")

    def get_many(self, keys):
        return self.client.get_multi(keys)

    def delete_many(self, keys):
        assert self.client.delete_multi(keys)

    def flush(self):
        return self.client.flush_all()

    def stats(self):
        (_, stats), = self.client.get_stats()
        text = lambda thing: thing.decode() if isinstance(thing, bytes) else str(thing)
        return {text(name): text(value) for name, value in stats.items()}


def python_objects(client):
    """What applications store: flags tell the library how to read it back."""
    for number, thing in enumerate([1, 2**70, 1.5, "text ä", b"bytes", [1, {"a": None}]]):
        assert client.set(f"object:{number}", thing)
        found = client.get(f"object:{number}")
        session.same((type(found), found), (type(thing), thing), "an object")


def connect(host, port):
    behaviors = {"cas": True, "tcp_nodelay": True, "connect_timeout": 20_000}
    client = pylibmc.Client([f"{host}:{port}"], binary=False, behaviors=behaviors)
    python_objects(client)
    return Pylibmc(client)


if __name__ == "__main__":
    session.run(connect)
    sys.exit(0)
