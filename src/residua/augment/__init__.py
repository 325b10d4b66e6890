"""Augmentation: batched, seeded, on the device, with no loop over samples."""

from residua.augment.colour import ColorJitter
from residua.augment.erasing import CoarseDropout, Cutout, RandomErasing
from residua.augment.geometric import Affine, AlternatingFlip, Crop, Flip
from residua.augment.mixing import CutMix, Mixing, MixUp
from residua.augment.operation import Draw
from residua.augment.pipeline import Augmentation, Normalisation, Pipeline, resize
from residua.augment.policy import RandAugment, TrivialAugment

__all__ = [
    "Affine",
    "AlternatingFlip",
    "Augmentation",
    "CoarseDropout",
    "ColorJitter",
    "Crop",
    "CutMix",
    "Cutout",
    "Draw",
    "Flip",
    "MixUp",
    "Mixing",
    "Normalisation",
    "Pipeline",
    "RandAugment",
    "RandomErasing",
    "TrivialAugment",
    "resize",
]
