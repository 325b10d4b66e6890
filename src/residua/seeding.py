"""Seeds for every place that needs randomness, derived from the one seed of a recipe."""

import hashlib


def derive_seed(seed: int, *place: int | str) -> int:
    """A 63-bit seed for one place (a step, an epoch, a rank, a purpose).

    Derived by hashing, so that neighbouring places share nothing; a pure function, so that a
    resumed training draws what an undisturbed one draws.
    """
    digest = hashlib.blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
