"""pymemcache. Its stores are noreply by default: the common parts turn that off, its own part does
not. It has no gat."""

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheServerError

import session


class Pymemcache(session.Adapter):
    ttl = "expire"

    def __init__(self, host, port):
        self.server = (host, port)
        super().__init__(
            Client(self.server, default_noreply=False, connect_timeout=20, timeout=60)
        )

    def set_many(self, items):
        # Ten thousand noreply stores, all in one write.
        session.same(self.client.set_many(items, noreply=True), [], "set_many")

    def get_many(self, keys):
        return self.client.get_many(keys)

    def delete_many(self, keys):
        assert self.client.delete_many(keys, noreply=True)

    def refuses(self, key, value):
        try:
            return not self.set(key, value)
        except MemcacheServerError as error:
            return "too large" in str(error)

    def stats(self):
        return {name.decode(): value for name, value in self.client.stats().items()}

    def own(self):
        client = Client(self.server)
        client.set("quiet", b"1")
        client.append("quiet", b"2")
        client.touch("quiet", 0)
        session.same(client.get("quiet"), b"12", "noreply stores")
        client.incr("quiet", 1, noreply=True)
        value, unique = client.gets("quiet")
        session.same(value, b"13", "a noreply incr")
        client.cas("quiet", b"14", unique, noreply=True)
        session.same(client.get("quiet"), b"14", "a noreply cas")
        client.delete("quiet")
        session.same(client.get("quiet"), None, "a noreply delete")
        client.set("quiet", b"1")
        found = client.gets_many(["quiet", "absent"])
        session.same({key: value for key, (value, _) in found.items()}, {"quiet": b"1"}, "gets_many")
        client.flush_all()
        session.same(client.raw_command(b"mn", end_tokens=b"\r\n"), b"MN", "a raw meta command")
        assert client.version().startswith(b"1.6."), client.version()
        client.cache_memlimit(64)
        client.quit()


if __name__ == "__main__":
    session.run(Pymemcache)
