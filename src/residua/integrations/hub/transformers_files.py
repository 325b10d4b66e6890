"""The files with which the library transformers runs a network, without residua.

The network is written as the list of its operations, which `torch.export` records, into
config.json; the code that runs it is `transformers_code/`.
"""

import ast
import inspect
import json
import operator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from residua.data import decoding as image_files
from residua.errors import UserError
from residua.models.network import NormalizedNetwork, ResidualNetwork
from residua.runs.model_file import ModelInfo

CODE = Path(__file__).parent / "transformers_code"
FILES = ("configuration_residua.py", "modeling_residua.py", "image_processing_residua.py")
IMAGE_IMPORT = "from residua.data.decoding import prepare_image"
"""In a repository, the code of this function takes its place."""
Json = Any


class Features(nn.Module):
    """A network without its last linear layer."""

    def __init__(self, network: ResidualNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the features (N, C)."""
        network = self.network
        features: Tensor = network.head[:-1](network.stages(network.stem(images)))
        return features


def write_transformers_files(folder: Path, network: NormalizedNetwork, info: ModelInfo) -> None:
    """Write config.json, preprocessor_config.json and the code.

    Raises:
        UserError: the network has an operation that the code does not run.
    """
    size = info.image_size[0]
    how = info.recipe.data.prepare(size)
    config = {
        "model_type": "residua",
        "architectures": ["ResiduaForImageClassification"],
        "auto_map": {
            "AutoConfig": "configuration_residua.ResiduaConfig",
            "AutoModelForImageClassification": "modeling_residua.ResiduaForImageClassification",
        },
        "dtype": "float32",
        "num_channels": len(info.normalization.mean),
        "image_size": size,
        "id2label": {str(index): name for index, name in enumerate(info.classes)},
        "label2id": {name: index for index, name in enumerate(info.classes)},
        "tta": info.tta,
        "precision": info.recipe.precision,
        "channels_last": info.recipe.memory_format == "channels_last",
        **network_config(network, size),
    }
    preprocessor = {
        "image_processor_type": "ResiduaImageProcessor",
        "auto_map": {"AutoImageProcessor": "image_processing_residua.ResiduaImageProcessor"},
        "size": size,
        "fit": how.fit,
        "channels": how.channels,
    }
    _write_json(folder / "config.json", config)
    _write_json(folder / "preprocessor_config.json", preprocessor)
    for name in FILES:
        code = (CODE / name).read_text(encoding="utf-8").replace("  # type: ignore[misc]", "")
        if name == "image_processing_residua.py":
            code = code.replace(f"\n{IMAGE_IMPORT}\n", "") + _image_functions()
        (folder / name).write_text(code, encoding="utf-8")


def network_config(network: NormalizedNetwork, size: int) -> dict[str, Json]:
    """The operations and tensors of a network: `graph`, `tensors` and `head` of its config.json.

    Raises:
        UserError: it has an operation that the code does not run.
    """
    last = network.network.head[-1]
    head = f"network.head.{len(network.network.head) - 1}"
    parameters = dict(network.named_parameters())
    return {
        "graph": network_graph(network.network, size),
        "tensors": {
            name: [list(value.shape), str(value.dtype).removeprefix("torch."), name in parameters]
            for name, value in network.state_dict().items()
        },
        "head": [f"{head}.weight", f"{head}.bias" if last.bias is not None else None],
    }


def network_graph(network: ResidualNetwork, size: int) -> list[Json]:
    """The operations in order, each with its name, operator and arguments.

    Raises:
        UserError: it has an operation that the code does not run.
    """
    example = torch.zeros(2, network.first_convolution.in_channels, size, size)
    batch = ({0: torch.export.Dim.AUTO},)
    features = Features(network).eval()
    program = torch.export.export(features, (example,), dynamic_shapes=batch, strict=False)
    inputs = {
        spec.arg.name: {"tensor": spec.target} if spec.target else {"value": "images"}
        for spec in program.graph_signature.input_specs
    }
    return [
        _operation(node, inputs)
        for node in program.graph_module.graph.nodes
        if node.op == "call_function"
    ]


def _operation(node: fx.Node, inputs: dict[str, Json]) -> Json:
    name = "getitem" if node.target is operator.getitem else str(node.target)
    if name != "getitem" and name.removeprefix("aten.").partition(".")[0] not in _operators():
        raise UserError(f"the operation {name} of this network cannot be published")
    operation = {
        "name": node.name,
        "op": name.removeprefix("aten."),
        "args": [_encoded(each, inputs) for each in node.args],
    }
    options = {name: _encoded(each, inputs) for name, each in node.kwargs.items()}
    options = {name: value for name, value in options.items() if value is not None}
    return operation | ({"kwargs": options} if options else {})


def _encoded(value: Any, inputs: dict[str, Json]) -> Json:
    if isinstance(value, fx.Node):
        return inputs.get(value.name, {"value": value.name})
    if isinstance(value, list | tuple):
        return [_encoded(each, inputs) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.device):
        return None
    raise UserError(f"the value {value!r} of this network cannot be published")


def _operators() -> set[str]:
    """The operators that the code runs: its `OPERATORS`, read without importing transformers."""
    tree = ast.parse((CODE / "modeling_residua.py").read_text(encoding="utf-8"))
    value = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "OPERATORS"
    )
    constants = (node for node in ast.walk(value) if isinstance(node, ast.Constant))
    return {str(node.value) for node in constants}


def _image_functions() -> str:
    """The code of residua that turns an image into the network's input."""
    functions = (image_files.prepare_image, image_files._resize, image_files._to_rgb)
    sources = "\n\n".join(inspect.getsource(function) for function in functions)
    imports = (
        "from typing import Literal\n\nfrom numpy.typing import NDArray\nfrom PIL import ImageOps\n"
    )
    names = ("BACKGROUND", "LARGE_PIXELS", "_ORIENTATION")
    constants = "".join(f"{name} = {getattr(image_files, name)}\n" for name in names)
    types = 'Fit = Literal["crop", "pad", "stretch"]\nChannels = Literal[1, 3]\n'
    return f"\n\n{imports}\n{constants}{types}\n\n{sources}"


def _write_json(path: Path, tree: Json) -> None:
    path.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
