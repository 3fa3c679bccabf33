"""python-memcached. It counts the deletion of what is not there as success, refuses values that
are too large by itself, and knows noreply for delete, incr, touch and the stores."""

import memcache

import session


class PythonMemcached(session.Adapter):
    def __init__(self, host, port):
        super().__init__(memcache.Client([f"{host}:{port}"], cache_cas=True, socket_timeout=60))

    def gets(self, key):
        value = self.client.gets(key)
        return value, self.client.cas_ids[key.encode()]

    def cas(self, key, value, unique):
        # The library forgets the unique after its first use.
        self.client.cas_ids[key.encode()] = unique
        return self.client.cas(key, value)

    def flush(self):
        self.client.flush_all()
        return True

    def own(self):
        client = self.client
        assert client.set("quiet", b"1", noreply=True)
        assert client.append("quiet", b"2", noreply=True)
        client.incr("quiet", 1, noreply=True)
        assert client.touch("quiet", 1000, noreply=True)
        session.same(client.get("quiet"), b"13", "noreply stores")
        client.delete("quiet", noreply=True)
        session.same(client.get("quiet"), None, "a noreply delete")
        assert client.set("object", {"a": [1, "ä"]}, min_compress_len=1)
        session.same(client.get("object"), {"a": [1, "ä"]}, "a compressed object")
        session.same(client.set_multi({"1": 1, "2": "two"}, key_prefix="p:"), [], "with a prefix")
        session.same(client.get_multi(["1", "2"], key_prefix="p:"), {"1": 1, "2": "two"}, "both")
        (_, slabs), = client.get_slab_stats()
        assert slabs, "an item is in some slab class"
        (_, items), = client.get_stats("items")
        assert items, "an item is in some list"


if __name__ == "__main__":
    session.run(PythonMemcached)
