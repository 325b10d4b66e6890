"""The figures of the five published systems."""

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """The system of one document; None where the document does not say."""

    name: str
    """Of its recipe in this package."""
    title: str
    """The document's own title."""
    source: str
    """What kind of document it is."""
    epochs: int
    """Of the training that the figures are of."""
    parameters: int
    """As published, rounded where the document rounds."""
    parameters_note: str = ""
    """What is wrong with the published number, or where it comes from."""
    last: float | None = None
    """Test accuracy of the last epoch, in percent."""
    best: float | None = None
    """The highest test accuracy of any epoch, in percent: selected on the test set."""
    best_epoch: int | None = None
    """Counted from 1."""
    rounding: float = 0.0
    """By how many points the published accuracies may be off because of rounding."""
    target: float | None = None
    """Test accuracy aimed at, in percent."""
    minutes: float | None = None
    """Of the whole training, on hardware that no document names."""
    curves: tuple[str, ...] = ()
    """Names of the published logs; the last one stands for the system."""
    notes: tuple[str, ...] = ()
    """How the published figures were obtained, and what limits comparisons with them."""


RESNET44 = System(
    name="resnet44",
    title="ResNet-44 CIFAR-100 Training Logs",
    source="a training log (document 000)",
    epochs=100,
    parameters=30_032_292,
    last=80.57,
    best=80.87,
    best_epoch=99,
    target=73.0,
    minutes=148.0,
    curves=("resnet44",),
    notes=(
        "The published log counts epochs from 0 and shows 29 of 100; here they count from 1.",
        "The published loss of training is that of each epoch's last batch alone, not a mean: "
        "it is not drawn beside ours.",
        "The document does not say whether its test loss is smoothed as its training loss is; "
        "ours is not.",
        "Under CutMix its training accuracy, like ours, counts an image as correct only for its "
        "own label.",
        "The best epoch was selected on the test set.",
    ),
)
RESNET44V2 = System(
    name="resnet44v2",
    title="ResNet CIFAR-100 Training Logs",
    source="a training log (document 001)",
    epochs=100,
    parameters=2_700_000,
    parameters_note=(
        "the network that the document describes has 5,941,316, its first three stages alone "
        "2,648,132"
    ),
    last=74.70,
    best=74.86,
    best_epoch=99,
    curves=("resnet44v2_run1", "resnet44v2_run2"),
    notes=(
        "The document logs two runs, 69.68 % and 74.70 % at their end, and gives no reason for "
        "the 5 points between them: far more than seeds explain. Recipe resnet44v2_run1 takes the "
        "first one for a network without the fourth stage, to which the document's 44 layers and "
        "2.7 M parameters belong.",
        "The best epoch was selected on the test set, which the document calls validation.",
    ),
)
WRN28_10 = System(
    name="wrn28_10",
    title="Session 8 - Deep Residual Network Training",
    source="a project page (document 002)",
    epochs=200,
    parameters=36_500_000,
    parameters_note="its second half says 30,032,292, which is another model's number",
    last=82.0,
    rounding=0.5,
    target=75.0,
    notes=(
        "The published curve is a picture only: there is no figure for any epoch but the end, "
        "and that one is rounded to a whole percent.",
        "Its target is 74 to 75 % within 100 epochs; its figures are of 200.",
    ),
)
RESNET26W = System(
    name="resnet26w",
    title="Deep Residual Neural Network for CIFAR100 with Pytorch",
    source="a blog post of 2018 (document 003)",
    epochs=70,
    parameters=3_903_620,
    parameters_note="counted from the author's code; the post gives none",
    last=61.97,
    best=62.70,
    best_epoch=69,
    curves=("resnet26w",),
    notes=(
        "The author never switched the network to evaluation mode: the published accuracies come "
        "from the statistics of each test batch, with dropout active. Ours come from the running "
        "statistics, without dropout.",
        "Its training accuracy is too high for a mean over the running epoch (14.47 % beside a "
        "loss of 4.10 in the first): it was probably measured after each epoch. Ours is a mean.",
        "The best epoch was selected on the test set.",
    ),
)
RESNET34 = System(
    name="resnet34",
    title="CIFAR-100 Classification with ResNet34",
    source="a project page (document 004)",
    epochs=250,
    parameters=21_328_292,
    parameters_note="counted from the description; the page gives none",
    target=75.0,
    notes=("The document gives a target, and no result.",),
)
SYSTEMS = {system.name: system for system in (RESNET44, RESNET44V2, WRN28_10, RESNET26W, RESNET34)}
"""By the name of the recipe."""
