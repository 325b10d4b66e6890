"""RandAugment and TrivialAugment, compared with Pillow and with loops over images."""

import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from pydantic import ValidationError
from torch import Tensor

from residua.augment import (
    AutoAugment,
    BatchRandom,
    Crop,
    Flip,
    Normalize,
    Pipeline,
    RandAugment,
    TrivialAugment,
    color_ops,
)
from residua.augment.geometric import compose, resample
from residua.augment.policy import (
    CIFAR_SUB_POLICIES,
    COLOR_OPS,
    GEOMETRIC_OPS,
    NUM_SAMPLED,
    OPERATIONS,
    Policy,
    SampledAffine,
    SampledColorOps,
)
from residua.schedules import Phases, TrainingProgress

COUNT, SIDE = 8, 32


def batch_random(seed: int = 0, count: int = COUNT, epoch: int = 0) -> BatchRandom:
    generator = torch.Generator().manual_seed(seed)
    return BatchRandom(generator, torch.arange(count), SIDE, SIDE, TrainingProgress(epoch, 10, 1))


def sample_images(count: int = COUNT) -> Tensor:
    """Noise with different ranges, a gradient and a constant image."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    images[1] = images[1] // 3 + 40
    images[2] = torch.arange(SIDE, dtype=torch.uint8) * 5 + 20
    images[3] = 7
    images[4, 1] = 255
    images[5] = images[5] // 128 * 200
    return images


def to_pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def to_tensor(image: Image.Image) -> Tensor:
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, 3).permute(2, 0, 1)


FACTORS = [0.01, 0.4, 1.0, 1.3, 1.99]
ENHANCEMENTS = [
    (color_ops.brightness, ImageEnhance.Brightness),
    (color_ops.color, ImageEnhance.Color),
    (color_ops.contrast, ImageEnhance.Contrast),
    (color_ops.sharpness, ImageEnhance.Sharpness),
]
CASES = [
    *(
        (ours, factor, lambda image, factor, theirs=theirs: theirs(image).enhance(factor))
        for ours, theirs in ENHANCEMENTS
        for factor in FACTORS
    ),
    *(
        (color_ops.posterize, bits, lambda image, bits: ImageOps.posterize(image, int(bits)))
        for bits in (1, 2, 4, 7, 8)
    ),
    *((color_ops.solarize, t, ImageOps.solarize) for t in (0.0, 17.07, 128.0, 255.0, 256.0)),
    (color_ops.autocontrast, 0.0, lambda image, _: ImageOps.autocontrast(image)),
    (color_ops.equalize, 0.0, lambda image, _: ImageOps.equalize(image)),
    (color_ops.identity, 0.0, lambda image, _: image),
]
EXACT = (color_ops.posterize, color_ops.solarize, color_ops.equalize, color_ops.identity)


@pytest.mark.parametrize(("ours", "strength", "theirs"), CASES)
def test_color_operations_match_pillow(ours, strength, theirs) -> None:  # type: ignore[no-untyped-def]
    """Pillow rounds down when it blends, so results may differ by one level."""
    images = sample_images()
    strengths = torch.full((COUNT, 1, 1, 1), float(strength))
    results = (ours(images / 255, strengths) * 255).round()
    for image, result in zip(images, results, strict=True):
        expected = to_tensor(theirs(to_pillow(image), strength)).float()
        torch.testing.assert_close(result, expected, atol=0 if ours in EXACT else 1, rtol=0)


def test_each_image_has_its_own_operation_and_strength() -> None:
    count = 5 * len(COLOR_OPS)
    images = sample_images(count) / 255
    generator = torch.Generator().manual_seed(4)
    choice = torch.randint(0, len(COLOR_OPS), (count,), generator=generator)
    strength = torch.rand(count, generator=generator) * 2
    ours = color_ops.apply_color_ops(images, choice, strength, COLOR_OPS)
    for n in range(count):
        expected = COLOR_OPS[choice[n]](images[n : n + 1], strength[n].view(1, 1, 1, 1))
        torch.testing.assert_close(ours[n : n + 1], expected, atol=1e-6, rtol=0)
    unchanged = color_ops.apply_color_ops(
        images, torch.zeros(count, dtype=torch.long), strength, COLOR_OPS
    )
    assert torch.equal(unchanged, images)


@pytest.mark.parametrize("name", GEOMETRIC_OPS)
def test_geometric_operations_match_pillow(name: str) -> None:
    """Pillow shears around the corner of the first pixel, and treats edges differently."""
    policy, strength = RandAugment(), 0.6
    shear, offset, degrees = 0.3 * strength, 150 / 331 * strength * SIDE, 30 * strength
    affine = {
        "shear_x": (1, shear, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, shear, 1, 0),
        "translate_x": (1, 0, offset, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, offset),
    }
    images = sample_images()
    choice = torch.full((COUNT,), GEOMETRIC_OPS.index(name))
    matrices = policy.geometric_matrices(choice, torch.full((COUNT,), strength), batch_random())
    ours = resample(images, matrices, "zero", pixel_exact=False)
    inside = resample(torch.ones_like(images), matrices, "zero", pixel_exact=False) > 0.999
    compared = 0
    for image, result, mask in zip(images, ours, inside, strict=True):
        pillow_image, bilinear = to_pillow(image), Image.Resampling.BILINEAR
        expected = to_tensor(
            pillow_image.rotate(degrees, bilinear)
            if name == "rotate"
            else pillow_image.transform(
                (SIDE, SIDE), Image.Transform.AFFINE, affine[name], resample=bilinear
            )
        )
        both_inside = mask & (expected > 0).any(0)
        assert float((result - expected.float()).abs()[both_inside].max()) <= 1.01
        compared += int(both_inside.sum())
    assert compared > 0.4 * images.numel()
    opposite = policy.geometric_matrices(choice, torch.full((COUNT,), -strength), batch_random())
    assert not torch.allclose(opposite, matrices)


@pytest.mark.parametrize("policy", [RandAugment(num_ops=3, magnitude=20), TrivialAugment()])
def test_policy_expands_to_geometric_and_color_operations(policy: Policy) -> None:
    count = 3000
    affine, colors = policy.expand(batch_random(count=count))
    assert isinstance(affine, SampledAffine)
    assert isinstance(colors, SampledColorOps)
    slots = colors.choice.shape[1]
    assert colors.choice.shape == colors.strength.shape == (count, slots)
    identity = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    moved = ~torch.isclose(affine.sampled_matrices, identity, atol=1e-6).flatten(1).all(1)
    recolored = (colors.choice > 0).any(1)
    if slots == 1:
        assert not (moved & recolored).any()
        assert float(moved.float().mean()) == pytest.approx(5 / 14 * 30 / 31, abs=0.04)
    for index in range(1, COLOR_OPS.index(color_ops.invert)):
        frequency = float((colors.choice == index).float().mean())
        assert frequency == pytest.approx(1 / NUM_SAMPLED, abs=0.015)
    again = policy.expand(batch_random(count=count))
    assert torch.equal(again[0].sampled_matrices, affine.sampled_matrices)  # type: ignore[attr-defined]
    other = policy.expand(batch_random(1, count=count))
    assert not torch.equal(other[0].sampled_matrices, affine.sampled_matrices)  # type: ignore[attr-defined]


def test_successive_operations_match_a_loop() -> None:
    """A loop over images and operations, geometric before colour operations."""
    count, policy = 60, RandAugment(num_ops=3, magnitude=15)
    affine, colors = policy.expand(batch_random(count=count))
    assert isinstance(affine, SampledAffine)
    assert isinstance(colors, SampledColorOps)
    images = sample_images(count) / 255
    ours = colors.apply(images, colors.sample(batch_random()))
    same_random = batch_random(count=count)
    choices = (same_random.uniform(columns=3) * NUM_SAMPLED).long()
    signs = torch.where(same_random.uniform(columns=3) < 0.5, -1.0, 1.0)
    assert 0.4 < float((signs > 0).float().mean()) < 0.6
    for n in range(count):
        matrix, image = torch.eye(3), images[n : n + 1]
        for choice, sign in zip(choices[n], signs[n], strict=True):
            signed = sign[None] * 0.5
            if choice < len(GEOMETRIC_OPS):
                rows = policy.geometric_matrices(choice[None], signed, same_random)[0]
                matrix = matrix @ torch.cat([rows, torch.tensor([[0.0, 0, 1]])])
            else:
                color = choice[None] - len(GEOMETRIC_OPS)
                argument = policy.color_strengths(color, signed).view(1, 1, 1, 1)
                image = COLOR_OPS[color](image, argument)
        torch.testing.assert_close(affine.sampled_matrices[n], matrix[:2], atol=1e-4, rtol=0)
        torch.testing.assert_close(ours[n : n + 1], image, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "policy", [RandAugment(magnitude=20), TrivialAugment(), AutoAugment()], ids=str
)
def test_both_ways_to_apply_operations_are_equal(policy: Policy) -> None:
    """A CPU applies each operation to the images it was chosen for, a GPU to all."""
    images = sample_images(64).float() / 255
    _, colors = policy.expand(batch_random(3, 64))
    assert isinstance(colors, SampledColorOps)
    assert len(colors.choice.unique()) >= len(COLOR_OPS) - 1
    strength = colors.strength[:, 0, None, None, None]
    arguments = (images, colors.choice[:, 0], strength, COLOR_OPS)
    expected = color_ops.apply_to_chosen(*arguments)
    assert torch.equal(color_ops.apply_to_all(*arguments), expected)


def test_magnitude_ranges_are_those_of_the_papers() -> None:
    choice = torch.arange(len(COLOR_OPS))
    names = [operation.__name__ for operation in COLOR_OPS]
    for policy, factor, bits in ((RandAugment(), 1.9, 4), (TrivialAugment(), 1.99, 2)):
        highest = policy.color_strengths(choice, torch.ones(len(choice)))
        lowest = policy.color_strengths(choice, -torch.ones(len(choice)))
        zero = policy.color_strengths(choice, torch.zeros(len(choice)))
        for name in ("brightness", "color", "contrast", "sharpness"):
            assert float(highest[names.index(name)]) == pytest.approx(factor)
            assert float(lowest[names.index(name)]) == pytest.approx(2 - factor, abs=1e-6)
            assert float(zero[names.index(name)]) == 1
        assert highest[names.index("posterize")] == lowest[names.index("posterize")] == bits
        assert zero[names.index("posterize")] == 8
        assert (highest[names.index("solarize")], zero[names.index("solarize")]) == (0, 256)
    magnitudes = (TrivialAugment().sample_strengths(batch_random(count=2000)) * 30).round().long()
    assert magnitudes.unique().tolist() == list(range(31))


def test_magnitude_follows_its_schedule_and_is_limited() -> None:
    policy = RandAugment(magnitude=Phases(boundaries=(3,), values=(0, 15)))
    assert float(policy.sample_strengths(batch_random(epoch=2)).max()) == 0
    assert float(policy.sample_strengths(batch_random(epoch=3)).min()) == 0.5
    with pytest.raises(ValidationError, match="between 0 and 30"):
        RandAugment(magnitude=31)


def test_policy_shares_the_single_resampling_of_the_pipeline() -> None:
    images, labels = sample_images(), torch.arange(COUNT)
    policy, normalize = RandAugment(magnitude=25), Normalize((0.5,) * 3, (0.25,) * 3)
    operations = (Crop(padding=4), policy, Flip())
    ours, _ = Pipeline(operations, normalize, COUNT)(images, labels, batch_random(7))
    random = batch_random(7)
    affine, colors = policy.expand(random)
    assert isinstance(affine, SampledAffine)
    assert isinstance(colors, SampledColorOps)
    crop, flip = Crop(padding=4).matrices(random), Flip().matrices(random)
    matrices = compose(compose(crop, affine.sampled_matrices), flip)
    resampled = resample(images, matrices, "zero", pixel_exact=False) / 255
    expected = normalize(colors.apply(resampled, colors.sample(random)) * 255)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    assert not torch.allclose(ours, normalize(resampled * 255), atol=0.1)


def test_policies_round_trip_through_json() -> None:
    from residua.recipes.recipe import Recipe

    recipe = Recipe(augmentation=(RandAugment(num_ops=1), TrivialAugment(mode="reflect")))
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_auto_augment_samples_the_published_sub_policies() -> None:
    """Each pair of operations has the frequency that its probabilities give."""
    count = 40_000
    choice, strengths = AutoAugment().sample_operations(batch_random(count=count))
    assert len(CIFAR_SUB_POLICIES) == 25
    identity = OPERATIONS.index("identity")
    expected: dict[tuple[int, int], float] = {}
    for (first, p, _), (second, q, _) in CIFAR_SUB_POLICIES:
        pair = OPERATIONS.index(first), OPERATIONS.index(second)
        for a, b, probability in (
            (pair[0], pair[1], p * q),
            (pair[0], identity, p * (1 - q)),
            (identity, pair[1], (1 - p) * q),
            (identity, identity, (1 - p) * (1 - q)),
        ):
            expected[a, b] = expected.get((a, b), 0) + probability / 25
    for (a, b), probability in expected.items():
        share = float(((choice[:, 0] == a) & (choice[:, 1] == b)).float().mean())
        assert share == pytest.approx(probability, abs=0.006), (OPERATIONS[a], OPERATIONS[b])
    for name, magnitudes in (("rotate", {2}), ("shear_y", {7, 8}), ("posterize", {7})):
        chosen = strengths[choice == OPERATIONS.index(name)]
        assert set((chosen * 9).round().long().tolist()) == magnitudes


def test_auto_augment_equals_pillow() -> None:
    """The colour operations of a sub-policy, with torchvision's arguments."""
    policy = AutoAugment()
    images = sample_images() / 255
    posterize, solarize = (
        COLOR_OPS.index(getattr(color_ops, name)) for name in ("posterize", "solarize")
    )
    bits = policy.color_strengths(torch.tensor([posterize]), torch.tensor([7 / 9]))
    assert bits.item() == 5
    threshold = policy.color_strengths(torch.tensor([solarize]), torch.tensor([2 / 9]))
    assert threshold.item() == pytest.approx(256 * 7 / 9)
    inverted = color_ops.invert(images, torch.zeros(COUNT, 1, 1, 1))
    expected = to_tensor(ImageOps.invert(to_pillow(sample_images()[0])))
    assert torch.equal((inverted[0] * 255).round().to(torch.uint8), expected)
