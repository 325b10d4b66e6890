"""Train or resume in this process and print each event: `print_events.py RUN [RECIPE]`."""

import json
import sys
from pathlib import Path

from residua.recipes.loading import parse_recipe
from residua.training.events import StepFinished
from residua.training.loop import resume, train


def main(run: str, recipe: str | None = None) -> None:
    events = (
        train(parse_recipe(json.loads(Path(recipe).read_text())), run) if recipe else resume(run)
    )
    for event in events:
        print(event.step if isinstance(event, StepFinished) else type(event).__name__, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
