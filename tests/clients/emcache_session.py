"""emcache, on asyncio: a pool of connections, and many gets batched into one.

It raises where others answer False, and takes flags up to 65536 only. Its version() reads two
words and fails on a third."""

import asyncio

import emcache

import session


class Emcache(session.Adapter):
    def __init__(self, host, port):
        self.loop = asyncio.new_event_loop()
        self.host = emcache.MemcachedHostAddress(host, port)
        super().__init__(self.connect())

    def connect(self, **options):
        return self.wait(
            emcache.create_client(
                [self.host], timeout=60.0, connection_timeout=20.0, max_connections=8, **options
            )
        )

    def wait(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def done(self, coroutine):
        """Whether the server did it; anything but a plain refusal is an error."""
        try:
            self.wait(coroutine)
        except (emcache.NotStoredStorageCommandError, emcache.NotFoundCommandError):
            return False
        return True

    def set(self, key, value, ttl_s=0):
        return self.done(self.client.set(key.encode(), value, exptime=ttl_s))

    def get(self, key):
        item = self.wait(self.client.get(key.encode()))
        return item and item.value

    def add(self, key, value):
        return self.done(self.client.add(key.encode(), value))

    def replace(self, key, value):
        return self.done(self.client.replace(key.encode(), value))

    def append(self, key, value):
        return self.done(self.client.append(key.encode(), value))

    def prepend(self, key, value):
        return self.done(self.client.prepend(key.encode(), value))

    def delete(self, key):
        return self.done(self.client.delete(key.encode()))

    def increment(self, key, by):
        return self.wait(self.client.increment(key.encode(), by))

    def decrement(self, key, by):
        return self.wait(self.client.decrement(key.encode(), by))

    def touch(self, key, ttl_s):
        return self.done(self.client.touch(key.encode(), ttl_s))

    def gets(self, key):
        item = self.wait(self.client.gets(key.encode()))
        return item.value, item.cas

    def cas(self, key, value, unique):
        try:
            return self.done(self.client.cas(key.encode(), value, unique))
        except emcache.StorageCommandError:
            return False

    def refuses(self, key, value):
        try:
            return not self.set(key, value)
        except emcache.StorageCommandError as error:
            return "too large" in str(error)

    async def all(self, command, keys):
        await asyncio.gather(*(command(key.encode()) for key in keys))

    def set_many(self, items):
        # As many at once as there are connections, the others queue up for one.
        self.wait(self.all(lambda key: self.client.set(key, items[key.decode()]), items))

    def get_many(self, keys):
        found = self.wait(self.client.get_many([key.encode() for key in keys]))
        return {key.decode(): item.value for key, item in found.items()}

    def delete_many(self, keys):
        self.wait(self.all(lambda key: self.client.delete(key, noreply=True), keys))
        # What is said on one connection with noreply may come after what another one asks.
        session.eventually(lambda: not self.get_many(keys), "the last noreply delete")

    def flush(self):
        self.wait(self.client.flush_all(self.host))
        return True

    def stats(self):
        return self.wait(self.client.stats(self.host))

    def close(self):
        self.wait(self.client.close())

    def own(self):
        client, wait, same = self.client, self.wait, session.same
        same(wait(client.version(self.host)), "1.6.45", "version")
        wait(client.set(b"flagged", b"1", flags=65_535))
        item = wait(client.get(b"flagged", return_flags=True))
        same((item.value, item.flags), (b"1", 65_535), "flags")
        same(wait(client.gat(1000, b"flagged")).value, b"1", "gat")
        assert wait(client.gats(0, b"flagged")).cas
        for name in (client.gat_many, client.gats_many):
            found = wait(name(1000, [b"flagged", b"absent"]))
            same(list(found), [b"flagged"], "several keys")
        wait(client.verbosity(self.host, 0))
        wait(client.cache_memlimit(self.host, 64))
        batching = self.connect(autobatching=True)
        items = {f"batched:{number}": b"%d" % number for number in range(1000)}
        self.set_many(items)

        async def get_all():
            keys = [key.encode() for key in items]
            found = await asyncio.gather(*(batching.get(key) for key in keys))
            return [item.value for item in found]

        same(wait(get_all()), list(items.values()), "a thousand gets at once")
        wait(batching.close())


if __name__ == "__main__":
    session.run(Emcache)
