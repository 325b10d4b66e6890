"""The value that says which of several processes this one is."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from residua.distributed import World


def test_a_single_process_keeps_its_values() -> None:
    world, values = World(), torch.tensor([1.0, 2.0])
    assert world.is_writer
    assert world.all_reduce(values) is values
    assert values.tolist() == [1, 2]


@pytest.mark.parametrize(("rank", "size"), [(-1, 1), (1, 1), (2, 2), (0, 0)])
def test_impossible_ranks_are_refused(rank: int, size: int) -> None:
    with pytest.raises(ValueError, match="rank"):
        World(rank, size)


def _reduce(rank: int, size: int, directory: str) -> None:
    store = dist.FileStore(str(Path(directory, "store")), size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    world = World(rank, size)
    total = world.all_reduce(torch.tensor([float(rank + 1), 10.0]))
    if world.is_writer:
        Path(directory, "total").write_text(str(total.tolist()))
    dist.destroy_process_group()


def test_two_ranks_sum_their_values_and_one_writes(tmp_path: Path) -> None:
    mp.spawn(_reduce, (2, str(tmp_path)), nprocs=2)
    assert (tmp_path / "total").read_text() == "[3.0, 20.0]"
