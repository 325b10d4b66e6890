"""The answers of a network for images: at once, or as a stream."""

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from residua.augment.tta import TTA
from residua.data.decoding import Preparation
from residua.errors import UserError
from residua.inference.evaluation import EVAL_BATCH_SIZE
from residua.inference.images import (
    ImageLike,
    Images,
    UnreadableImage,
    each_image,
    read_pixels,
    to_pixels,
)

Pixels = Tensor | UnreadableImage
"""uint8 (channels, size, size), or why there is none."""


@dataclass(frozen=True)
class ClassProbabilities:
    """The probability of each class for each image."""

    probabilities: Tensor
    """(N, K) float32, on the CPU; each row sums to 1."""
    classes: tuple[str, ...]

    @property
    def labels(self) -> list[str]:
        """The most probable class of each image."""
        return [self.classes[index] for index in self.probabilities.argmax(1).tolist()]

    def top(self, k: int = 5) -> list[list[tuple[str, float]]]:
        """The k most probable classes of each image, with their probabilities.

        There are never more than there are classes.
        """
        best = self.probabilities.topk(min(k, len(self.classes)), dim=1)
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [
            [(self.classes[index], p) for index, p in zip(indices, values, strict=True)]
            for indices, values in rows
        ]


class Predictor(ABC):
    """What answers for images: a network, or an exported file.

    Several threads may use one predictor at the same time. They get the answers that they would get
    one after another. (A PIL image that is not loaded yet must not be shared by threads.)
    """

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The class of each probability."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """The side, in pixels, that images are resized to."""

    @property
    def preparation(self) -> Preparation:
        """How images become those that the network takes: as in its training."""
        return Preparation(self.image_size)

    @abstractmethod
    def probabilities(self, images: Tensor, tta: TTA | None = None) -> Tensor:
        """The probabilities (N, K) float32, on the CPU, of uint8 (N, channels, size, size).

        Args:
            images: of the size that the network was evaluated on.
            tta: the test-time augmentation; None uses that of the model.
        """

    def predict(self, images: Images, tta: TTA | None = None) -> ClassProbabilities:
        """Classify one image or several.

        Images of another size than the network's are resized as those of its training, by Pillow's
        antialiased bicubic filter; without another `data.fit`, the centre is cropped to a square.

        The answers for the images of a split, in its order, are those of `evaluate` bit for bit. In
        another grouping the arithmetic is the same, but the last bits may be rounded differently.

        Args:
            images: see `ImageLike` and `Images`.
            tta: the test-time augmentation; None uses that of the model.

        Raises:
            UserError: a file cannot be read as an image.
            ValueError: an array or a tensor has another type, shape or range.
        """
        rows = []
        for batch in self._batches(images, EVAL_BATCH_SIZE):
            if unreadable := next((x for x in batch if isinstance(x, UnreadableImage)), None):
                raise UserError(str(unreadable))
            rows.append(self.probabilities(_stacked(batch), tta))
        empty = torch.empty(0, len(self.classes))
        return ClassProbabilities(torch.cat([empty, *rows]), self.classes)

    def predict_stream(
        self, images: Images, tta: TTA | None = None, batch_size: int = EVAL_BATCH_SIZE
    ) -> Iterator[ClassProbabilities | UnreadableImage]:
        """Classify any number of images without holding them all.

        Files are decoded by several threads while the network runs.

        Args:
            images: see `ImageLike` and `Images`; an iterator is read a few batches ahead.
            tta: the test-time augmentation; None uses that of the model.
            batch_size: the images that are classified at once.

        Yields:
            The answer for each image, in order: its probabilities (1, K), or why a file has none.

        Raises:
            ValueError: an array or a tensor has another type, shape or range.
        """
        for batch in self._batches(images, batch_size):
            readable = [pixels for pixels in batch if isinstance(pixels, Tensor)]
            rows = iter(self.probabilities(_stacked(readable), tta) if readable else ())
            for pixels in batch:
                if isinstance(pixels, UnreadableImage):
                    yield pixels
                else:
                    yield ClassProbabilities(next(rows)[None], self.classes)

    def _batches(self, images: Images, batch_size: int) -> Iterator[list[Pixels]]:
        """Converted images; those of the next batch are read meanwhile."""
        if isinstance(images, Tensor) and self._is_prepared(images):
            yield from (list(part) for part in torch.split(images.cpu(), batch_size))
            return
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            rest = iter(each_image(images))
            try:
                current = self._submit(pool, rest, batch_size)
                while current:
                    following = self._submit(pool, rest, batch_size)
                    yield [each.result() for each in current]
                    current = following
            finally:
                pool.shutdown(cancel_futures=True)

    def _is_prepared(self, images: Tensor) -> bool:
        how = self.preparation
        shape = (how.channels, how.size, how.size)
        return images.dtype == torch.uint8 and images.ndim == 4 and images.shape[1:] == shape

    def _submit(
        self, pool: ThreadPoolExecutor, images: Iterator[ImageLike], count: int
    ) -> list["Future[Pixels]"]:
        return [self._submit_one(pool, image) for image in itertools.islice(images, count)]

    def _submit_one(self, pool: ThreadPoolExecutor, image: ImageLike) -> "Future[Pixels]":
        if isinstance(image, Path | str):
            return pool.submit(read_pixels, image, self.preparation)
        # Here, since another item may be the same PIL image, which only one thread may load.
        future: Future[Pixels] = Future()
        future.set_result(to_pixels(image, self.preparation))
        return future


def _stacked(batch: Iterable[Pixels]) -> Tensor:
    return torch.stack([pixels for pixels in batch if isinstance(pixels, Tensor)])
