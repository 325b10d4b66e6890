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
from residua.reports.kit.html import TEMPLATES
from residua.reports.kit.images import COLORS, DARK_COLORS
from residua.reports.run_report.animation import (
    MAX_FRAMES,
    SECONDS,
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


@pytest.mark.parametrize("scheme", ["content", "dark"])
def test_each_epoch_has_a_frame_and_the_end_comes_first_and_last(scheme):
    weights = torch.rand(4, 3, 3, 3)
    animation = training_animation(run_data(records(4)), {0: weights, 2: weights.flip(0)})
    first, *shown = frames(getattr(animation, scheme))
    assert len(shown) == 5
    assert (first[0] == shown[-1][0]).all()
    assert (first[0] != shown[0][0]).any()
    height = first[0].shape[0]
    filters = [pixels[int(0.82 * height) :] for pixels, _ in shown]
    assert (filters[0] == filters[1]).all()
    assert (filters[1] != filters[2]).any()
    curves = [pixels[40 : int(0.75 * height)] for pixels, _ in shown]
    assert all((before != after).any() for before, after in pairwise(curves))
    (still,) = frames(animation.still if scheme == "content" else animation.dark_still)
    assert (still[0] == shown[-1][0]).all()


def test_animation_is_played_once_in_less_than_five_seconds():
    animation = training_animation(run_data(records(12)), {})
    for content in (animation.content, animation.dark):
        assert Image.open(io.BytesIO(content)).info["loop"] == 1
        assert sum(milliseconds for _, milliseconds in frames(content)) <= 1000 * SECONDS + 20


def test_dark_pages_have_their_own_colors():
    animation = training_animation(run_data(records(3)), {})
    for content, colors in ((animation.still, COLORS), (animation.dark_still, DARK_COLORS)):
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).reshape(-1, 4)
        solid = {tuple(pixel[:3]) for pixel in pixels if pixel[3] == 255}
        assert tuple(bytes.fromhex(colors["test"][1:])) in solid
    css = TEMPLATES.loader.get_source(TEMPLATES, "style.css")[0]
    dark = css.split("prefers-color-scheme: dark")[1].split("\n}\n")[0]
    assert all(f"--{name}: {color};" in dark for name, color in DARK_COLORS.items())


def test_curves_are_shown_without_filters():
    animation = training_animation(run_data(records(3)), {})
    assert "filters" not in animation.alt
    assert len(frames(animation.content)) == 5


@pytest.mark.parametrize("last", [2, 59, 60, 250])
def test_long_trainings_show_some_epochs(last):
    epochs = frame_epochs(last)
    assert (epochs[0], epochs[-1]) == (0, last)
    assert len(set(epochs)) == len(epochs) == min(last + 1, MAX_FRAMES)


def test_animation_is_written_when_training_is_finished(tmp_path):
    run = make_run(tmp_path / "run", log=records(4))
    page = write_report(run)
    assert "training.webp" not in markdown_of(run)
    assert "<picture>" not in page.read_text()
    finish(run)
    html = write_report(run).read_text()
    assert 'media="(prefers-reduced-motion: reduce)"' in html
    assert 'loading="lazy"' in html, "it starts when it is seen"
    assert "figures/training.webp" in markdown_of(run)
    assert len(frames((run.report_dir / "figures/training.webp").read_bytes())) == 6
