"""Each augmentation, compared with a loop over images for the same parameters, and with kornia."""

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
    Normalize,
    Pipeline,
    RandomErasing,
    resize,
)
from residua.augment.color import shift_hue
from residua.augment.geometric import Geometric, Padding, compose, group_by_padding, resample
from residua.data import ChannelStats
from residua.schedules import Phases, TrainingProgress

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kornia

COUNT, SIDE = 6, 12
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
NORMALIZE = Normalize(MEAN, STD)


def batch_random(
    seed: int = 0, count: int = COUNT, epoch: int = 0, side: int = SIDE
) -> BatchRandom:
    generator = torch.Generator().manual_seed(seed)
    return BatchRandom(generator, torch.arange(count), side, side, TrainingProgress(epoch, 10, 1))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.5, 1.0), (0.0, 0.5), (-2.0, 3.0)])
def test_uniform_values_cover_their_range(low: float, high: float) -> None:
    values = batch_random(count=2000).uniform(low, high)
    tolerance = 0.01 * (high - low)
    assert float(values.min()) == pytest.approx(low, abs=tolerance)
    assert float(values.max()) == pytest.approx(high, abs=tolerance)


def random_images(seed: int = 1, count: int = COUNT, side: int = SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def source_index(index: int, size: int, padding_mode: Padding) -> int | None:
    """The row or column that is read, by the definition of the padding; None for zero."""
    if padding_mode == "zero":
        return index if 0 <= index < size else None
    period = 2 * (size - 1)
    index %= period
    return min(index, period - index)


def bilinear(image: Tensor, x: float, y: float, padding_mode: Padding) -> list[float]:
    """Interpolate one pixel, one corner at a time."""
    total = [0.0] * 3
    left, top = math.floor(x), math.floor(y)
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        weight = (1 - abs(x - column)) * (1 - abs(y - row))
        x_index = source_index(column, image.shape[2], padding_mode)
        y_index = source_index(row, image.shape[1], padding_mode)
        if weight <= 0 or x_index is None or y_index is None:
            continue
        for channel in range(3):
            total[channel] += weight * float(image[channel, y_index, x_index])
    return total


def resample_in_a_loop(images: Tensor, matrices: Tensor, padding_mode: Padding) -> Tensor:
    out = torch.zeros(images.shape)
    for n, (image, matrix) in enumerate(zip(images, matrices.double(), strict=True)):
        for y in range(SIDE):
            for x in range(SIDE):
                source = matrix @ torch.tensor([x, y, 1.0], dtype=torch.float64)
                out[n, :, y, x] = torch.tensor(bilinear(image, *source.tolist(), padding_mode))
    return out


@pytest.mark.parametrize(
    ("operation", "padding_mode"),
    [
        (Flip(), "zero"),
        (AlternatingFlip(), "zero"),
        (Crop(padding=4), "zero"),
        (Crop(padding=4, mode="reflect"), "reflect"),
    ],
)
def test_gather_matches_a_loop_exactly(operation: Geometric, padding_mode: Padding) -> None:
    images, matrices = random_images(), operation.matrices(batch_random())
    ours = resample(images, matrices, padding_mode, pixel_exact=True)
    assert ours.dtype == torch.uint8
    assert torch.equal(ours.float(), resample_in_a_loop(images, matrices, padding_mode).round())
    assert not torch.equal(ours, images)


@pytest.mark.parametrize("mode", ["zero", "reflect"])
def test_affine_matches_a_loop(mode: Padding) -> None:
    operation = Affine(degrees=30, translate=0.2, scale=(0.7, 1.3), shear=10, p=0.8, mode=mode)
    images, matrices = random_images(), operation.matrices(batch_random())
    ours = resample(images, matrices, mode, pixel_exact=False)
    torch.testing.assert_close(ours, resample_in_a_loop(images, matrices, mode), atol=0.02, rtol=0)


def test_composed_matrices_equal_successive_resampling() -> None:
    random = batch_random()
    flip, crop = Flip(p=1).matrices(random), Crop(padding=3).matrices(random)
    images = random_images()
    once = resample(images, compose(crop, flip), "zero", pixel_exact=True)
    flipped = resample(images, crop, "zero", pixel_exact=True)
    twice = resample(flipped, flip, "zero", pixel_exact=True)
    assert torch.equal(once, twice)


def test_operations_are_grouped_by_padding() -> None:
    zero, reflect, flip = Crop(), Crop(mode="reflect"), Flip()
    assert group_by_padding([flip, zero, flip]) == [[flip, zero, flip]]
    assert group_by_padding([reflect, flip, zero]) == [[reflect, flip], [zero]]
    assert group_by_padding([]) == []


def test_flip_and_crop_match_kornia() -> None:
    images = random_images().float()
    flipped = resample(images.byte(), Flip(p=1).matrices(batch_random()), "zero", pixel_exact=True)
    assert torch.equal(flipped.float(), kornia.geometry.hflip(images))
    matrices = Crop(padding=4).matrices(batch_random())
    ours = resample(images.byte(), matrices, "zero", pixel_exact=True).float()
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    for n, (x, y) in enumerate(matrices[:, :, 2].long().tolist()):
        window = padded[n : n + 1, :, y + 4 : y + 4 + SIDE, x + 4 : x + 4 + SIDE]
        assert torch.equal(ours[n : n + 1], window)


def test_affine_matches_kornia() -> None:
    random = batch_random()
    matrices = Affine(degrees=20, translate=0.1, scale=(0.8, 1.2)).matrices(random)
    same_random = batch_random()
    angles = same_random.uniform(-20, 20)
    same_random.uniform()
    scale = same_random.uniform(0.8, 1.2)
    offsets = torch.stack([same_random.uniform(-0.1, 0.1) * SIDE for _ in range(2)], 1)
    centre = torch.full((COUNT, 2), (SIDE - 1) / 2)
    forward = kornia.geometry.get_affine_matrix2d(
        offsets, centre, torch.stack([scale, scale], 1), -angles
    )
    images = random_images().float()
    theirs = kornia.geometry.warp_affine(images, forward[:, :2], (SIDE, SIDE), align_corners=True)
    ours = resample(images, matrices, "zero", pixel_exact=False)
    torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0)


def test_alternating_flip_shows_each_image_both_ways() -> None:
    count = 400
    first, second, third = (
        AlternatingFlip().matrices(batch_random(count=count, epoch=epoch))[:, 0, 0] < 0
        for epoch in range(3)
    )
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 0.4 < first.float().mean() < 0.6


def test_color_operations_match_kornia() -> None:
    images = random_images().float() / 255
    enhance = kornia.enhance
    for field, theirs in (
        ("brightness", enhance.adjust_brightness_accumulative),
        ("contrast", enhance.adjust_contrast_with_mean_subtraction),
        ("saturation", enhance.adjust_saturation_with_gray_subtraction),
    ):
        jitter = ColorJitter.model_validate({field: 0.4})
        params = jitter.sample(batch_random())
        factor = params[:, ["brightness", "contrast", "saturation"].index(field)]
        torch.testing.assert_close(
            jitter.apply(images, params), theirs(images, factor), atol=2e-3, rtol=0
        )
        assert 0.05 < float((factor - 1).abs().max()) <= 0.4
    jitter = ColorJitter(hue=0.2)
    params = jitter.sample(batch_random())
    theirs = enhance.adjust_hue(images, params[:, 3] * 2 * math.pi)
    torch.testing.assert_close(jitter.apply(images, params), theirs, atol=1e-3, rtol=0)


def test_color_jitter_matches_a_loop() -> None:
    import colorsys

    images = random_images(count=3, side=5).float() / 255
    jitter = ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
    params = jitter.sample(batch_random(count=3))
    ours = jitter.apply(images, params)
    for n, (brightness, contrast, saturation, hue) in enumerate(params.tolist()):
        image = (images[n] * brightness).clamp(0, 1)
        luma = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        image = (luma.mean() + (image - luma.mean()) * contrast).clamp(0, 1)
        luma = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        image = (luma + (image - luma) * saturation).clamp(0, 1)
        for y in range(5):
            for x in range(5):
                h, s, v = colorsys.rgb_to_hsv(*image[:, y, x].tolist())
                expected = torch.tensor(colorsys.hsv_to_rgb((h + hue) % 1, s, v))
                torch.testing.assert_close(ours[n, :, y, x], expected, atol=1e-4, rtol=0)


def test_color_jitter_covers_its_ranges_with_its_probability() -> None:
    ranges = {"brightness": 0.1, "contrast": 0.2, "saturation": 0.3, "hue": 0.4}
    params = ColorJitter(**ranges, p=0.3).sample(batch_random(count=4000))
    differences = params - torch.tensor([1.0, 1.0, 1.0, 0.0])
    changed = (differences != 0).any(1)
    assert float(changed.float().mean()) == pytest.approx(0.3, abs=0.03)
    for maximum, column in zip(ranges.values(), differences[changed].T, strict=True):
        assert float(column.max()) == pytest.approx(maximum, rel=0.02)
        assert float(column.min()) == pytest.approx(-maximum, rel=0.02)


@given(turns=st.floats(-1, 1))
@settings(max_examples=20, deadline=None)
def test_hue_shift_is_invertible(turns: float) -> None:
    images = random_images(count=2, side=4).float() / 255
    shifted = shift_hue(images, torch.full((2, 1, 1, 1), turns))
    back = shift_hue(shifted, torch.full((2, 1, 1, 1), -turns))
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
def test_erasing_matches_a_loop(erasing: Cutout | CoarseDropout | RandomErasing) -> None:
    images = torch.randn(40, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    params = erasing.sample(batch_random(count=40))
    ours = erasing.apply(images, params)
    expected, noise = images.clone(), params.noise
    for n in range(40):
        top, left, height, width = (int(values[n]) for values in params[:4])
        for y in range(max(0, top), min(SIDE, top + height)):
            for x in range(max(0, left), min(SIDE, left + width)):
                expected[n, :, y, x] = 0 if noise is None else noise[n, :, y, x]
    assert torch.equal(ours, expected)
    changed = (ours != images).flatten(1).any(1).float().mean()
    assert 0.4 < changed < 0.95


def test_cutout_centres_are_anywhere_and_squares_are_cut_at_the_edges() -> None:
    params = Cutout(size=4, p=1).sample(batch_random(count=3000))
    assert (
        params.top.unique().tolist() == params.left.unique().tolist() == list(range(-2, SIDE - 2))
    )
    areas = params.mask(SIDE, SIDE).sum((1, 2, 3))
    assert (int(areas.min()), int(areas.max())) == (2 * 2, 4 * 4)


def test_coarse_dropout_hides_complete_squares() -> None:
    params = CoarseDropout(size=4, p=1).sample(batch_random(count=3000))
    assert params.top.unique().tolist() == params.left.unique().tolist() == list(range(SIDE - 3))
    assert (params.mask(SIDE, SIDE).sum((1, 2, 3)) == 4 * 4).all()


def test_random_erasing_stays_inside_and_covers_its_ranges() -> None:
    params = RandomErasing(p=1).sample(batch_random(count=2000, side=32))
    area = (params.height * params.width).float() / 32**2
    assert int((params.top + params.height).max()) <= 32
    assert int((params.left + params.width).max()) <= 32
    assert min(int(params.top.min()), int(params.left.min())) == 0
    assert 0.015 < float(area[area > 0].min()) < 0.03
    assert 0.28 < float(area.max()) < 0.36


def test_mixup_matches_a_loop() -> None:
    images, targets = torch.randn(COUNT, 3, SIDE, SIDE), torch.eye(COUNT)
    params = MixUp(alpha=0.4).sample(batch_random())
    mixed, soft = MixUp(alpha=0.4).apply(images, targets, params)
    for n in range(COUNT):
        lam, other = float(params.lam[n]), int(params.partner[n])
        expected = lam * images[n] + (1 - lam) * images[other]
        torch.testing.assert_close(mixed[n], expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(soft[n], lam * targets[n] + (1 - lam) * targets[other])


def test_cutmix_matches_a_loop() -> None:
    count = 30
    images, targets = torch.randn(count, 3, SIDE, SIDE), torch.eye(count)
    params = CutMix(p=0.6).sample(batch_random(count=count))
    mixed, soft = CutMix(p=0.6).apply(images, targets, params)
    assert params.rectangles is not None
    unchanged = 0
    for n in range(count):
        other, expected = int(params.partner[n]), images[n].clone()
        top, left, height, width = (int(values[n]) for values in params.rectangles[:4])
        window = (slice(None), slice(top, top + height), slice(left, left + width))
        expected[window] = images[other][window]
        assert torch.equal(mixed[n], expected)
        lam = 1 - height * width / SIDE**2
        torch.testing.assert_close(soft[n], lam * targets[n] + (1 - lam) * targets[other])
        unchanged += lam == 1
    assert 4 <= unchanged <= 22


def test_mixing_matches_kornia() -> None:
    images, targets = torch.rand(COUNT, 3, SIDE, SIDE), torch.eye(COUNT)
    params = MixUp(alpha=0.4).sample(batch_random())
    ours, _ = MixUp(alpha=0.4).apply(images, targets, params)
    kornia_params = {"mixup_pairs": params.partner, "mixup_lambdas": 1 - params.lam}
    theirs = kornia.augmentation.RandomMixUpV2(p=1.0).apply_transform(images, kornia_params)
    torch.testing.assert_close(ours, theirs)

    params = CutMix().sample(batch_random())
    assert params.rectangles is not None
    ours, _ = CutMix().apply(images, targets, params)
    top, left, height, width = params.rectangles[:4]
    right, bottom = left + width - 1, top + height - 1
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    boxes = torch.stack([torch.stack(corner, 1) for corner in corners], 1).float()
    kornia_params = {"mix_pairs": params.partner[None], "crop_src": boxes[None]}
    theirs = kornia.augmentation.RandomCutMixV2(p=1.0, use_correct_lambda=True).apply_transform(
        images, kornia_params
    )
    filled = (height * width) > 0
    assert filled.sum() > 2
    assert torch.equal(ours[filled], theirs[filled])


def test_erasing_matches_kornia() -> None:
    images = torch.rand(COUNT, 3, SIDE, SIDE)
    params = RandomErasing(p=1.0).sample(batch_random())
    kornia_params = {
        "widths": params.width,
        "heights": params.height,
        "xs": params.left,
        "ys": params.top,
        "values": torch.zeros(COUNT),
    }
    eraser = kornia.augmentation.RandomErasing(p=1.0)
    theirs = eraser.apply_transform(images, kornia_params, eraser.flags)
    assert torch.equal(RandomErasing().apply(images, params), theirs)


def test_normalize_matches_kornia() -> None:
    images = random_images()
    theirs = kornia.enhance.normalize(images / 255, torch.tensor(MEAN), torch.tensor(STD))
    torch.testing.assert_close(NORMALIZE(images), theirs, atol=1e-5, rtol=1e-5)


def test_normalize_round_trips_through_its_state_dict() -> None:
    stats = ChannelStats(mean=(0.50707516, 0.48654887, 0.44091784), std=(0.1, 0.7, 0.0))
    normalize = Normalize.from_stats(stats)
    loaded = Normalize(MEAN, STD)
    loaded.load_state_dict(normalize.state_dict())
    assert normalize.stats == stats
    assert torch.equal(loaded(random_images()), normalize(random_images()))


def test_normalize_is_undone_exactly() -> None:
    images = random_images()
    for normalize in (NORMALIZE, Normalize(MEAN, (0.2, 0.0, 0.3))):
        assert torch.equal(normalize.undo(normalize(images)), images)
        assert torch.equal(normalize(images), normalize(images.float()))


def test_lam_is_beta_distributed() -> None:
    lam = MixUp(alpha=0.2).sample(batch_random(count=20_000)).lam
    assert float(lam.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(lam.var()) == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.01)


def test_pipeline_applies_operations_in_the_documented_order() -> None:
    images, labels = random_images(), torch.arange(COUNT)
    operations = (
        MixUp(alpha=1.0),
        Cutout(size=4),
        ColorJitter(brightness=0.3),
        Crop(padding=2),
        Flip(),
    )
    ours, soft = Pipeline(operations, NORMALIZE, COUNT)(images, labels, batch_random(5))
    random = batch_random(5)
    crop, flip = Crop(padding=2).matrices(random), Flip().matrices(random)
    expected = resample(images, compose(crop, flip), "zero", pixel_exact=True).float() / 255
    jitter = ColorJitter(brightness=0.3)
    expected = jitter.apply(expected, jitter.sample(random))
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    expected = Cutout(size=4).apply((expected - mean) / std, Cutout(size=4).sample(random))
    mixup = MixUp(alpha=1.0)
    expected, expected_targets = mixup.apply(expected, torch.eye(COUNT), mixup.sample(random))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(soft, expected_targets)


def test_pipeline_without_operations_only_normalizes() -> None:
    images, labels = random_images(), torch.arange(COUNT)
    ours, targets = Pipeline((), NORMALIZE, COUNT)(images, labels, batch_random())
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    torch.testing.assert_close(ours, (images / 255 - mean) / std, atol=1e-5, rtol=1e-5)
    assert torch.equal(targets, torch.eye(COUNT))


@given(seed=st.integers(0, 2**31), mixing=st.sampled_from([(), (MixUp(), CutMix())]))
@settings(max_examples=15, deadline=None)
def test_equal_seeds_give_equal_batches(seed: int, mixing: tuple[MixUp | CutMix, ...]) -> None:
    operations = (Crop(padding=2), Flip(), Affine(degrees=10), RandomErasing(), *mixing)
    pipeline = Pipeline(operations, NORMALIZE, COUNT)
    images, labels = random_images(), torch.arange(COUNT)
    first, targets = pipeline(images, labels, batch_random(seed))
    again, _ = pipeline(images, labels, batch_random(seed))
    other, _ = pipeline(images, labels, batch_random(seed + 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.isfinite(first).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(COUNT))
    assert float(targets.min()) >= 0


def test_parameters_follow_schedules() -> None:
    erasing = Cutout(size=Phases(boundaries=(3,), values=(8, 6)), p=1)
    assert int(erasing.sample(batch_random(epoch=2)).height[0]) == 8
    assert int(erasing.sample(batch_random(epoch=3)).height[0]) == 6


def test_mixing_after_resizing() -> None:
    operations = (Flip(), CutMix())
    images, targets = Pipeline(operations, NORMALIZE, COUNT)(
        random_images(), torch.arange(COUNT), batch_random(), size=8
    )
    assert images.shape == (COUNT, 3, 8, 8)
    torch.testing.assert_close(targets.sum(1), torch.ones(COUNT))
    images = torch.randn(2, 3, 8, 8)
    assert resize(images, 8) is images
