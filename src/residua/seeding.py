"""Seeds for each use of randomness, derived from the one seed of a recipe."""

import hashlib


def derive_seed(seed: int, *keys: int | str) -> int:
    """Derive a 63-bit seed for one use of randomness: a step, an epoch, a rank or a purpose.

    The seed is a hash of the arguments. Similar keys therefore give independent seeds, and a
    resumed training draws the same numbers as an uninterrupted one.
    """
    digest = hashlib.blake2b(repr((seed, *keys)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
