"""What a person sees in the terminal."""

from types import SimpleNamespace
from typing import Any

import pytest

from residua.cli.console import Speed, epoch_lines

RECORD = {
    "epoch": 99,
    "steps": 391,
    "lr": 4e-7,
    "images_per_second": 568.4,
    "last_loss": 1.8318,
    "train_loss": 1.5,
    "train_accuracy": 77.8,
    "seconds": 88.3,
    "test_loss": 1.3779,
    "test_accuracy": 80.87,
    "test_images": 10_000,
}


def test_an_epoch_is_printed_in_the_form_of_the_published_logs() -> None:
    said = epoch_lines(RECORD | {"target_reached": True, "gradient_warning": "vanished"}, 100, True)
    assert said.splitlines() == [
        "[bold]EPOCH: 99/100[/]  rate 4e-07  568 images/s",
        "Loss=1.8318 Batch_id=390 Accuracy=77.80: 100%|██████████| 391/391 [01:28<00:00, 4.43it/s]",
        "Test set: Average loss: 1.3779, Accuracy: 8087/10000 (80.87%) "
        "[green]✓ Target Reached![/] [green]✓ Best Model![/]",
        "[yellow]vanished[/]",
    ]
    assert len(epoch_lines(RECORD, 100, False).splitlines()) == 3


@pytest.mark.parametrize(("speed", "said"), [(4.43, "4.43it/s"), (0.4, "2.50s/it"), (None, "")])
def test_the_bar_tells_its_speed(speed: float | None, said: str) -> None:
    task: Any = SimpleNamespace(speed=speed)
    assert Speed().render(task).plain == said
