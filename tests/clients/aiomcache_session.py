"""aiomcache, on asyncio, in Python alone. It has no noreply and no flags; flush_all and stats go to
its one server."""

import asyncio

import aiomcache
from aiomcache.exceptions import ClientException

import session


class Aiomcache(session.Adapter):
    def __init__(self, host, port):
        self.loop = asyncio.new_event_loop()
        super().__init__(aiomcache.Client(host, port, pool_size=8))

    def wait(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def set(self, key, value, ttl_s=0):
        return self.wait(self.client.set(key.encode(), value, exptime=ttl_s))

    def get(self, key):
        return self.wait(self.client.get(key.encode()))

    def add(self, key, value):
        return self.wait(self.client.add(key.encode(), value))

    def replace(self, key, value):
        return self.wait(self.client.replace(key.encode(), value))

    def append(self, key, value):
        return self.wait(self.client.append(key.encode(), value))

    def prepend(self, key, value):
        return self.wait(self.client.prepend(key.encode(), value))

    def delete(self, key):
        return self.wait(self.client.delete(key.encode()))

    def increment(self, key, by):
        return self.wait(self.client.incr(key.encode(), by))

    def decrement(self, key, by):
        return self.wait(self.client.decr(key.encode(), by))

    def touch(self, key, ttl_s):
        return self.wait(self.client.touch(key.encode(), ttl_s))

    def gets(self, key):
        return self.wait(self.client.gets(key.encode()))

    def cas(self, key, value, unique):
        return self.wait(self.client.cas(key.encode(), value, unique))

    def refuses(self, key, value):
        try:
            return not self.set(key, value)
        except ClientException as error:
            return "too large" in str(error)

    async def all(self, command, keys):
        return await asyncio.gather(*(command(key.encode()) for key in keys))

    def set_many(self, items):
        stored = self.wait(self.all(lambda key: self.client.set(key, items[key.decode()]), items))
        assert all(stored)

    def get_many(self, keys):
        found = self.wait(self.client.multi_get(*(key.encode() for key in keys)))
        return {key: value for key, value in zip(keys, found) if value is not None}

    def delete_many(self, keys):
        assert all(self.wait(self.all(self.client.delete, keys)))

    def flush(self):
        self.wait(self.client.flush_all())
        return True

    def stats(self):
        found = self.wait(self.client.stats())
        return {name.decode(): value for name, value in found.items()}

    def close(self):
        self.wait(self.client.close())

    def own(self):
        assert b"1.6." in self.wait(self.client.version())
        same, absent = session.same, self.wait(self.client.gets(b"absent"))
        same(absent, (None, None), "gets of an absent key")
        same(self.wait(self.client.get(b"absent", default=b"x")), b"x", "a default")
        assert self.wait(self.client.stats(b"settings"))


if __name__ == "__main__":
    session.run(Aiomcache)
