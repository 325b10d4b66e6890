"""The configuration of a network that residua trained; part of its repository."""

from typing import Any

from transformers import PreTrainedConfig


class ResiduaConfig(PreTrainedConfig):  # type: ignore[misc]
    """Sizes and classes, and the network as a list of operations.

    Args:
        image_size: pixels of a side.
        graph: the operations from normalized images to features; see `modeling_residua.py`.
        tensors: the name of each tensor: its shape, its type, and whether it is trained.
        head: the names of weight and bias of the last linear layer.
        tta: test-time augmentation: none, mirror, mirror_translate.
        precision: of convolutions and matrix products: float32, bfloat16, float16.
        channels_last: whether images and filters are laid out with their channels last.
    """

    model_type = "residua"

    def __init__(
        self,
        image_size: int = 32,
        graph: list[dict[str, Any]] | None = None,
        tensors: dict[str, list[Any]] | None = None,
        head: list[str | None] | None = None,
        tta: str = "none",
        precision: str = "float32",
        channels_last: bool = True,
        **kwargs: Any,
    ) -> None:
        self.image_size = image_size
        self.graph, self.tensors, self.head = graph or [], tensors or {}, head or []
        self.tta, self.precision, self.channels_last = tta, precision, channels_last
        super().__init__(**kwargs)
