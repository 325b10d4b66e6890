"""Published networks run with transformers, without residua, and give the same probabilities."""

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_sets import FEATURE_SETS
from PIL import Image

from residua.inference.classifier import load
from residua.integrations.hub.repository import Contents, write_repository
from residua.integrations.hub.transformers_files import network_graph
from residua.models.network import NormalizedNetwork
from residua.recipes import built_in
from residua.runs.run import Run
from residua.training.loop import fit


def pictures(folder: Path) -> list[Path]:
    """Files of several sizes, modes and orientations."""
    random = np.random.default_rng(0)
    images = [
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)),
        Image.fromarray(random.integers(0, 256, (20, 50, 3), dtype=np.uint8)),
        Image.fromarray(random.integers(0, 256, (90, 64, 4), dtype=np.uint8)),
        Image.fromarray(random.integers(0, 256, (40, 40), dtype=np.uint8)),
        Image.fromarray(random.integers(0, 65536, (33, 40), dtype=np.uint16)),
    ]
    paths = []
    for index, image in enumerate(images):
        paths.append(folder / f"{index}.png")
        image.save(paths[-1])
    rotated = folder / "rotated.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    images[1].save(rotated, exif=exif)
    return [*paths, rotated]


SCRIPT = """
    import json, sys
    sys.modules["residua"] = None  # An import of residua fails.
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

    folder, *files = sys.argv[1:]
    classify = pipeline("image-classification", model=folder, trust_remote_code=True)
    processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True).eval()
    rows = []
    for file in files:
        with Image.open(file) as image:
            image.load()
        if image.mode in ("RGB", "L"):
            answers = classify(image, top_k=1000)
            scores = {each["label"]: each["score"] for each in answers}
        else:  # A pipeline would convert it to RGB first: transparency and 16 bits are lost.
            logits = model(**processor(image)).logits[0]
            names = model.config.id2label
            scores = {names[i]: score for i, score in enumerate(logits.softmax(0).tolist())}
        rows.append(scores)
    print(json.dumps(rows))
"""
FEATURES = {
    "plain": {},
    "whitening, bfloat16, tta": FEATURE_SETS["short"] | {"tta": "mirror_translate"},
    "cbam, stochastic depth, tta": FEATURE_SETS["sharp"] | {"tta": "mirror"},
    "squeeze and excitation, ema": FEATURE_SETS["everything"],
    "group norm": FEATURE_SETS["adaptive"],
}


@pytest.mark.slow
@pytest.mark.extra("transformers")
@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
def test_pipeline_has_the_probabilities_of_residua(
    features: dict[str, object], tiny, tmp_path: Path
) -> None:
    run = fit(tiny(**{**features, "epochs": 2}), tmp_path / "run")
    folder = write_repository(run, tmp_path / "repository", Contents())
    files = pictures(tmp_path)
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder), *map(str, files)]
    environment = {"HF_HOME": str(tmp_path / "hf"), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    ours = load(run).predict(files)
    for row, expected in zip(rows, ours.probabilities, strict=True):
        scores = torch.tensor([row[name] for name in ours.classes])
        torch.testing.assert_close(scores, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name == "pyramid272" else [])
        for name in built_in.names()
    ],
)
def test_every_built_in_network_can_be_written(name: str) -> None:
    recipe = built_in.built_in(name)
    with torch.device("meta"):
        graph = network_graph(recipe.architecture.build(10), 32)
    assert any(node["op"] == "conv2d.default" for node in graph)
    json.dumps(graph)


def test_files_of_a_repository_are_the_checked_ones(repository: Path, trained: Run) -> None:
    """The code does not import residua, and the sizes are those of the model."""
    for name in ("configuration", "modeling", "image_processing"):
        code = (repository / f"{name}_residua.py").read_text()
        compile(code, name, "exec")
        assert "import residua" not in code
        assert "from residua" not in code
        assert "type: ignore" not in code
    config = json.loads((repository / "config.json").read_text())
    assert list(config["id2label"].values()) == list(trained.data.classes)
    assert config["image_size"] == 32
    model = load(trained).network
    assert isinstance(model, NormalizedNetwork)
    assert set(config["tensors"]) == set(model.state_dict())


@pytest.mark.slow
@pytest.mark.extra("transformers")
def test_code_runs_no_other_operators(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForImageClassification

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "repository"
    shutil.copytree(repository, folder)
    config = json.loads((folder / "config.json").read_text())
    config["graph"][0]["op"] = "from_file.default"
    (folder / "config.json").write_text(json.dumps(config))
    model = AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True)
    with pytest.raises(ValueError, match="from_file, which is not allowed"):
        model(torch.zeros(1, 3, 32, 32))


@pytest.mark.slow
@pytest.mark.extra("transformers")
def test_model_can_be_fine_tuned(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForImageClassification

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    model = AutoModelForImageClassification.from_pretrained(repository, trust_remote_code=True)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    output = model(images, labels=torch.tensor([0, 1, 2, 3]))
    output.loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())
