"""A trained network in use: predictions and figures, from a run or its model files."""

from importlib import import_module
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from residua.augment.tta import TTA
from residua.data import Data, Split
from residua.devices import select_device
from residua.errors import UserError
from residua.inference.evaluation import (
    MEMORY_FORMATS,
    Evaluation,
    batch_logits,
    eval_mode,
    evaluate_split,
)
from residua.inference.predictor import Predictor
from residua.inference.sources import ONNX_MODULE, read_model
from residua.models.network import NormalizedNetwork
from residua.recipes.recipe import Recipe
from residua.runs.model_file import ModelInfo, Which
from residua.runs.records import SplitName
from residua.runs.run import Run


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

    def probabilities(self, images: Tensor, tta: TTA | None = None) -> Tensor:
        """The probabilities (N, K) float32, on the CPU, of uint8 (N, 3, size, size).

        Args:
            images: of the size that the network was evaluated on.
            tta: the test-time augmentation; None uses the recipe's.
        """
        with torch.inference_mode():
            logits = batch_logits(
                self.network.network,
                images.to(self.device),
                self.network.normalize,
                self.recipe.precision,
                self.info.tta if tta is None else tta,
                MEMORY_FORMATS[self.recipe.memory_format],
            )
            return logits.softmax(1).cpu()

    def evaluate(self, split: Split, tta: TTA | None = None) -> Evaluation:
        """Evaluate the network on a split, exactly as its training did.

        Args:
            split: the images.
            tta: the test-time augmentation; None uses the recipe's.

        Raises:
            UserError: the split has other classes than the network.
        """
        if split.classes != self.classes:
            raise UserError("the images have other classes than those the network was trained on")
        with eval_mode(self.network):
            return evaluate_split(
                self.network.network,
                split.to(self.device),
                self.network.normalize,
                self.recipe.precision,
                self.info.tta if tta is None else tta,
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
        UserError: no model, missing or damaged data, no such split, other classes.
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
    return images
