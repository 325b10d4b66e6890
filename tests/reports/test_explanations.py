"""`residua explain`: its pages, its output, and what it refuses."""

import csv
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pages import assert_page_is_sound, assert_prints_everything
from PIL import Image
from test_run_report import assert_self_contained

import residua
from residua.cli import main
from residua.data import Shapes100, Split
from residua.inference.mistakes import find_mistakes
from residua.reports.explanations import write_mistakes

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny network."""
    path = tmp_path_factory.mktemp("runs") / "run"
    words = ["--epochs", "1", "--data.train", "200", "--data.test", "100", "--device", "cpu"]
    narrow = ["--architecture.widths", "[4, 8, 8]", "--architecture.stem.width", "4"]
    residua.fit(residua.resolve("quickstart", [*words, *narrow]), path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    path = tmp_path / "a <b> & c.png"
    Image.fromarray(pixels).save(path)
    return path


def test_files_and_test_images_are_explained(
    model: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    main(["explain", str(model), "test:3", str(picture), "--output", str(out)])
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith("explain.html")
    assert printed.count("completeness holds") == 2
    classifier = residua.load(model)
    test = Shapes100(train=200, test=100).load(0).test
    expected = [classifier.predict(test.images[3]), classifier.predict(picture)]
    html = (out / "explain.html").read_text()
    assert_self_contained(html)
    for prediction in expected:
        for name, probability in prediction.top(5)[0]:
            assert f"{100 * probability:.2f} %" in printed
            assert f"<td>{name}</td>" in html
    label = test.classes[int(test.labels[3])]
    right = label == expected[0].labels[0]
    assert ("which is right" in html) == right
    assert (f"its label is <strong>{label}</strong>" in html) != right
    assert "a &lt;b&gt; &amp; c.png" in html
    assert html.count(">train:") == 16
    for layer in ("stem", "stage1", "stage2", "stage3"):
        assert html.count(f'alt="Feature maps of {layer}: ') == 2


def test_target_layers_and_neighbors_are_chosen(
    model: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = residua.load(model).classes[7]
    words = ["--target", name, "--layers", "stage2, stages.0.0", "--neighbors", "0"]
    main(["explain", str(model), str(picture), *words, "--output", str(tmp_path / "out")])
    assert f"Integrated gradients of {name} sum to" in capsys.readouterr().out
    html = (tmp_path / "out/explain.html").read_text()
    assert html.count('alt="Feature maps of ') == 2
    assert 'alt="Feature maps of stages.0.0: ' in html
    assert ">train:" not in html


def test_without_the_data_set_all_but_the_neighbors_is_shown(
    model: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise residua.UserError("no shapes here")

    monkeypatch.setattr(Shapes100, "read", missing)
    main(["explain", str(model), str(picture), "--output", str(tmp_path / "out")])
    html = (tmp_path / "out/explain.html").read_text()
    assert "No nearest images, because the training images are not here: no shapes here." in html
    assert "Grad-CAM" in html
    with pytest.raises(SystemExit):
        main(["explain", str(model), "test:0", "--output", str(tmp_path / "out")])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give images to explain"),
        (["test:0", "--mistakes"], "takes no images"),
        (["nothing.png"], "no file nothing.png"),
        (["test:100"], "numbers are from 0 to 99"),
        (["holdout:0"], "there is no holdout"),
        (["--mistakes", "--split", "holdout"], "there is no holdout"),
        (["test:0", "--target", "plain rign"], "did you mean plain ring"),
        (["test:0", "--layers", "stage9"], "there is no layer 'stage9'"),
        (["test:0", "--layers", "stem,"], "there is no layer ''"),
        (["test:0", "--neighbors", "-1"], "from 0 to 100"),
        (["{text}"], "cannot be read: not an image"),
        (["test:0", "--output", "{run}"], "is a run"),
    ],
)
def test_wrong_words_are_one_clear_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")
    filled = [word.format(text=text, run=model) for word in words]
    output = [] if "--output" in words else ["--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as error:
        main(["explain", str(model), *filled, *output])
    assert error.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(tmp_path.glob("out/*"))


def test_mistakes_are_listed(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["explain", str(model), "--mistakes", "--output", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    classifier = residua.load(model)
    test = Shapes100(train=200, test=100).load(0).test
    errors = int((classifier.evaluate(test).predicted != test.labels).sum())
    assert f"{errors} of 100 images misclassified" in printed
    assert "out of sample" in printed
    html = (tmp_path / "out/mistakes.html").read_text()
    assert_self_contained(html)
    found = find_mistakes(classifier, test)
    with (tmp_path / "out/label-errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == found.label_errors.indices.tolist()
    for row in rows:
        assert row["label"] == test.classes[int(test.labels[int(row["index"])])]
        assert row["label"] != row["predicted"]
    main(["explain", str(model), "--mistakes", "--split", "train", "--output", str(tmp_path)])
    assert "was trained on these images" in capsys.readouterr().out
    assert "was trained on these images" in (tmp_path / "mistakes.html").read_text()


def test_a_split_without_mistakes_is_reported(model: Path, tmp_path: Path) -> None:
    classifier = residua.load(model)
    images = Shapes100(train=200, test=100).load(0).test.images
    predicted = classifier.predict(images).probabilities.argmax(1)
    found = find_mistakes(classifier, Split(images, predicted, classifier.classes))
    assert (len(found.confident_errors), len(found.label_errors)) == (0, 0)
    html = write_mistakes(classifier.info, found, tmp_path).read_text()
    assert html.count("There are none.") == 2


def test_model_files_alone_suffice(model: Path, picture: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "model.json"):
        shutil.copy(model / name, tmp_path / name)
    words = ["--neighbors", "1", "--output", str(tmp_path / "out")]
    main(["explain", str(tmp_path), str(picture), *words])
    assert (tmp_path / "out/explain.html").is_file()


@pytest.mark.extra("playwright", "axe_playwright_python", "chromium")
def test_pages_are_sound(browser: "Browser", model: Path, picture: Path, tmp_path: Path) -> None:
    main(["explain", str(model), "test:3", str(picture), str(picture), "--output", str(tmp_path)])
    main(["explain", str(model), "--mistakes", "--output", str(tmp_path)])
    for page in ("explain.html", "mistakes.html"):
        assert_page_is_sound(browser, tmp_path / page)
        assert_prints_everything(browser, tmp_path / page)
