"""A network that residua trained, for `transformers`; part of its repository.

The configuration lists the network's operations, in order. Each is an operator of torch from the
set below; nothing else is run.
"""

import operator
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from .configuration_residua import ResiduaConfig

OPERATORS = {
    *("adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d", "conv2d", "linear"),
    *("batch_norm", "group_norm", "relu", "relu_", "silu", "silu_", "gelu", "sigmoid", "softmax"),
    *("add", "add_", "sub", "mul", "mul_", "div", "mean", "sum", "amax", "amin"),
    *("cat", "chunk", "slice", "select", "flatten", "unsqueeze", "squeeze", "view", "reshape"),
    *("permute", "expand", "clone", "pad", "constant_pad_nd", "new_ones", "new_zeros", "sym_size"),
}
"""Operators of `torch.ops.aten` that a graph may use."""
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class ResiduaForImageClassification(PreTrainedModel):  # type: ignore[misc]
    """From pixel values (N, 3, H, W), uint8 or float32 in [0, 255], to logits (N, classes)."""

    config_class = ResiduaConfig
    main_input_name = "pixel_values"

    def __init__(self, config: ResiduaConfig) -> None:
        super().__init__(config)
        for name, (shape, dtype, trained) in config.tensors.items():
            self._add_tensor(name, torch.empty(shape, dtype=getattr(torch, dtype)), trained)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: all weights are loaded."""

    def _add_tensor(self, name: str, value: Tensor, trained: bool) -> None:
        """Register a tensor under its dotted name."""
        *path, leaf = name.split(".")
        module: nn.Module = self
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        if trained:
            module.register_parameter(leaf, nn.Parameter(value))
        else:
            module.register_buffer(leaf, value)

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, **_: Any
    ) -> ImageClassifierOutputWithNoAttention:
        """Logits, averaged over the views of the test-time augmentation; the loss for labels."""
        tensors = dict(self.named_parameters()) | dict(self.named_buffers())
        shift, scale = tensors["normalize.shift"], tensors["normalize.scale"]
        images = torch.addcmul(shift, pixel_values.float(), scale)
        layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
        dtype = DTYPES.get(self.config.precision)
        weight, bias = self.config.head
        with torch.autocast(images.device.type, dtype, enabled=dtype is not None):
            views = []
            for share, view in _views(images.contiguous(memory_format=layout), self.config.tta):
                features = self._features(view.contiguous(memory_format=layout), tensors, layout)
                with torch.autocast(images.device.type, enabled=False):
                    views.append(
                        share * F.linear(features.float(), tensors[weight], tensors.get(bias))
                    )
        logits = torch.stack(views).sum(0)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)

    def _features(
        self, images: Tensor, tensors: dict[str, Tensor], layout: torch.memory_format
    ) -> Tensor:
        """Run the graph on normalized images; returns the features of the last linear layer."""
        values: dict[str, Any] = {"images": images}
        for node in self.config.graph:
            arguments = [_decode(each, values, tensors, layout) for each in node["args"]]
            options = {
                name: _decode(each, values, tensors, layout)
                for name, each in node.get("kwargs", {}).items()
            }
            values[node["name"]] = _operator(node["op"])(*arguments, **options)
        features: Tensor = values[self.config.graph[-1]["name"]]
        return features


def _operator(name: str) -> Any:
    """The function of an operator's name: `conv2d.default`, or `getitem`."""
    if name == "getitem":
        return operator.getitem
    packet, _, overload = name.partition(".")
    if packet not in OPERATORS:
        raise ValueError(f"the graph uses the operator {packet}, which is not allowed")
    return getattr(getattr(torch.ops.aten, packet), overload)


def _decode(
    value: Any, values: dict[str, Any], tensors: dict[str, Tensor], layout: torch.memory_format
) -> Any:
    """An argument: a number, a list, a result {"value": ...} or a tensor {"tensor": ...}."""
    if isinstance(value, list):
        return [_decode(each, values, tensors, layout) for each in value]
    if not isinstance(value, dict):
        return value
    if "value" in value:
        return values[value["value"]]
    tensor = tensors[value["tensor"]]
    return tensor.contiguous(memory_format=layout) if tensor.ndim == 4 else tensor


def _views(images: Tensor, tta: str) -> Iterator[tuple[float, Tensor]]:
    """The share and the images of each view; the shares sum to 1."""
    if tta == "none":
        yield 1.0, images
        return
    views = [(1.0, images)]
    if tta == "mirror_translate":
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
        height, width = images.shape[2:]
        shifted = [padded[:, :, i : i + height, i : i + width] for i in (0, 2)]
        views = [(0.5, images), *((0.25, view) for view in shifted)]
    for share, view in views:
        yield share / 2, view
        yield share / 2, view.flip(3)
