"""Data sets, splits and the sampler that selects the images of each step."""

from typing import Annotated

from pydantic import Field

from residua.data.cifar import Cifar10, Cifar100
from residua.data.dataset import Dataset
from residua.data.folder import ImageFolder
from residua.data.sampler import BatchSampler
from residua.data.shapes import Shapes100
from residua.data.split import ChannelStats, Split, Splits, channel_stats, stratified_split

Data = Annotated[Cifar100 | Cifar10 | ImageFolder | Shapes100, Field(discriminator="kind")]
"""The data sets that a recipe can use."""

__all__ = [
    "BatchSampler",
    "ChannelStats",
    "Cifar10",
    "Cifar100",
    "Data",
    "Dataset",
    "ImageFolder",
    "Shapes100",
    "Split",
    "Splits",
    "channel_stats",
    "stratified_split",
]
