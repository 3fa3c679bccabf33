"""python-memcached."""

import sys

import memcache

import session


class PythonMemcached(session.Adapter):
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
        # This library counts a miss as success; 1 and 2 are its DELETED and NOT_FOUND.
        return self.client.delete(key)

    def increment(self, key, by):
        return self.client.incr(key, by)

    def decrement(self, key, by):
        return self.client.decr(key, by)

    def touch(self, key, ttl_s):
        return self.client.touch(key, time=ttl_s)

    def gets(self, key):
        value = self.client.gets(key)
        return value, self.client.cas_ids[key.encode()]

    def cas(self, key, value, unique):
        # The library forgets the unique after its first use.
        self.client.cas_ids[key.encode()] = unique
        return self.client.cas(key, value)

    def set_many(self, items):
        session.same(self.client.set_multi(items), [], "set_multi")

    def get_many(self, keys):
        return self.client.get_multi(keys)

    def delete_many(self, keys):
        assert self.client.delete_multi(keys)

    def flush(self):
        self.client.flush_all()
        return True

    def stats(self):
        (_, stats), = self.client.get_stats()
        return stats


def connect(host, port):
    server = f"{host}:{port}"
    client = memcache.Client([server], cache_cas=True, socket_timeout=60)
    (_, slabs), = client.get_slab_stats() or [(server, {})]
    assert isinstance(slabs, dict)
    return PythonMemcached(client)


if __name__ == "__main__":
    session.run(connect)
    sys.exit(0)
