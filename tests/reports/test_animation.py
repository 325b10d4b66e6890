"""The animation of a training, and the filters it shows."""

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from made_runs import finish, make_run, records, run_data
from PIL import Image
from test_run_report import markdown_of

from residua.models import Architecture, ConvStem
from residua.reports import write_report
from residua.reports.run_report.animation import (
    LAST_FRAME_SECONDS,
    MAX_FRAMES,
    frame_epochs,
    training_animation,
)
from residua.runs.artifacts import load_filters, save_filters


def frames(content):
    """Pixels and duration in milliseconds of each frame."""
    animation = Image.open(io.BytesIO(content))
    result = []
    for index in range(animation.n_frames):
        animation.seek(index)
        animation.load()
        frame = Image.new("RGBA", animation.size, "white")
        frame.alpha_composite(animation.convert("RGBA"))
        result.append((np.asarray(frame).copy(), animation.info["duration"]))
    return result


def test_filters_are_saved_epoch_by_epoch(tmp_path):
    run = make_run(tmp_path / "run")
    network = Architecture(stem=ConvStem(width=4), depths=(1,), widths=(4,)).build(10)
    for epoch in range(3):
        with torch.no_grad():
            network.first_convolution.weight.fill_(epoch)
        save_filters(run, epoch, network)
    saved = load_filters(run)
    assert list(saved) == [0, 1, 2]
    assert all((value == epoch).all() for epoch, value in saved.items())
    assert saved[0].shape == (4, 3, 3, 3)
    save_filters(run, 1, network)
    assert list(load_filters(run)) == [0, 1]
    assert (load_filters(run)[1] == 2).all()


def test_each_epoch_has_a_frame_and_the_last_is_shown_longest():
    weights = torch.rand(4, 3, 3, 3)
    animation = training_animation(run_data(records(4)), {0: weights, 2: weights.flip(0)})
    shown = frames(animation.content)
    assert len(shown) == 5
    assert shown[-1][1] == 1000 * LAST_FRAME_SECONDS
    assert max(duration for _, duration in shown[:-1]) < 1000 * LAST_FRAME_SECONDS
    width = shown[0][0].shape[1]
    filters = [pixels[:, int(0.77 * width) :] for pixels, _ in shown]
    assert (filters[0] == filters[1]).all()
    assert (filters[1][60:] != filters[2][60:]).any()
    curves = [pixels[60:, : int(0.75 * width)] for pixels, _ in shown]
    assert all((before != after).any() for before, after in pairwise(curves))
    (still,) = frames(animation.still)
    assert (still[0] == shown[-1][0]).all()


def test_curves_are_shown_without_filters():
    animation = training_animation(run_data(records(3)), {})
    assert "filters" not in animation.alt
    assert len(frames(animation.content)) == 4


@pytest.mark.parametrize("last", [2, 59, 60, 250])
def test_long_trainings_show_some_epochs(last):
    epochs = frame_epochs(last)
    assert (epochs[0], epochs[-1]) == (0, last)
    assert len(set(epochs)) == len(epochs) == min(last + 1, MAX_FRAMES)


def test_animation_is_written_when_training_is_finished(tmp_path):
    run = make_run(tmp_path / "run", log=records(4))
    page = write_report(run)
    assert "training.webp" not in markdown_of(run)
    assert "prefers-reduced-motion" not in page.read_text()
    finish(run)
    assert 'media="(prefers-reduced-motion: reduce)"' in write_report(run).read_text()
    assert "figures/training.webp" in markdown_of(run)
    assert len(frames((run.report_dir / "figures/training.webp").read_bytes())) == 5
