"""Every augmentation against a naive loop over images, given the same draws, and against kornia."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from residua.augment import (
    Affine,
    AlternatingFlip,
    BatchRandom,
    CoarseDropout,
    ColorJitter,
    Crop,
    CutMix,
    Cutout,
    Flip,
    MixUp,
    Normalization,
    Pipeline,
    RandomErasing,
    resize,
)
from residua.augment.color import shift_hue
from residua.augment.geometric import Geometric, Padding, compose, groups, resample
from residua.schedules import Phases, TrainingProgress

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kornia

COUNT, SIDE = 6, 12
NORMALISATION = Normalization((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def drawing(seed: int = 0, count: int = COUNT, epoch: int = 0, side: int = SIDE) -> BatchRandom:
    generator = torch.Generator().manual_seed(seed)
    return BatchRandom(generator, torch.arange(count), side, side, TrainingProgress(epoch, 10, 1))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.5, 1.0), (0.0, 0.5), (-2.0, 3.0)])
def test_uniform_draws_fill_their_range(low: float, high: float) -> None:
    drawn = drawing(count=2000).uniform(low, high)
    reach = high - low
    assert float(drawn.min()) == pytest.approx(low, abs=0.01 * reach)
    assert float(drawn.max()) == pytest.approx(high, abs=0.01 * reach)


def pictures(seed: int = 1, count: int = COUNT, side: int = SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def place(value: int, size: int, padding_mode: Padding) -> int | None:
    """Where a row or column is read, by the definition of the padding."""
    if padding_mode == "zero":
        return value if 0 <= value < size else None
    period = 2 * (size - 1)
    value %= period
    return min(value, period - value)


def read(image: Tensor, x: float, y: float, padding_mode: Padding) -> list[float]:
    """Bilinear reading of one pixel, one corner at a time."""
    total = [0.0] * 3
    left, top = math.floor(x), math.floor(y)
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        weight = (1 - abs(x - column)) * (1 - abs(y - row))
        where = (
            place(column, image.shape[2], padding_mode),
            place(row, image.shape[1], padding_mode),
        )
        if weight <= 0 or None in where:
            continue
        for channel in range(3):
            total[channel] += weight * float(image[channel, where[1], where[0]])
    return total


def naive(images: Tensor, matrices: Tensor, padding_mode: Padding) -> Tensor:
    out = torch.zeros(images.shape)
    for n, (image, matrix) in enumerate(zip(images, matrices.double(), strict=True)):
        for y in range(SIDE):
            for x in range(SIDE):
                source = matrix @ torch.tensor([x, y, 1.0], dtype=torch.float64)
                out[n, :, y, x] = torch.tensor(read(image, *source.tolist(), padding_mode))
    return out


@pytest.mark.parametrize(
    ("operation", "beyond"),
    [
        (Flip(), "zero"),
        (AlternatingFlip(), "zero"),
        (Crop(padding=4), "zero"),
        (Crop(padding=4, mode="reflect"), "reflect"),
    ],
)
def test_gathers_equal_a_loop_to_the_bit(operation: Geometric, padding_mode: Padding) -> None:
    images, matrices = pictures(), operation.matrices(drawing())
    ours = resample(images, matrices, padding_mode, pixel_exact=True)
    assert ours.dtype == torch.uint8
    assert torch.equal(ours.float(), naive(images, matrices, padding_mode).round())
    assert not torch.equal(ours, images)


@pytest.mark.parametrize("mode", ["zero", "reflect"])
def test_affine_equals_a_loop(mode: Padding) -> None:
    operation = Affine(degrees=30, translate=0.2, scale=(0.7, 1.3), shear=10, p=0.8, mode=mode)
    images, matrices = pictures(), operation.matrices(drawing())
    ours = resample(images, matrices, mode, pixel_exact=False)
    torch.testing.assert_close(ours, naive(images, matrices, mode), atol=0.02, rtol=0)


def test_composition_reads_once_what_the_parts_read_in_turn() -> None:
    draw = drawing()
    flip, crop = Flip(p=1).matrices(draw), Crop(padding=3).matrices(draw)
    images = pictures()
    once = resample(images, compose(crop, flip), "zero", pixel_exact=True)
    flipped = resample(images, crop, "zero", pixel_exact=True)
    twice = resample(flipped, flip, "zero", pixel_exact=True)
    assert torch.equal(once, twice)


def test_runs_split_only_where_the_padding_differs() -> None:
    zero, mirror, flip = Crop(), Crop(mode="reflect"), Flip()
    assert groups([flip, zero, flip]) == [[flip, zero, flip]]
    assert groups([mirror, flip, zero]) == [[mirror, flip], [zero]]
    assert groups([]) == []


def test_flip_and_crop_equal_kornia() -> None:
    images = pictures().float()
    flipped = resample(images.byte(), Flip(p=1).matrices(drawing()), "zero", pixel_exact=True)
    assert torch.equal(flipped.float(), kornia.geometry.hflip(images))
    matrices = Crop(padding=4).matrices(drawing())
    ours = resample(images.byte(), matrices, "zero", pixel_exact=True).float()
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    for n, (x, y) in enumerate(matrices[:, :, 2].long().tolist()):
        window = padded[n : n + 1, :, y + 4 : y + 4 + SIDE, x + 4 : x + 4 + SIDE]
        assert torch.equal(ours[n : n + 1], window)


def test_affine_equals_kornia() -> None:
    draw = drawing()
    matrices = Affine(degrees=20, translate=0.1, scale=(0.8, 1.2)).matrices(draw)
    replay = drawing()
    angles = replay.uniform(-20, 20)
    replay.uniform()
    scale = replay.uniform(0.8, 1.2)
    moves = torch.stack([replay.uniform(-0.1, 0.1) * SIDE for _ in range(2)], 1)
    centre = torch.full((COUNT, 2), (SIDE - 1) / 2)
    forward = kornia.geometry.get_affine_matrix2d(
        moves, centre, torch.stack([scale, scale], 1), -angles
    )
    images = pictures().float()
    theirs = kornia.geometry.warp_affine(images, forward[:, :2], (SIDE, SIDE), align_corners=True)
    ours = resample(images, matrices, "zero", pixel_exact=False)
    torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0)


def test_alternating_flip_shows_every_image_both_ways() -> None:
    many = 400
    first, second, third = (
        AlternatingFlip().matrices(drawing(count=many, epoch=epoch))[:, 0, 0] < 0
        for epoch in range(3)
    )
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 0.4 < first.float().mean() < 0.6


def test_colour_equals_kornia_one_operation_at_a_time() -> None:
    images = pictures().float() / 255
    enhance = kornia.enhance
    for field, theirs in (
        ("brightness", enhance.adjust_brightness_accumulative),
        ("contrast", enhance.adjust_contrast_with_mean_subtraction),
        ("saturation", enhance.adjust_saturation_with_gray_subtraction),
    ):
        jitter = ColorJitter.model_validate({field: 0.4})
        drawn = jitter.draw(drawing())
        factor = drawn[:, ["brightness", "contrast", "saturation"].index(field)]
        torch.testing.assert_close(
            jitter.apply(images, drawn), theirs(images, factor), atol=2e-3, rtol=0
        )
        assert 0.05 < float((factor - 1).abs().max()) <= 0.4
    jitter = ColorJitter(hue=0.2)
    drawn = jitter.draw(drawing())
    theirs = enhance.adjust_hue(images, drawn[:, 3] * 2 * math.pi)
    torch.testing.assert_close(jitter.apply(images, drawn), theirs, atol=1e-3, rtol=0)


def test_colour_equals_a_loop() -> None:
    import colorsys

    images = pictures(count=3, side=5).float() / 255
    jitter = ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
    drawn = jitter.draw(drawing(count=3))
    ours = jitter.apply(images, drawn)
    for n, (brightness, contrast, saturation, hue) in enumerate(drawn.tolist()):
        image = (images[n] * brightness).clamp(0, 1)
        luma = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        image = (luma.mean() + (image - luma.mean()) * contrast).clamp(0, 1)
        luma = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        image = (luma + (image - luma) * saturation).clamp(0, 1)
        for y in range(5):
            for x in range(5):
                h, s, v = colorsys.rgb_to_hsv(*image[:, y, x].tolist())
                wanted = torch.tensor(colorsys.hsv_to_rgb((h + hue) % 1, s, v))
                torch.testing.assert_close(ours[n, :, y, x], wanted, atol=1e-4, rtol=0)


def test_colour_is_changed_as_often_and_as_much_as_asked() -> None:
    asked = {"brightness": 0.1, "contrast": 0.2, "saturation": 0.3, "hue": 0.4}
    drawn = ColorJitter(**asked, p=0.3).draw(drawing(count=4000))
    amounts = drawn - torch.tensor([1.0, 1.0, 1.0, 0.0])
    changed = (amounts != 0).any(1)
    assert float(changed.float().mean()) == pytest.approx(0.3, abs=0.03)
    for most, amount in zip(asked.values(), amounts[changed].T, strict=True):
        assert float(amount.max()) == pytest.approx(most, rel=0.02)
        assert float(amount.min()) == pytest.approx(-most, rel=0.02)


@given(turns=st.floats(-1, 1))
@settings(max_examples=20, deadline=None)
def test_a_turned_hue_turns_back(turns: float) -> None:
    images = pictures(count=2, side=4).float() / 255
    there = shift_hue(images, torch.full((2, 1, 1, 1), turns))
    back = shift_hue(there, torch.full((2, 1, 1, 1), -turns))
    torch.testing.assert_close(back, images, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "erasing",
    [
        Cutout(size=5, p=0.7),
        CoarseDropout(size=5, p=0.7),
        RandomErasing(p=0.7),
        RandomErasing(p=0.7, fill="noise"),
    ],
)
def test_erasing_equals_a_loop(erasing: Cutout | CoarseDropout | RandomErasing) -> None:
    images = torch.randn(40, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    drawn = erasing.draw(drawing(count=40))
    ours = erasing.apply(images, drawn)
    wanted = images.clone()
    for n in range(40):
        for y in range(max(0, int(drawn.top[n])), int(drawn.top[n] + drawn.height[n])):
            for x in range(max(0, int(drawn.left[n])), int(drawn.left[n] + drawn.width[n])):
                if y < SIDE and x < SIDE:
                    wanted[n, :, y, x] = 0 if drawn.filling is None else drawn.filling[n, :, y, x]
    assert torch.equal(ours, wanted)
    touched = (ours != images).flatten(1).any(1).float().mean()
    assert 0.4 < touched < 0.95


def test_cutouts_lie_about_every_pixel_and_are_cut_off_by_the_edges() -> None:
    drawn = Cutout(size=4, p=1).draw(drawing(count=3000))
    assert drawn.top.unique().tolist() == drawn.left.unique().tolist() == list(range(-2, SIDE - 2))
    areas = drawn.masked(SIDE, SIDE).sum((1, 2, 3))
    assert (int(areas.min()), int(areas.max())) == (2 * 2, 4 * 4)


def test_coarse_dropout_hides_whole_squares() -> None:
    drawn = CoarseDropout(size=4, p=1).draw(drawing(count=3000))
    assert drawn.top.unique().tolist() == drawn.left.unique().tolist() == list(range(SIDE - 3))
    assert (drawn.masked(SIDE, SIDE).sum((1, 2, 3)) == 4 * 4).all()


def test_random_erasing_stays_inside_and_keeps_its_ranges() -> None:
    drawn = RandomErasing(p=1).draw(drawing(count=2000, side=32))
    area = (drawn.height * drawn.width).float() / 32**2
    assert int((drawn.top + drawn.height).max()) <= 32
    assert int((drawn.left + drawn.width).max()) <= 32
    assert min(int(drawn.top.min()), int(drawn.left.min())) == 0
    assert 0.015 < float(area[area > 0].min()) < 0.03
    assert 0.28 < float(area.max()) < 0.36


def test_mixup_equals_a_loop() -> None:
    images, targets = torch.randn(COUNT, 3, SIDE, SIDE), torch.eye(COUNT)
    drawn = MixUp(alpha=0.4).draw(drawing())
    mixed, soft = MixUp(alpha=0.4).apply(images, targets, drawn)
    for n in range(COUNT):
        share, other = float(drawn.share[n]), int(drawn.partner[n])
        wanted = share * images[n] + (1 - share) * images[other]
        torch.testing.assert_close(mixed[n], wanted, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(soft[n], share * targets[n] + (1 - share) * targets[other])


def test_cutmix_equals_a_loop() -> None:
    count = 30
    images, targets = torch.randn(count, 3, SIDE, SIDE), torch.eye(count)
    drawn = CutMix(p=0.6).draw(drawing(count=count))
    mixed, soft = CutMix(p=0.6).apply(images, targets, drawn)
    holes = drawn.holes
    assert holes is not None
    untouched = 0
    for n in range(count):
        other, wanted = int(drawn.partner[n]), images[n].clone()
        top, left = int(holes.top[n]), int(holes.left[n])
        bottom, right = top + int(holes.height[n]), left + int(holes.width[n])
        wanted[:, top:bottom, left:right] = images[other][:, top:bottom, left:right]
        assert torch.equal(mixed[n], wanted)
        share = 1 - (bottom - top) * (right - left) / SIDE**2
        torch.testing.assert_close(soft[n], share * targets[n] + (1 - share) * targets[other])
        untouched += share == 1
    assert 4 <= untouched <= 22


def test_mixing_equals_kornia() -> None:
    images, targets = torch.rand(COUNT, 3, SIDE, SIDE), torch.eye(COUNT)
    drawn = MixUp(alpha=0.4).draw(drawing())
    ours, _ = MixUp(alpha=0.4).apply(images, targets, drawn)
    params = {"mixup_pairs": drawn.partner, "mixup_lambdas": 1 - drawn.share}
    theirs = kornia.augmentation.RandomMixUpV2(p=1.0).apply_transform(images, params)
    torch.testing.assert_close(ours, theirs)

    cut = CutMix().draw(drawing())
    assert cut.holes is not None
    ours, _ = CutMix().apply(images, targets, cut)
    top, left, height, width = cut.holes[:4]
    right, bottom = left + width - 1, top + height - 1
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    boxes = torch.stack([torch.stack(corner, 1) for corner in corners], 1).float()
    params = {"mix_pairs": cut.partner[None], "crop_src": boxes[None]}
    theirs = kornia.augmentation.RandomCutMixV2(p=1.0, use_correct_lambda=True).apply_transform(
        images, params
    )
    filled = (height * width) > 0
    assert filled.sum() > 2
    assert torch.equal(ours[filled], theirs[filled])


def test_erasing_equals_kornia() -> None:
    images = torch.rand(COUNT, 3, SIDE, SIDE)
    drawn = RandomErasing(p=1.0).draw(drawing())
    params = {
        "widths": drawn.width,
        "heights": drawn.height,
        "xs": drawn.left,
        "ys": drawn.top,
        "values": torch.zeros(COUNT),
    }
    eraser = kornia.augmentation.RandomErasing(p=1.0)
    theirs = eraser.apply_transform(images, params, eraser.flags)
    assert torch.equal(RandomErasing().apply(images, drawn), theirs)


def test_normalisation_equals_kornia() -> None:
    images = pictures()
    mean, std = (torch.tensor(values) for values in NORMALISATION)
    theirs = kornia.enhance.normalize(images / 255, mean, std)
    torch.testing.assert_close(NORMALISATION(images), theirs, atol=1e-5, rtol=1e-5)


def test_shares_are_beta_distributed() -> None:
    share = MixUp(alpha=0.2).draw(drawing(count=20_000)).share
    assert float(share.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(share.var()) == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.01)


def test_the_pipeline_is_its_parts_in_order() -> None:
    images, labels = pictures(), torch.arange(COUNT)
    operations = (
        MixUp(alpha=1.0),
        Cutout(size=4),
        ColorJitter(brightness=0.3),
        Crop(padding=2),
        Flip(),
    )
    ours, soft = Pipeline(operations, NORMALISATION, COUNT)(images, labels, drawing(5))
    draw = drawing(5)
    crop, flip = Crop(padding=2).matrices(draw), Flip().matrices(draw)
    moved = resample(images, compose(crop, flip), "zero", pixel_exact=True).float() / 255
    coloured = ColorJitter(brightness=0.3)
    moved = coloured.apply(moved, coloured.draw(draw))
    mean, std = (torch.tensor(values)[:, None, None] for values in NORMALISATION)
    hidden = Cutout(size=4).apply((moved - mean) / std, Cutout(size=4).draw(draw))
    targets = torch.eye(COUNT)
    mixed, wanted = MixUp(alpha=1.0).apply(hidden, targets, MixUp(alpha=1.0).draw(draw))
    torch.testing.assert_close(ours, mixed, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(soft, wanted)


def test_without_operations_images_are_normalised_only() -> None:
    images, labels = pictures(), torch.arange(COUNT)
    ours, targets = Pipeline((), NORMALISATION, COUNT)(images, labels, drawing())
    mean, std = (torch.tensor(values)[:, None, None] for values in NORMALISATION)
    torch.testing.assert_close(ours, (images / 255 - mean) / std, atol=1e-5, rtol=1e-5)
    assert torch.equal(targets, torch.eye(COUNT))


@given(seed=st.integers(0, 2**31), smoothing=st.sampled_from([(), (MixUp(), CutMix())]))
@settings(max_examples=15, deadline=None)
def test_equal_seeds_draw_equal_batches(seed: int, smoothing: tuple[MixUp | CutMix, ...]) -> None:
    operations = (Crop(padding=2), Flip(), Affine(degrees=10), RandomErasing(), *smoothing)
    pipeline = Pipeline(operations, NORMALISATION, COUNT)
    images, labels = pictures(), torch.arange(COUNT)
    first, targets = pipeline(images, labels, drawing(seed))
    again, _ = pipeline(images, labels, drawing(seed))
    other, _ = pipeline(images, labels, drawing(seed + 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.isfinite(first).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(COUNT))
    assert float(targets.min()) >= 0


def test_strengths_follow_schedules() -> None:
    erasing = Cutout(size=Phases(boundaries=(3,), values=(8, 6)), p=1)
    assert int(erasing.draw(drawing(epoch=2)).height[0]) == 8
    assert int(erasing.draw(drawing(epoch=3)).height[0]) == 6


def test_resized_images_and_targets_keep_together() -> None:
    operations = (Flip(), CutMix())
    images, targets = Pipeline(operations, NORMALISATION, COUNT)(
        pictures(), torch.arange(COUNT), drawing(), size=8
    )
    assert images.shape == (COUNT, 3, 8, 8)
    torch.testing.assert_close(targets.sum(1), torch.ones(COUNT))
    same = torch.randn(2, 3, 8, 8)
    assert resize(same, 8) is same
