"""Lightning's Trainer with the plain loop's images and network, without all optional features.

Logger, checkpoints, progress bar and summary are switched off, because they cost time.
"""

import lightning
import torch
import torch.nn.functional as F
from speed.plain import loader
from speed.worker import StepTimer, serve
from torch import Tensor

from residua.devices import select_device
from residua.recipes.recipe import Recipe

PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}


class Module(lightning.LightningModule):
    """The recipe's network with cross-entropy and SGD."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.network = recipe.architecture.build(recipe.data.num_classes, recipe.seed)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """The loss of a batch."""
        images, labels = batch
        return F.cross_entropy(self.network(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with the plain loop's settings."""
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)


class StepReporter(lightning.Callback):
    """Reports finished steps to the timer."""

    def __init__(self, timer: StepTimer) -> None:
        self.timer = timer

    def on_train_start(self, *_: object) -> None:
        """Data and network are ready."""
        self.timer.prepared()

    def on_train_batch_end(self, *_: object) -> None:
        """A step is finished."""
        self.timer.step()


def loop(recipe: Recipe, timer: StepTimer) -> None:
    """Train the recipe's network."""
    device = select_device(recipe.device)
    trainer = lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=PRECISIONS[recipe.precision],
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[StepReporter(timer)],
    )
    trainer.fit(Module(recipe), loader(recipe))


if __name__ == "__main__":
    serve(loop)
