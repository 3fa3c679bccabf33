"""pylibmc, and so libmemcached, in the text protocol. It marks numbers by their flags, has no
noreply of single commands, and refuses nothing by itself."""

import pylibmc

import session


class Pylibmc(session.Adapter):
    def __init__(self, host, port):
        behaviors = {"cas": True, "tcp_nodelay": True, "connect_timeout": 20_000}
        super().__init__(pylibmc.Client([f"{host}:{port}"], binary=False, behaviors=behaviors))

    def refuses(self, key, value):
        try:
            return not self.set(key, value)
        except pylibmc.TooBig:
            return True

    def own(self):
        # What applications store: flags tell the library how to read it back.
        for number, thing in enumerate([1, 2**70, 1.5, "text ä", b"bytes", [1, {"a": None}]]):
            assert self.client.set(f"object:{number}", thing)
            found = self.client.get(f"object:{number}")
            session.same((type(found), found), (type(thing), thing), "an object")
        # Compressed on the way out.
        assert self.client.set("long", b"long " * 100_000, min_compress_len=1000)
        session.same(self.client.get("long"), b"long " * 100_000, "a compressed value")
        session.same(self.client.add_multi({"object:0": 5, "new": 6}), ["object:0"], "add_multi")
        self.client.incr_multi(["object:0", "new"], delta=2)
        session.same(self.client.get_multi(["object:0", "new"]), {"object:0": 3, "new": 8}, "both")
        with_prefix = self.client.get_multi(["0", "3"], key_prefix="object:")
        session.same(with_prefix, {"0": 3, "3": "text ä"}, "keys with a prefix")
        clone = self.client.clone()
        session.same(clone.get("new"), 8, "a cloned connection")
        clone.disconnect_all()


if __name__ == "__main__":
    session.run(Pylibmc)
