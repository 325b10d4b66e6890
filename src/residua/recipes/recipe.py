"""A recipe: everything that defines a training, one frozen value."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from residua.augment import Augmentation, Mixing
from residua.augment.tta import TTA
from residua.config import Config
from residua.data import ChannelStats, Cifar100, Data
from residua.models import Architecture
from residua.optim import SAM, SGD, Optimizer, WeightAverage
from residua.optim.loss import CrossEntropy
from residua.recipes.divergence import OnDivergence, Stop
from residua.schedules import Scheduled, bounds

CompileMode = Literal["reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune"]
"""Of `torch.compile`: with CUDA graphs, with a search for the fastest kernels, with both."""
CUDA_GRAPH_MODES = ("reduce-overhead", "max-autotune")
"""Modes with CUDA graphs: each call writes its logits and gradients where the call before did."""


class EarlyStopping(Config):
    """Stop when the monitored accuracy has not risen for a while."""

    patience: PositiveInt = 15
    """Evaluations without improvement that are borne."""
    start_epoch: int = Field(default=0, ge=0)
    """The epoch from which on patience counts."""
    min_delta: float = Field(default=0.0, ge=0)
    """The rise, in percentage points, that counts as improvement."""


def _plausible_sides(size: Scheduled | None) -> None:
    if size is not None and not all(8 <= side <= 512 for side in bounds(size)):
        raise ValueError("image_size must be between 8 and 512 pixels")


class Recipe(Config):
    """Everything that defines a training.

    Every field can be overridden on the command line by its dotted path, as in
    `--optimizer.lr 0.05`; a number typed `Number` also takes a schedule.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "custom"
    """What runs and reports are called."""
    data: Data = Cifar100()
    """The images."""
    normalization: ChannelStats | None = None
    """How images are normalised; left out: with the training set's own statistics."""
    augmentation: tuple[Annotated[Augmentation, Field(discriminator="kind")], ...] = ()
    """What is done to training images, family by family in a fixed order."""
    image_size: Scheduled | None = None
    """The side in pixels that training images are resized to; left out: as they are."""
    architecture: Architecture = Architecture()
    """The network."""
    loss: CrossEntropy = CrossEntropy()
    """What is minimised."""
    optimizer: Optimizer = SGD()
    """What moves the weights."""
    sam: SAM | None = None
    """Whether steps go by the gradients where the loss nearby is worst; costs twice the time."""
    weight_average: WeightAverage | None = None
    """The average of the weights that is evaluated instead of the last ones."""
    max_grad_norm: PositiveFloat | None = None
    """The norm that the gradient of all weights together is clipped to."""
    on_divergence: OnDivergence = Stop()
    """What becomes of the training when its loss is not finite."""
    epochs: PositiveInt = Field(default=100, le=1_000_000)
    """Passes over the training set."""
    batch_size: PositiveInt = 128
    """Images a step."""
    gradient_accumulation: PositiveInt = 1
    """Parts in which a batch goes through the network, one after another, where it does not fit
    into memory at once; gradients are summed. Batch normalisation sees each part alone."""
    drop_last: bool = False
    """What becomes of an epoch's last batch when it is short."""
    seed: int = Field(default=0, ge=0)
    """Of weights, order, augmentation and dropout."""
    evaluate_every: PositiveInt = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    tta: TTA = "none"
    """What an evaluation sees: each image once; its mirror image too; both shifted by a pixel,
    too. Logits are averaged."""
    save_every: PositiveInt = 1
    """Epochs between checkpoints; the last epoch is always saved."""
    keep_checkpoints: PositiveInt = 1
    """Checkpoints kept besides the best one, and one more should the last be damaged."""
    target_accuracy: float | None = Field(default=None, gt=0, le=100)
    """The accuracy in percent whose reaching the log marks."""
    early_stopping: EarlyStopping | None = None
    """When to stop before the last epoch."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ...; auto takes the fastest there is."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of convolutions and matrix products; weights stay in float32."""
    memory_format: Literal["channels_last", "contiguous"] = "channels_last"
    """The layout of images and filters in memory."""
    compile: bool | CompileMode = False
    """Whether the network is compiled (falls back, saying so, where no compiler is found), or in
    which of torch's modes."""
    deterministic: bool = False
    """Whether only algorithms are taken that give the same bits every time; for GPUs, at some cost.
    On a CPU all are."""

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        _plausible_sides(self.image_size)
        mixes = any(isinstance(each, Mixing) for each in self.augmentation)
        if mixes and self.batch_size < 2:
            raise ValueError("mixing images needs a batch_size of at least 2")
        if self.gradient_accumulation > self.batch_size:
            raise ValueError("gradient_accumulation: a batch has no more parts than images")
        if self.gradient_accumulation > 1 and self.compile in CUDA_GRAPH_MODES:
            raise ValueError(
                f"gradient_accumulation: the CUDA graphs of compile {self.compile} write each part's "
                "gradients over those of the part before; take true or max-autotune-no-cudagraphs"
            )
        return self
