"""RandAugment and TrivialAugment: each operation against Pillow, the draws against loops."""

import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from pydantic import ValidationError
from torch import Tensor

from residua.augment import (
    BatchRandom,
    Crop,
    Flip,
    Normalization,
    Pipeline,
    RandAugment,
    TrivialAugment,
    enhance,
)
from residua.augment.geometric import compose, resample
from residua.augment.policy import (
    COLOR_OPS,
    GEOMETRIC_OPS,
    OPERATIONS,
    Policy,
    SampledAffine,
    SampledColorOps,
)
from residua.schedules import Phases, TrainingProgress

COUNT, SIDE = 8, 32
GREY = 1 / 255


def drawing(seed: int = 0, count: int = COUNT, epoch: int = 0) -> BatchRandom:
    generator = torch.Generator().manual_seed(seed)
    return BatchRandom(generator, torch.arange(count), SIDE, SIDE, TrainingProgress(epoch, 10, 1))


def pictures(count: int = COUNT) -> Tensor:
    """Noise of different ranges, a gradient, and two flat images."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    images[1] = images[1] // 3 + 40
    images[2] = torch.arange(SIDE, dtype=torch.uint8) * 5 + 20
    images[3] = 7
    images[4, 1] = 255
    images[5] = images[5] // 128 * 200
    return images


def pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def tensor(image: Image.Image) -> Tensor:
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, 3).permute(2, 0, 1)


FACTORS = [0.01, 0.4, 1.0, 1.3, 1.99]
CASES = [
    *((enhance.brightness, f, lambda i, f: ImageEnhance.Brightness(i).enhance(f)) for f in FACTORS),
    *((enhance.color, f, lambda i, f: ImageEnhance.Color(i).enhance(f)) for f in FACTORS),
    *((enhance.contrast, f, lambda i, f: ImageEnhance.Contrast(i).enhance(f)) for f in FACTORS),
    *((enhance.sharpness, f, lambda i, f: ImageEnhance.Sharpness(i).enhance(f)) for f in FACTORS),
    *((enhance.posterize, b, lambda i, b: ImageOps.posterize(i, int(b))) for b in (1, 2, 4, 7, 8)),
    *((enhance.solarize, t, ImageOps.solarize) for t in (0.0, 17.07, 128.0, 255.0, 256.0)),
    (enhance.autocontrast, 0.0, lambda i, _: ImageOps.autocontrast(i)),
    (enhance.equalize, 0.0, lambda i, _: ImageOps.equalize(i)),
    (enhance.unchanged, 0.0, lambda i, _: i),
]  # fmt: skip
EXACT = (enhance.posterize, enhance.solarize, enhance.equalize, enhance.unchanged)


@pytest.mark.parametrize(("ours", "strength", "theirs"), CASES)
def test_colour_operations_equal_pillow(ours, strength, theirs) -> None:  # type: ignore[no-untyped-def]
    """Pillow rounds down where it blends, so that a grey level is what may lie between."""
    images = pictures()
    strengths = torch.full((COUNT, 1, 1, 1), float(strength))
    changed = (ours(images / 255, strengths) * 255).round()
    for image, mine in zip(images, changed, strict=True):
        wanted = tensor(theirs(pillow(image), strength)).float()
        torch.testing.assert_close(mine, wanted, atol=0 if ours in EXACT else 1, rtol=0)


def test_every_image_gets_its_own_operation_and_strength() -> None:
    count = 5 * len(COLOR_OPS)
    images = pictures(count) / 255
    generator = torch.Generator().manual_seed(4)
    choice = torch.randint(0, len(COLOR_OPS), (count,), generator=generator)
    strength = torch.rand(count, generator=generator) * 2
    ours = enhance.apply_color_ops(images, choice, strength, COLOR_OPS)
    for n in range(count):
        exclusive_lock = COLOR_OPS[choice[n]](images[n : n + 1], strength[n].view(1, 1, 1, 1))
        torch.testing.assert_close(ours[n : n + 1], exclusive_lock, atol=1e-6, rtol=0)
    same = enhance.apply_color_ops(
        images, torch.zeros(count, dtype=torch.long), strength, COLOR_OPS
    )
    assert torch.equal(same, images)


@pytest.mark.parametrize("move", GEOMETRIC_OPS)
def test_moves_equal_pillow(move: str) -> None:
    """Pillow's corner is the corner of a pixel, ours its middle; its edges are read otherwise."""
    policy, strength = RandAugment(), 0.6
    shear, share, degrees = 0.3 * strength, 150 / 331 * strength * SIDE, 30 * strength
    affine = {
        "shear_x": (1, shear, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, shear, 1, 0),
        "translate_x": (1, 0, share, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, share),
    }
    images = pictures()
    choice = torch.full((COUNT,), GEOMETRIC_OPS.index(move))
    matrices = policy.moves(choice, torch.full((COUNT,), strength), drawing())
    ours = resample(images, matrices, "zero", pixel_exact=False)
    inside = resample(torch.ones_like(images), matrices, "zero", pixel_exact=False) > 0.999
    compared = 0
    for image, mine, shown in zip(images, ours, inside, strict=True):
        picture, bilinear = pillow(image), Image.Resampling.BILINEAR
        wanted = (
            picture.rotate(degrees, bilinear)
            if move == "rotate"
            else picture.transform(
                (SIDE, SIDE), Image.Transform.AFFINE, affine[move], resample=bilinear
            )
        )
        there = shown & (tensor(wanted) > 0).any(0)
        difference = (mine - tensor(wanted).float()).abs()[there]
        assert float(difference.max()) <= 1.01
        compared += int(there.sum())
    assert compared > 0.4 * images.numel()
    away = policy.moves(choice, torch.full((COUNT,), -strength), drawing())
    assert not torch.allclose(away, matrices)


@pytest.mark.parametrize("policy", [RandAugment(number=3, magnitude=20), TrivialAugment()])
def test_one_draw_makes_the_moves_and_the_colours(policy: Policy) -> None:
    count = 3000
    moved, apply_color_ops = policy.parts(drawing(count=count))
    assert isinstance(moved, SampledAffine)
    assert isinstance(apply_color_ops, SampledColorOps)
    slots = apply_color_ops.choice.shape[1]
    assert apply_color_ops.choice.shape == apply_color_ops.strength.shape == (count, slots)
    still = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    moves = ~torch.isclose(moved.matrices_drawn, still, atol=1e-6).flatten(1).all(1)
    colors = (apply_color_ops.choice > 0).any(1)
    if slots == 1:
        assert not (moves & colors).any()
        assert float(moves.float().mean()) == pytest.approx(5 / 14 * 30 / 31, abs=0.04)
    for place in range(1, len(COLOR_OPS)):
        share = float((apply_color_ops.choice == place).float().mean())
        assert share == pytest.approx(1 / len(OPERATIONS), abs=0.015)
    again = policy.parts(drawing(count=count))
    assert torch.equal(again[0].matrices_drawn, moved.matrices_drawn)  # type: ignore[attr-defined]
    other = policy.parts(drawing(1, count=count))
    assert not torch.equal(other[0].matrices_drawn, moved.matrices_drawn)  # type: ignore[attr-defined]


def test_operations_in_turn_equal_a_loop() -> None:
    """The same draws, one image and one operation at a time; moves before colours."""
    count, policy = 60, RandAugment(number=3, magnitude=15)
    moved, apply_color_ops = policy.parts(drawing(count=count))
    assert isinstance(moved, SampledAffine)
    assert isinstance(apply_color_ops, SampledColorOps)
    images = pictures(count) / 255
    ours = apply_color_ops.apply(images, apply_color_ops.draw(drawing()))
    replay = drawing(count=count)
    choices = (replay.uniform(columns=3) * len(OPERATIONS)).long()
    signs = torch.where(replay.uniform(columns=3) < 0.5, -1.0, 1.0)
    assert 0.4 < float((signs > 0).float().mean()) < 0.6
    for n in range(count):
        matrix, image = torch.eye(3), images[n : n + 1]
        for choice, sign in zip(choices[n], signs[n], strict=True):
            signed = sign[None] * 0.5
            if choice < len(GEOMETRIC_OPS):
                rows = policy.moves(choice[None], signed, replay)[0]
                matrix = matrix @ torch.cat([rows, torch.tensor([[0.0, 0, 1]])])
            else:
                color = choice[None] - len(GEOMETRIC_OPS)
                amount = policy.amounts(color, signed).view(1, 1, 1, 1)
                image = COLOR_OPS[color](image, amount)
        torch.testing.assert_close(moved.matrices_drawn[n], matrix[:2], atol=1e-4, rtol=0)
        torch.testing.assert_close(ours[n : n + 1], image, atol=1e-6, rtol=0)


def test_strengths_are_those_of_the_papers() -> None:
    choice = torch.arange(len(COLOR_OPS))
    names = [operation.__name__ for operation in COLOR_OPS]
    for policy, factor, bits in ((RandAugment(), 1.9, 4), (TrivialAugment(), 1.99, 2)):
        most = policy.amounts(choice, torch.ones(len(choice)))
        least = policy.amounts(choice, -torch.ones(len(choice)))
        nothing = policy.amounts(choice, torch.zeros(len(choice)))
        for name in ("brightness", "color", "contrast", "sharpness"):
            assert float(most[names.index(name)]) == pytest.approx(factor)
            assert float(least[names.index(name)]) == pytest.approx(2 - factor, abs=1e-6)
            assert float(nothing[names.index(name)]) == 1
        assert most[names.index("posterize")] == least[names.index("posterize")] == bits
        assert nothing[names.index("posterize")] == 8
        assert (most[names.index("solarize")], nothing[names.index("solarize")]) == (0, 256)
    magnitudes = (TrivialAugment().strengths(drawing(count=2000)) * 30).round().long()
    assert magnitudes.unique().tolist() == list(range(31))


def test_a_magnitude_follows_its_schedule_and_has_a_top() -> None:
    policy = RandAugment(magnitude=Phases(boundaries=(3,), values=(0, 15)))
    assert float(policy.strengths(drawing(epoch=2)).max()) == 0
    assert float(policy.strengths(drawing(epoch=3)).min()) == 0.5
    with pytest.raises(ValidationError, match="between 0 and 30"):
        RandAugment(magnitude=31)


def test_moves_join_the_single_reading_and_colours_follow_it() -> None:
    images, labels = pictures(), torch.arange(COUNT)
    policy, normalization = RandAugment(magnitude=25), Normalization((0.5,) * 3, (0.25,) * 3)
    operations = (Crop(padding=4), policy, Flip())
    ours, _ = Pipeline(operations, normalization, COUNT)(images, labels, drawing(7))
    draw = drawing(7)
    moved, apply_color_ops = policy.parts(draw)
    assert isinstance(moved, SampledAffine)
    assert isinstance(apply_color_ops, SampledColorOps)
    crop, flip = Crop(padding=4).matrices(draw), Flip().matrices(draw)
    matrices = compose(compose(crop, moved.matrices_drawn), flip)
    read = resample(images, matrices, "zero", pixel_exact=False) / 255
    wanted = normalization(apply_color_ops.apply(read, apply_color_ops.draw(draw)) * 255)
    torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=0)
    assert not torch.allclose(ours, normalization(read * 255), atol=0.1)


def test_policies_survive_json_by_their_kind() -> None:
    from residua.recipes.recipe import Recipe

    recipe = Recipe(augmentation=(RandAugment(number=1), TrivialAugment(mode="reflect")))
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
