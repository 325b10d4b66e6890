from pathlib import Path

import pytest

from residua.data import Cifar100, Splits


@pytest.fixture(scope="session")
def cifar100(cifar100_root: Path) -> Splits:
    """The CIFAR-100 archive."""
    return Cifar100(root=cifar100_root).load(seed=0)
