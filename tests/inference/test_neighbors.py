"""The nearest images in a network's feature space."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from residua.augment.normalize import Normalize
from residua.data import ChannelStats, Shapes100
from residua.inference import classifier as classifiers
from residua.inference.explain import nearest_images, neighbors, penultimate_features
from residua.models.network import NormalizedNetwork
from residua.recipes.recipe import Recipe
from residua.runs.model_file import ModelInfo


@pytest.fixture
def classifier(tiny: Callable[..., Recipe]) -> classifiers.Classifier:
    """An untrained network of the shapes."""
    recipe, stats = tiny(), ChannelStats(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    info = ModelInfo(
        recipe=recipe, classes=tuple(map(str, range(100))),
        normalization=stats, image_size=(32, 32), epoch=1, step=1, selection_split="test",
        metrics={},
    )  # fmt: skip
    network = NormalizedNetwork(Normalize.from_stats(stats), recipe.architecture.build(100))
    return classifiers.Classifier(network, info, torch.device("cpu"))


def test_features_are_the_input_of_the_linear_layer(classifier: classifiers.Classifier) -> None:
    images = Shapes100(train=10, test=10).load(0).test.images
    features = penultimate_features(classifier, images)
    assert features.shape == (10, 8)
    logits = classifier.network.network.head[-1](features)
    torch.testing.assert_close(logits.softmax(1), classifier.predict(images).probabilities)


def test_nearest_images_are_those_of_all_pairs(
    classifier: classifiers.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = Shapes100(train=40, test=10).load(0)
    query = torch.cat([splits.test.images[:3], splits.train.images[17:18]])
    features = [
        F.normalize(penultimate_features(classifier, images))
        for images in (query, splits.train.images)
    ]
    wanted = (features[0] @ features[1].T).topk(5, 1)
    monkeypatch.setattr(neighbors, "EVAL_BATCH_SIZE", 7)
    found = nearest_images(classifier, query, splits.train, 5)
    torch.testing.assert_close(found.similarity, wanted.values)
    assert torch.equal(found.indices, wanted.indices)
    assert found.indices[3, 0] == 17
    assert float(found.similarity[3, 0]) == pytest.approx(1, abs=1e-5)
    assert nearest_images(classifier, query, splits.train, 99).indices.shape == (4, 40)
