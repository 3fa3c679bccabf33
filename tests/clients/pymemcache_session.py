"""pymemcache: stores are noreply by default here, so both ways are gone through."""

import sys

from pymemcache.client.base import Client

import session


class Pymemcache(session.Adapter):
    def __init__(self, client):
        self.client = client

    def set(self, key, value, ttl_s=0):
        return self.client.set(key, value, expire=ttl_s, noreply=False)

    def get(self, key):
        return self.client.get(key)

    def add(self, key, value):
        return self.client.add(key, value, noreply=False)

    def replace(self, key, value):
        return self.client.replace(key, value, noreply=False)

    def append(self, key, value):
        return self.client.append(key, value, noreply=False)

    def prepend(self, key, value):
        return self.client.prepend(key, value, noreply=False)

    def delete(self, key):
        return self.client.delete(key, noreply=False)

    def increment(self, key, by):
        return self.client.incr(key, by)

    def decrement(self, key, by):
        return self.client.decr(key, by)

    def touch(self, key, ttl_s):
        return self.client.touch(key, ttl_s, noreply=False)

    def gets(self, key):
        return self.client.gets(key)

    def cas(self, key, value, unique):
        return self.client.cas(key, value, unique, noreply=False)

    def set_many(self, items):
        # Ten thousand noreply stores, all in one write.
        session.same(self.client.set_many(items, noreply=True), [], "set_many")

    def get_many(self, keys):
        return self.client.get_many(keys)

    def delete_many(self, keys):
        assert self.client.delete_many(keys, noreply=True)

    def flush(self):
        return self.client.flush_all(noreply=False)

    def stats(self):
        return {name.decode(): value for name, value in self.client.stats().items()}


def noreply(host, port):
    client = Client((host, port))
    client.set("quiet", b"1")
    client.append("quiet", b"2")
    client.touch("quiet", 0)
    session.same(client.get("quiet"), b"12", "noreply stores")
    client.incr("quiet", 1, noreply=True)
    session.same(client.gets("quiet")[0], b"13", "a noreply incr")
    client.delete("quiet")
    session.same(client.get("quiet"), None, "a noreply delete")
    client.flush_all()
    session.same(client.raw_command(b"mn", end_tokens=b"\r\n"), b"MN", "a raw meta command")
    assert client.version().startswith(b"1.6."), client.version()
    client.quit()


def connect(host, port):
    noreply(host, port)
    return Pymemcache(Client((host, port), connect_timeout=20, timeout=60))


if __name__ == "__main__":
    session.run(connect)
    sys.exit(0)
