"""What a full evaluation costs beside a plain pass over the same images, in one process.

    python benchmarks/evaluation_cost.py RUN

Prints processor and wall-clock seconds of both, with single views and with the recipe's test-time
augmentation. A full evaluation computes every figure, interval and class of `residua evaluate`.
"""

import sys
import time
from collections.abc import Callable

from residua import load
from residua.inference.full_evaluation import evaluate_fully


def main() -> None:
    """Measure a run's network on its test set."""
    classifier = load(sys.argv[1])
    recipe = classifier.recipe
    test = recipe.data.load(recipe.seed).test
    checksum = test.checksum  # Outside of what is measured: it is of the data, not of the network.
    print(f"{recipe.name}, {len(test):,} images, {checksum[:12]}")
    for tta in dict.fromkeys(("none", recipe.tta)):
        classifier.evaluate(test.subsample(500), tta)
        plain = seconds(lambda tta=tta: classifier.evaluate(test, tta))
        full = seconds(lambda tta=tta: evaluate_fully(classifier, test, "test", tta=tta))
        for clock, before, after in zip(("processor", "wall"), plain, full, strict=True):
            ratio = after / before
            print(f"{tta:16} {clock:9} {before:8.2f} s {after:8.2f} s   ratio {ratio:.3f}")


def seconds(evaluation: Callable[[], object]) -> tuple[float, float]:
    """Processor and wall-clock seconds."""
    processor, wall = time.process_time(), time.perf_counter()
    evaluation()
    return time.process_time() - processor, time.perf_counter() - wall


if __name__ == "__main__":
    main()
