"""A trained network in use: predictions and figures, from a run or its model files."""

import copy
from importlib import import_module
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from residua.augment.tta import TTA
from residua.data import Data, Split
from residua.data.decoding import Preparation
from residua.devices import select_device
from residua.errors import UserError
from residua.inference.evaluation import (
    MEMORY_FORMATS,
    Evaluation,
    batch_logits,
    collect_outputs,
    compute_logits,
    eval_mode,
    evaluate_split,
)
from residua.inference.predictor import Predictor
from residua.inference.sources import ONNX_MODULE, read_model
from residua.models.layers import set_progress
from residua.models.network import NormalizedNetwork
from residua.recipes.recipe import Recipe
from residua.runs.evaluations import Outputs
from residua.runs.model_file import ModelInfo, Which
from residua.runs.records import SplitName
from residua.runs.run import Run
from residua.schedules import TrainingProgress
from residua.seeding import derive_seed


class Classifier(Predictor):
    """A trained network in evaluation mode, with everything that using it needs.

    Args:
        network: from uint8 (N, 3, H, W) to logits.
        info: the description of the network.
        device: where it runs.
    """

    def __init__(self, network: NormalizedNetwork, info: ModelInfo, device: torch.device) -> None:
        self.info, self.device = info, device
        memory_format = MEMORY_FORMATS[info.recipe.memory_format]
        self.network: NormalizedNetwork = network.to(device).eval()
        self.network.to(memory_format=memory_format)  # type: ignore[call-overload]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class of each logit."""
        return self.info.classes

    @property
    def recipe(self) -> Recipe:
        """The recipe that the network was trained by."""
        return self.info.recipe

    @property
    def image_size(self) -> int:
        """The side, in pixels, of the images that the network was evaluated on."""
        return self.info.image_size[0]

    @property
    def preparation(self) -> Preparation:
        """How images become those that the network takes: as in its training."""
        return self.recipe.data.prepare(self.image_size)

    def probabilities(self, images: Tensor, tta: TTA | None = None) -> Tensor:
        """The probabilities (N, K) float32, on the CPU, of uint8 (N, channels, size, size).

        Args:
            images: of the size that the network was evaluated on.
            tta: the test-time augmentation; None uses the recipe's.
        """
        with torch.inference_mode():
            logits = self._logits(images.to(self.device), self.info.tta if tta is None else tta)
            return logits.softmax(1).cpu()

    def classify(self, images: Tensor, tta: TTA = "none") -> Tensor:
        """The most probable class of each image.

        Args:
            images: uint8 (N, 3, H, W).
            tta: the test-time augmentation.

        Returns:
            (N,) int64, on the classifier's device.
        """
        with eval_mode(self.network):
            return self._logits(images.to(self.device), tta).argmax(1)

    def evaluate(self, split: Split, tta: TTA | None = None) -> Evaluation:
        """Evaluate the network on a split, exactly as its training did.

        Args:
            split: the images.
            tta: the test-time augmentation; None uses the recipe's.

        Raises:
            UserError: the split has other classes than the network.
        """
        self._check_classes(split)
        with eval_mode(self.network):
            return evaluate_split(
                self.network.network,
                split.to(self.device),
                self.network.normalize,
                self.recipe.precision,
                self.info.tta if tta is None else tta,
                MEMORY_FORMATS[self.recipe.memory_format],
            )

    def outputs(self, split: Split, tta: TTA | None = None) -> Outputs:
        """The logits of a split: of each image once, and averaged over test-time augmentation.

        One pass gives both. `residua.inference.metrics.figures` takes them.

        Args:
            split: the images.
            tta: the test-time augmentation; None uses the recipe's.

        Raises:
            UserError: the split has other classes than the network.
        """
        self._check_classes(split)
        with eval_mode(self.network):
            return collect_outputs(
                self.network.network,
                split.to(self.device),
                self.network.normalize,
                self.recipe.precision,
                self.info.tta if tta is None else tta,
                MEMORY_FORMATS[self.recipe.memory_format],
            )

    def outputs_in_training_mode(
        self, split: Split, seed: int = 0, batch_size: int | None = None
    ) -> Outputs:
        """The logits of a network that is never switched to evaluation mode.

        Batch normalization uses the statistics of each batch, so an image's logits depend on the
        others of its batch, and dropout is active at the rate of the network's epoch. Some
        published figures were measured so, those of `resnet26w` among them. The classifier itself
        does not change.

        Args:
            split: the images, taken in their order.
            seed: of dropout.
            batch_size: images whose statistics are used together; None uses the recipe's.

        Raises:
            UserError: the split has other classes, or a batch is too small to have statistics.
        """
        self._check_classes(split)
        network = copy.deepcopy(self.network.network).train()
        steps_per_epoch = max(1, self.info.step // self.info.epoch)
        total = steps_per_epoch * self.recipe.epochs
        set_progress(network, TrainingProgress(self.info.step, total, steps_per_epoch))
        batch_size = batch_size or self.recipe.batch_size
        logits = []
        with torch.inference_mode(), torch.random.fork_rng():
            for start in range(0, len(split), batch_size):
                torch.manual_seed(derive_seed(seed, "training mode", start))
                images = split.images[start : start + batch_size].to(self.device)
                try:
                    batch = compute_logits(
                        network,
                        self.network.normalize(images),
                        self.recipe.precision,
                        "none",
                        MEMORY_FORMATS[self.recipe.memory_format],
                    )
                except ValueError as error:  # Torch's, for a batch of one value a channel.
                    raise UserError(f"batch statistics of {len(images)} images: {error}") from None
                logits.append(batch.float().cpu())
        return Outputs(split.labels.cpu(), torch.cat(logits))

    def _check_classes(self, split: Split) -> None:
        if split.classes != self.classes:
            raise UserError("the images have other classes than those the network was trained on")

    def _logits(self, images: Tensor, tta: TTA) -> Tensor:
        return batch_logits(
            self.network.network,
            images,
            self.network.normalize,
            self.recipe.precision,
            tta,
            MEMORY_FORMATS[self.recipe.memory_format],
        )


def load(source: Path | str | Run, which: Which = "best", device: str = "auto") -> Classifier:
    """Load a trained network, without its data set and without an optimiser.

    Args:
        source: a run, or what `residua.inference.sources.read_model` takes: the directory of a run
            (also `RUN:last`), an exported .safetensors file, the name of a pretrained network
            (`pocket`), or `hub:user/name`.
        which: the network of the best or of the last epoch, where the source is a run.
        device: auto, cpu, cuda ...

    Raises:
        UserError: there is no model, or it is damaged; there is no such device.
    """
    network, info = read_model(source.path if isinstance(source, Run) else source, which)
    return Classifier(network, info, select_device(device))


def load_predictor(
    source: Path | str | Run, which: Which = "best", device: str = "auto"
) -> Predictor:
    """Load what `load` takes, or an .onnx file of `residua export`, to predict with.

    Raises:
        UserError: see `load`; an .onnx file needs the extra `onnx`.
    """
    if not isinstance(source, Run) and Path(source).suffix == ".onnx" and Path(source).is_file():
        predictor: Predictor = import_module(ONNX_MODULE).load_onnx(Path(source))
        return predictor
    return load(source, which, device)


def _check_same_images(info: ModelInfo, name: SplitName, images: Split) -> None:
    """Check that the recipe's data set still has the images of the training.

    Raises:
        UserError: they have changed, so that images of the training may be among them.
    """
    known = info.splits.get(name)
    if known is not None and known.sha256 not in ("", images.checksum):
        raise UserError(
            f"the {name} images have changed since the training: {known.images:,} then, "
            f"{len(images):,} now; give the images to evaluate on as a data set of their own"
        )


def evaluate(
    model: Classifier | Run | Path | str,
    data: Split | Data | None = None,
    split: SplitName = "test",
    *,
    which: Which = "best",
    tta: TTA | None = None,
    device: Literal["auto"] | str = "auto",
) -> Evaluation:
    """Evaluate a trained network on a split.

    Args:
        model: a classifier, or what `load` takes.
        data: the images: a split, or a data set of which `split` is taken; None uses the data set
            of the recipe, with its holdout.
        split: which split of a data set.
        which: the network of the best or of the last epoch, where `model` is a run.
        tta: the test-time augmentation; None uses the recipe's.
        device: where to evaluate, where `model` is a run.

    Raises:
        UserError: no model, missing or damaged data, no such split, other classes, or images that
            have changed since the training.
    """
    classifier = model if isinstance(model, Classifier) else load(model, which, device)
    if isinstance(data, Split):
        return classifier.evaluate(data, tta)
    return classifier.evaluate(load_split(classifier, split, data), tta)


def load_split(model: Classifier, split: SplitName, data: Data | None = None) -> Split:
    """Load the images of a split.

    Args:
        model: whose recipe has the data set, and the seed that splits it.
        split: which one.
        data: another data set.

    Raises:
        UserError: missing or damaged data, no such split.
    """
    dataset = model.recipe.data if data is None else data
    images: Split | None = getattr(dataset.load(model.recipe.seed), split)
    if images is None:
        raise UserError("there is no holdout: the recipe's data.holdout is 0")
    if data is None:
        _check_same_images(model.info, split, images)
    return images
