"""Event files, read back by TensorBoard's own reader."""

from collections.abc import Callable
from pathlib import Path

import pytest

from residua.recipes.recipe import Recipe
from residua.runs.run import Run
from residua.training.events import observe
from residua.training.loop import resume, train

pytestmark = pytest.mark.extra("tensorboard")
Tiny = Callable[..., Recipe]


def read(run: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), {"images": 0, "histograms": 0})
    return events.Reload()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scalars_of_a_stopped_and_resumed_training_are_those_of_its_log(
    tiny: Tiny, tmp_path: Path
) -> None:
    from residua.integrations.tensorboard import TensorBoardWriter

    path = tmp_path / "run"
    for _ in observe(
        train(tiny(), path, lambda progress: progress.epoch >= 1), TensorBoardWriter()
    ):
        pass
    for _ in observe(resume(path), TensorBoardWriter()):
        pass
    events, log = read(path), Run.open(path).log
    assert len(log) == 3
    for tag, field in (("loss/train", "train_loss"), ("accuracy/test", "test_accuracy")):
        scalars = events.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [record.step for record in log]
        expected = [getattr(record, field) for record in log]
        assert [scalar.value for scalar in scalars] == pytest.approx(expected)
    assert [s.value for s in events.Scalars("gradient norm/stem")] == pytest.approx(
        [record.grad_norms["stem"] for record in log]
    )
    assert len(events.Images("training images")) == 1
    tags = events.Tags()
    assert "weights/head.2.weight" in tags["histograms"]
    assert len(events.Histograms("weights/head.2.weight")) == 3
    assert "recipe/text_summary" in tags["tensors"]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_flattened_recipes_have_dotted_paths(tiny: Tiny) -> None:
    from residua.integrations.tensorboard import flatten

    values = flatten(tiny().model_dump(mode="json"))
    assert values["optimizer.lr.start"] == 0.1
    assert values["augmentation.0.kind"] == "crop"
    assert values["sam"] == "none"
    assert values["drop_last"] is False
