#!/usr/bin/env python3
"""The placement a second time: what core/src/placement.rs must find.

Written from what the module says, and not from its code: big integers and exact fractions in
place of fixed widths, whole sorts in place of choosing a few, XXH3 from its specification.
Needs Python 3.8 or later, and nothing else.

    core/src/placement/golden.py           # writes golden.txt beside this file: about a minute
    core/src/placement/golden.py --check   # fails if golden.txt holds anything else

A layout in golden.txt is its nodes (guid, weight, rack), then

    digest      what requests carry
    voters      the hash of all partitions' voters
    rankings    the hash of all partitions' rankings
    partition   one partition's ranking, by guid; how many of them are owners and voters stands
                at the layout's head

Such a hash is FNV-1a (64 bits) over the indices of the nodes among the sorted guids, each as two
bytes, the higher first. Changing any of these lines moves data in every cluster that upgrades.
"""

import hashlib
import sys
from fractions import Fraction
from pathlib import Path

PARTITIONS = 4096
VOTERS = 3
FRACTION_BITS = 32
SEED_STEP = 0x9E3779B97F4A7C15
SHOWN = (0, 1, 2, 1000, 4095)
ALL_ONES = (1 << 64) - 1

# XXH3: the default secret's first 128 bytes, and the primes, from
# https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
)
PRIME64_1 = 0x9E3779B185EBCA87
PRIME_MX1 = 0x165667919E3779F9


def xxh3_of_17_to_128(message, seed):
    """XXH3, 64 bits, of 17 to 128 bytes."""
    length = len(message)
    assert 17 <= length <= 128

    def word(source, at):
        return int.from_bytes(source[at : at + 8], "little")

    def mixed(at, secret_at):
        low = word(message, at) ^ (word(SECRET, secret_at) + seed & ALL_ONES)
        high = word(message, at + 8) ^ (word(SECRET, secret_at + 8) - seed & ALL_ONES)
        product = low * high
        return product & ALL_ONES ^ product >> 64

    total = length * PRIME64_1
    for step in range((length - 1) // 32 + 1):
        total += mixed(16 * step, 32 * step)
        total += mixed(length - 16 * (step + 1), 32 * step + 16)
    total &= ALL_ONES
    total = (total ^ total >> 37) * PRIME_MX1 & ALL_ONES
    return total ^ total >> 32


def log2(x):
    """log2(x) in units of 2^-32, by squares that are rounded down to 64 bits."""
    exponent = x.bit_length() - 1
    mantissa = x << 63 - exponent
    digits = 0
    for _ in range(FRACTION_BITS):
        square = mantissa * mantissa  # of a mantissa that stands for mantissa / 2^63
        reaches_two = square >= 1 << 127
        digits = 2 * digits + reaches_two
        mantissa = square >> 64 if reaches_two else square >> 64 << 1
    return (exponent << FRACTION_BITS) + digits


def exact_log2(x):
    """The same with 512 bits in place of 64: the true one, rounded down."""
    exponent = x.bit_length() - 1
    mantissa = x << 511 - exponent
    digits = 0
    for _ in range(FRACTION_BITS):
        mantissa = mantissa * mantissa >> 511
        digits *= 2
        if mantissa >> 512:
            mantissa >>= 1
            digits += 1
    return (exponent << FRACTION_BITS) + digits


def padded(guid):
    return guid.encode().ljust(32, b"\0")


def surprisal(guid, partition):
    draw = xxh3_of_17_to_128(padded(guid), partition * SEED_STEP & ALL_ONES) | 1
    logarithm = log2(draw)
    if partition % 64 == 0:
        assert 0 <= exact_log2(draw) - logarithm <= 1
    return (64 << FRACTION_BITS) - logarithm


def ranking(nodes, partition):
    """All guids: by the number of better ones in their own rack, then by score, then by guid."""
    scored = sorted(
        (Fraction(surprisal(guid, partition), weight), guid, rack) for guid, weight, rack in nodes
    )
    seen = {}
    rounds = []
    for place, (_, guid, rack) in enumerate(scored):
        rounds.append((seen.get(rack, 0), place, guid))
        seen[rack] = seen.get(rack, 0) + 1
    return [guid for _, _, guid in sorted(rounds)]


def digest(nodes, replication_factor):
    value = PARTITIONS * 256 + replication_factor
    for guid, weight, rack in sorted(nodes):
        value = xxh3_of_17_to_128(padded(guid) + weight.to_bytes(4, "big") + rack.encode(), value)
    return value


def fnv1a(numbers):
    value = 0xCBF29CE484222325
    for number in numbers:
        for byte in number.to_bytes(2, "big"):
            value = (value ^ byte) * 0x100000001B3 & ALL_ONES
    return value


def guids(count):
    """Guids as `zufar` draws them: 32 hexadecimal digits."""
    return [hashlib.sha256(b"node %d" % number).hexdigest()[:32] for number in range(count)]


def layouts():
    """Name, replication factor, and nodes in no order."""

    def plain(count, rack=lambda _: "1", weight=lambda _: 1):
        return [(guid, weight(at), rack(at)) for at, guid in enumerate(guids(count))]

    yield "one node", 2, plain(1)
    yield "two nodes", 2, plain(2)
    yield "three nodes", 2, plain(3)
    yield "three nodes, no replicas", 1, plain(3)
    yield "ten nodes", 2, plain(10)
    yield "ten nodes, five replicas", 5, plain(10)
    yield "four nodes, most replicas", 7, plain(4)
    yield "ten nodes in three racks", 2, plain(10, rack=lambda at: "rack-" + "abc"[at % 3])
    yield "six nodes in two racks, one of a single node", 3, plain(6, rack=lambda at: str(at // 5))
    yield "a rack of the longest name, and one of none", 2, plain(
        5, rack=lambda at: "r" * 64 if at % 2 else ""
    )
    yield "five weights", 2, plain(10, weight=lambda at: 1 + at % 5)
    yield "the least and the greatest weight", 2, plain(
        4, weight=lambda at: (1 << 32) - 1 if at % 2 else 1
    )
    yield "names alike", 2, [("node-%d" % at, 1, "1") for at in range(10)] + [
        ("a", 1, "1"),
        ("0" * 31 + "1", 1, "1"),
        ("0" * 31 + "2", 1, "1"),
    ]
    yield "a hundred nodes", 2, plain(100)
    yield "a hundred nodes, weights and racks", 3, plain(
        100, rack=lambda at: "rack-%d" % (at % 7), weight=lambda at: 1000 + 37 * at
    )


def golden():
    yield "# Written by golden.py, which says what this is."
    for name, replication_factor, nodes in layouts():
        order = sorted(guid for guid, _, _ in nodes)
        index = {guid: at for at, guid in enumerate(order)}
        owner_count = min(replication_factor, len(nodes))
        voter_count = min(max(replication_factor, VOTERS), len(nodes))
        rankings = [ranking(nodes, partition) for partition in range(PARTITIONS)]
        voters = [guid for ranked in rankings for guid in ranked[:voter_count]]
        yield ""
        yield "layout %d %d %d %s" % (replication_factor, owner_count, voter_count, name)
        for guid, weight, rack in nodes:
            yield ("node %s %d %s" % (guid, weight, rack)).rstrip()
        yield "digest %016x" % digest(nodes, replication_factor)
        yield "voters %016x" % fnv1a(index[guid] for guid in voters)
        yield "rankings %016x" % fnv1a(index[guid] for ranked in rankings for guid in ranked)
        for partition in SHOWN:
            yield "partition %d %s" % (partition, " ".join(rankings[partition][:10]))


def main():
    path = Path(__file__).with_name("golden.txt")
    text = "\n".join(golden()) + "\n"
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if path.read_text() == text else "golden.txt holds something else")
    path.write_text(text)


if __name__ == "__main__":
    main()
