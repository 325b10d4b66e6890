"""Predictions: those of the evaluation to the last bit, from threads, as a stream."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from residua import Classifier, UserError, fit, load
from residua.data import Shapes100, Split
from residua.inference.evaluation import BATCH_MULTIPLE, batch_logits
from residua.inference.images import ImageLike, UnreadableImage
from residua.inference.predictor import ClassProbabilities
from residua.recipes.recipe import Recipe
from residua.runs.run import Run

FEATURES = {
    "plain": {},
    "mirror_translate": {"tta": "mirror_translate"},
    "bfloat16": {"precision": "bfloat16"},
    "attention": {"architecture__attention": {"kind": "squeeze_excitation"}},
}


@pytest.fixture(scope="module")
def images() -> Split:
    return Shapes100(train=100, test=107).load(0).test


@pytest.fixture(scope="module")
def classifier(small_run: Run) -> Classifier:
    return load(small_run, device="cpu")


def joined(answers: Iterator[ClassProbabilities | UnreadableImage]) -> Tensor:
    rows = []
    for answer in answers:
        assert isinstance(answer, ClassProbabilities)
        rows.append(answer.probabilities)
    return torch.cat(rows)


@pytest.mark.parametrize("changes", FEATURES.values(), ids=FEATURES)
def test_predictions_are_those_of_the_evaluation_bit_for_bit(
    tiny: Callable[..., Recipe], tmp_path: Path, images: Split, changes: dict
) -> None:
    """The same images in the same order; grouped otherwise, but for rounding."""
    fit(tiny(epochs=1, **changes), tmp_path / "run")
    classifier = load(tmp_path / "run")
    evaluation = classifier.evaluate(images)
    together = classifier.predict(images.images).probabilities
    assert torch.equal(together.max(1).values, evaluation.confidence)
    assert torch.equal(together.argmax(1), evaluation.predicted)
    assert torch.equal(classifier.predict(list(images.images)).probabilities, together)
    assert torch.equal(joined(classifier.predict_stream(iter(images.images))), together)
    for size in (1, 3, 100):
        count = 12 if size < 100 else len(images)
        streamed = joined(classifier.predict_stream(images.images[:count], batch_size=size))
        assert torch.allclose(streamed, together[:count], rtol=0, atol=1e-5)


def test_threads_get_the_answers_of_one_thread(
    classifier: Classifier, images: Split, tmp_path: Path
) -> None:
    paths = []
    for index, image in enumerate(images.images[:20]):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(image.permute(1, 2, 0).numpy()).resize((50, 40)).save(paths[-1])
    requests: list[list[ImageLike]] = [
        [paths[index % 20], images.images[index], paths[(7 * index) % 20]] for index in range(24)
    ]
    expected = [classifier.predict(request).probabilities for request in requests]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(classifier.predict, requests))
    for answer, serial in zip(answers, expected, strict=True):
        assert torch.equal(answer.probabilities, serial)


def test_streams_answer_while_they_are_read(classifier: Classifier, images: Split) -> None:
    """An endless iterator is answered, and no more than two batches are read ahead."""
    taken = 0

    def endless() -> Iterator[Tensor]:
        nonlocal taken
        while True:
            taken += 1
            yield images.images[taken % 100]

    answers = classifier.predict_stream(endless(), batch_size=4)
    for _ in range(40):
        next(answers)
        assert taken <= 48
    answers.close()


def test_streams_name_unreadable_files_and_answer_the_rest(
    classifier: Classifier, images: Split, tmp_path: Path
) -> None:
    good = tmp_path / "good.png"
    Image.fromarray(images.images[0].permute(1, 2, 0).numpy()).save(good)
    (tmp_path / "bad.png").write_text("bad")
    words = [tmp_path / "bad.png", good, tmp_path / "none.png", good]
    answers = list(classifier.predict_stream(words, batch_size=2))
    assert [isinstance(answer, UnreadableImage) for answer in answers] == [True, False, True, False]
    assert str(answers[0]) == f"{tmp_path / 'bad.png'}: not an image"
    assert len(list(classifier.predict_stream([tmp_path / "bad.png"]))) == 1
    with pytest.raises(UserError, match=r"none.png: No such file"):
        classifier.predict([good, tmp_path / "none.png"])


def test_predicting_nothing_gives_nothing(classifier: Classifier) -> None:
    assert classifier.predict([]).probabilities.shape == (0, 100)
    assert classifier.predict([]).labels == []
    assert list(classifier.predict_stream([])) == []


def test_there_are_never_more_answers_than_classes() -> None:
    answer = ClassProbabilities(torch.tensor([[0.2, 0.5, 0.3]]), ("a", "b", "c"))
    assert [name for name, _ in answer.top(5)[0]] == ["b", "c", "a"]
    assert len(answer.top(2)[0]) == 2


def test_batches_are_filled_up_to_whole_rows_of_the_matrix_product() -> None:
    sizes = []

    def forward(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return batch.flatten(1)

    for count in (1, 4, 6, 500):
        images = torch.randint(0, 256, (count, 3, 2, 2), dtype=torch.uint8)
        assert torch.equal(batch_logits(forward, images, Tensor.float), images.flatten(1).float())
    assert sizes == [4, 4, 8, 500]
    assert BATCH_MULTIPLE == 4
