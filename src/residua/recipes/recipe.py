"""A recipe: everything that defines a training, one frozen value."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from residua.augment import Augmentation, Mixing
from residua.augment.tta import TTA
from residua.config import Config
from residua.data import ChannelStats, Cifar100, Data
from residua.models import Architecture
from residua.optim import SAM, SGD, SWA, CrossEntropy, Optimizer, WeightAverage
from residua.recipes.divergence import OnDivergence, Stop
from residua.recipes.init import InitField
from residua.recipes.publish import Publish
from residua.schedules import Scheduled, bounds

CompileMode = Literal["reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune"]
"""Of `torch.compile`: with CUDA graphs, with a search for the fastest kernels, with both."""
CUDA_GRAPH_MODES = ("reduce-overhead", "max-autotune")
"""Modes in which each call writes its logits and gradients to the memory of the call before."""
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 8, 512


class EarlyStopping(Config):
    """Stop when the accuracy on the selection split has not improved for a while."""

    patience: PositiveInt = 15
    """Evaluations without improvement before the training stops."""
    start_epoch: int = Field(default=0, ge=0)
    """Evaluations up to this epoch are not counted."""
    min_delta: float = Field(default=0.0, ge=0)
    """The increase, in percentage points, that counts as an improvement."""


class Extension(Config):
    """A number of epochs that a training was planned for until it was extended."""

    step: int = Field(ge=0)
    """The optimiser steps taken when it was extended."""
    epochs: PositiveInt
    """The number of epochs that the schedules of these steps followed."""


class Recipe(Config):
    """Everything that defines a training.

    Every field can be overridden on the command line by its dotted path, as in
    `--optimizer.lr 0.05`; a number of type `Scheduled` also takes a schedule.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "custom"
    """The name of runs and reports."""
    data: Data = Cifar100()
    """The data set."""
    normalization: ChannelStats | None = None
    """The mean and deviation to normalize images with; None: those of the training set."""
    augmentation: tuple[Annotated[Augmentation, Field(discriminator="kind")], ...] = ()
    """The operations on training images; the families are applied in a fixed order."""
    image_size: Scheduled | None = None
    """The side in pixels that training images are resized to; None: not resized."""
    architecture: Architecture = Architecture()
    """The network."""
    init: InitField = None
    """The trained network whose weights the training starts from; None: random weights."""
    loss: CrossEntropy = CrossEntropy()
    """The loss, with class weights and label smoothing."""
    optimizer: Optimizer = SGD()
    """The optimiser, with its learning rate."""
    sam: SAM | None = None
    """Sharpness-aware minimization; each step takes twice the time."""
    weight_average: WeightAverage | None = None
    """The average of the weights that is evaluated instead of the last weights."""
    max_grad_norm: PositiveFloat | None = None
    """The norm that the gradient of all weights together is clipped to."""
    on_divergence: OnDivergence = Stop()
    """What happens when the loss is not finite."""
    epochs: PositiveInt = Field(default=100, le=1_000_000)
    """Passes over the training set."""
    extensions: tuple[Extension, ...] = ()
    """Where `residua resume --epochs` extended the training, and how long it was planned before."""
    batch_size: PositiveInt = 128
    """Images in each optimiser step."""
    gradient_accumulation: PositiveInt = 1
    """Parts in which a batch goes through the network, one after another, where it does not fit
    into memory at once; gradients are summed. Batch normalization sees each part alone."""
    drop_last: bool = False
    """Whether an epoch's last batch is dropped when it is incomplete."""
    sampler: Literal["random", "balanced"] = "random"
    """How an epoch's images are chosen: each once at random, or equally many of each class."""
    seed: int = Field(default=0, ge=0)
    """The seed of weights, order, augmentation and dropout."""
    evaluate_every: PositiveInt = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    tta: TTA = "none"
    """Test-time augmentation: evaluate each image alone, also mirrored, or also shifted by a pixel.
    Logits are averaged."""
    save_every: PositiveInt = 1
    """Epochs between checkpoints; the last epoch is always saved."""
    keep_checkpoints: PositiveInt = 1
    """Checkpoints kept besides the best one, and one more in case the last is damaged."""
    tensorboard: bool = False
    """Whether event files for TensorBoard are written to the run (extra `tensorboard`)."""
    publish: Publish | None = None
    """Where and when the run is uploaded to the Hugging Face Hub while it trains."""
    sync: Path | None = None
    """A folder, on a mounted drive say, where a copy of the run is kept up to date, with its last
    checkpoints; `residua resume` continues the copy as well."""
    target_accuracy: float | None = Field(default=None, gt=0, le=100)
    """An accuracy in percent; the log marks the epoch that first reaches it."""
    early_stopping: EarlyStopping | None = None
    """When to stop before the last epoch."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ...; auto takes the fastest one available."""
    precision: Literal["auto", "float32", "tf32", "bfloat16", "float16"] = "auto"
    """Of convolutions and matrix products; weights stay in float32. auto: bfloat16 where the device
    multiplies in it, else float32; a run keeps what was chosen when it started. float32 is not
    rounded to TF32 on GPUs, as torch does in convolutions by default; tf32 is, and equals float32
    elsewhere."""
    memory_format: Literal["channels_last", "contiguous"] = "channels_last"
    """The layout of images and filters in memory."""
    compile: bool | CompileMode = False
    """Whether the network is compiled (it runs uncompiled, with a warning, where no compiler is
    found), or in which of torch's modes."""
    deterministic: bool = False
    """Whether only deterministic algorithms are used; slower, and only needed on GPUs."""

    @model_validator(mode="after")
    def _fields_are_consistent(self) -> "Recipe":
        sizes = bounds(self.image_size) if self.image_size is not None else ()
        if not all(MIN_IMAGE_SIZE <= size <= MAX_IMAGE_SIZE for size in sizes):
            raise ValueError(
                f"image_size must be between {MIN_IMAGE_SIZE} and {MAX_IMAGE_SIZE} pixels"
            )
        if any(isinstance(each, Mixing) for each in self.augmentation) and self.batch_size < 2:
            raise ValueError("mixing images needs a batch_size of at least 2")
        average = self.weight_average
        if isinstance(average, SWA) and average.start_epoch > self.epochs:
            raise ValueError(
                f"weight_average.start_epoch {average.start_epoch} is beyond the last epoch, "
                f"{self.epochs}"
            )
        plans = [*(extension.epochs for extension in self.extensions), self.epochs]
        steps = [extension.step for extension in self.extensions]
        if plans != sorted(set(plans)) or steps != sorted(steps):
            raise ValueError("extensions need increasing steps, and epochs that increase to epochs")
        if self.gradient_accumulation > self.batch_size:
            raise ValueError("gradient_accumulation must not be larger than batch_size")
        if self.gradient_accumulation > 1 and self.compile in CUDA_GRAPH_MODES:
            raise ValueError(
                f"gradient_accumulation: with the CUDA graphs of compile {self.compile} each part "
                "overwrites the gradients of the part before; use true or "
                "max-autotune-no-cudagraphs"
            )
        return self
