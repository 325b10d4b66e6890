"""The architecture, held: every module imports only from its left and from below."""

import ast
import importlib
from pathlib import Path

import residua

SOURCE = Path(residua.__file__).parent
ORDER = [
    ["errors", "value", "seed", "published", "disk", "schema"],
    ["schedule"],
    ["data"],
    ["augment", "models", "loss", "optim", "divergence"],
    ["evaluation"],
    ["recipe"],
    ["recipes"],
    ["recipe_forms"],
    ["device", "compiling", "environment", "state", "gradients", "lock"],
    ["run", "setting", "log_lines", "explain"],
    ["artifacts", "recovery"],
    ["epochs"],
    ["training"],
    ["report", "console", "rate_finder", "bench"],
    ["compare", "live", "cli_find_rate", "cli_bench"],
    ["cli"],
    ["__main__", "__init__"],
]
"""The way of the data, left to right; what stands together does not import each other."""
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
BESIDE = {("environment", "device"), ("setting", "state")}
"""Neighbours of which the first may import the second."""


def rooms() -> dict[Path, str]:
    files = (path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
    return {path: path.parts[0].removesuffix(".py") for path in files}


def imported(path: Path) -> set[str]:
    """The rooms that a module imports, however it does."""
    found = set()
    for node in ast.walk(ast.parse((SOURCE / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            words = node.module.split(".")
            if words == ["residua"]:
                found |= {alias.name for alias in node.names}
            elif words[0] == "residua":
                found.add(words[1])
        elif isinstance(node, ast.Import):
            found |= {n.name.split(".")[1] for n in node.names if n.name.startswith("residua.")}
    return found


def test_every_module_has_its_place() -> None:
    assert set(rooms().values()) == set(LEVEL)


def test_imports_go_one_way() -> None:
    wrong = [
        f"{path} imports {other}"
        for path, room in rooms().items()
        for other in imported(path) - {room}
        if LEVEL[other] >= LEVEL[room] and (room, other) not in BESIDE
    ]
    assert not wrong


def test_readers_of_runs_never_load_data_sets() -> None:
    for path, room in rooms().items():
        if room in {"report", "compare"}:
            assert not imported(path) & {"data", "training", "setting"}, path


def test_no_room_without_a_name() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert not vague & {path.stem for path in rooms()} | vague & set(rooms().values())


def test_public_names_are_there() -> None:
    package = importlib.import_module("residua")
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert callable(package.train)
