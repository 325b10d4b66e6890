"""The animation of a training, and the filters it shows."""

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from made_runs import finish, make_run, records
from PIL import Image
from residua.reports.film import LAST, PICTURES, film, shown
from residua.reports.history import History

from residua.models import Architecture, ConvStem
from residua.reports import write_report
from residua.runs.artifacts import filters, save_filters

NETWORK = Architecture(stem=ConvStem(width=4), depths=(1,), widths=(4,))


def frames(content):
    animation = Image.open(io.BytesIO(content))
    found = []
    for place in range(animation.n_frames):
        animation.seek(place)
        animation.load()
        seen = Image.new("RGBA", animation.size, "white")
        seen.alpha_composite(animation.convert("RGBA"))
        found.append((np.asarray(seen).copy(), animation.info["duration"]))
    return found


def test_filters_are_kept_epoch_by_epoch(tmp_path):
    run, network = make_run(tmp_path / "run"), NETWORK.build(10)
    for epoch in range(3):
        with torch.no_grad():
            network.first_convolution.weight.fill_(epoch)
        save_filters(run, epoch, network)
    kept = filters(run)
    assert list(kept) == [0, 1, 2]
    assert all((value == epoch).all() for epoch, value in kept.items())
    assert kept[0].shape == (4, 3, 3, 3)
    save_filters(run, 1, network)
    assert list(filters(run)) == [0, 1]
    assert (filters(run)[1] == 2).all()


def test_a_picture_for_every_epoch_the_last_one_longest(tmp_path):
    history = History.of(make_run(tmp_path / "run", log=records(4)))
    weights = torch.rand(4, 3, 3, 3)
    found = film(history, {0: weights, 2: weights.flip(0)})
    pictures = frames(found.content)
    assert len(pictures) == 5
    assert pictures[-1][1] == 1000 * LAST
    assert max(time for _, time in pictures[:-1]) < 1000 * LAST
    width = pictures[0][0].shape[1]
    tiles = [picture[:, int(0.77 * width) :] for picture, _ in pictures]
    assert (tiles[0] == tiles[1]).all()
    assert (tiles[1][60:] != tiles[2][60:]).any()
    curves = [picture[60:, : int(0.75 * width)] for picture, _ in pictures]
    assert all((one != other).any() for one, other in pairwise(curves))
    (still,) = frames(found.still)
    assert (still[0] == pictures[-1][0]).all()


def test_without_filters_the_curves_are_shown_alone(tmp_path):
    history = History.of(make_run(tmp_path / "run", log=records(3)))
    assert "filters" not in film(history, {}).alt
    assert len(frames(film(history, {}).content)) == 4


@pytest.mark.parametrize("last", [2, 59, 60, 250])
def test_long_trainings_show_some_of_their_epochs(last):
    epochs = shown(last)
    assert epochs[0] == 0
    assert epochs[-1] == last
    assert len(set(epochs)) == len(epochs) == min(last + 1, PICTURES)


def test_the_film_comes_when_the_training_is_over(tmp_path):
    run = make_run(tmp_path / "run", log=records(4))
    page = write_report(run)
    assert "training.webp" not in (run.report / "report.md").read_text()
    assert "prefers-reduced-motion" not in page.read_text()
    finish(run)
    assert 'media="(prefers-reduced-motion: reduce)"' in write_report(run).read_text()
    assert "figures/training.webp" in (run.report / "report.md").read_text()
    assert len(frames((run.report / "figures/training.webp").read_bytes())) == 5
