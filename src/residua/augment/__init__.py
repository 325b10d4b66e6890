"""Augmentation of whole batches on the device, and normalization."""

from residua.augment.base import BatchRandom
from residua.augment.color import ColorJitter
from residua.augment.erasing import CoarseDropout, Cutout, RandomErasing
from residua.augment.geometric import Affine, AlternatingFlip, Crop, Flip
from residua.augment.mixing import CutMix, Mixing, MixUp
from residua.augment.normalize import Normalize
from residua.augment.pipeline import Augmentation, Pipeline, resize
from residua.augment.policy import AutoAugment, RandAugment, TrivialAugment

__all__ = [
    "Affine",
    "AlternatingFlip",
    "Augmentation",
    "AutoAugment",
    "BatchRandom",
    "CoarseDropout",
    "ColorJitter",
    "Crop",
    "CutMix",
    "Cutout",
    "Flip",
    "MixUp",
    "Mixing",
    "Normalize",
    "Pipeline",
    "RandAugment",
    "RandomErasing",
    "TrivialAugment",
    "resize",
]
