"""The architecture: which package may import which, and what is public."""

import ast
import inspect
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import residua

SOURCE = Path(residua.__file__).parent
ORDER = """
    errors config seeding files devices distributed schedules | data | augment | models | optim
    | recipes | runs | inference | training | reports | integrations | cli | __init__ | __main__
""".replace("|", " ").split()
"""The packages and modules at the root; each imports only from those before it."""
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
        path.read_text(encoding="utf-8")
    )
    for path in SOURCE.rglob("*.py")
}
"""Every module, by its name without `residua.`; the package itself is `__init__`."""


def root(module: str) -> str:
    """The package or module at the root that a module belongs to."""
    return module.partition(".")[0]


def imports(module: str) -> Iterator[tuple[str, str]]:
    """Each module of this package that a module imports, and the name it takes from it."""
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.ImportFrom) and root(node.module or "") == "residua":
            for alias in node.names:
                name = f"{node.module}.{alias.name}".removeprefix("residua.")
                yield (name, "") if name in MODULES else (name.rpartition(".")[0], alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                assert root(alias.name) != "residua", f"{module}: from residua import ..."


def test_every_package_has_a_place_in_the_order() -> None:
    assert set(map(root, MODULES)) == set(ORDER)
    assert len([path for path in SOURCE.iterdir() if path.name != "__pycache__"]) <= 22


def test_packages_import_only_from_those_before_them() -> None:
    wrong = [
        f"{module} imports {other}"
        for module in MODULES
        for other, _ in imports(module)
        if root(other) != root(module) and ORDER.index(root(other)) > ORDER.index(root(module))
    ]
    assert not wrong


def test_modules_of_a_package_do_not_import_each_other_in_a_circle() -> None:
    graph = {module: {other for other, _ in imports(module)} for module in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_readers_of_runs_never_train_and_never_load_data_sets() -> None:
    """Only `load_split` loads a data set; of `data`, the others take types and image decoding."""
    values = {
        "BACKGROUND",
        "ChannelStats",
        "Data",
        "DuplicateGroup",
        "Inspection",
        "MAX_CLASSES",
        "Preparation",
        "Split",
        "Splits",
        "open_image",
        "prepare_image",
        "read_image",
    }
    loaders = set()
    for module, tree in MODULES.items():
        if root(module) not in ("runs", "inference", "reports"):
            continue
        for other, name in imports(module):
            assert root(other) != "training", module
            assert root(other) != "data" or name in values, f"{module}: {name}"
        for node in ast.walk(tree):
            load = r"data(set)?\.(load|read)\("
            if isinstance(node, ast.FunctionDef) and re.search(load, ast.unparse(node)):
                loaders.add(f"{module}.{node.name}")
    assert loaders == {"inference.classifier.load_split"}


def test_no_module_has_a_vague_name() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert not [module for module in MODULES if vague & set(module.split("."))]


def test_public_names_exist_and_are_documented() -> None:
    assert isinstance(residua.__version__, str)
    for name in set(residua.__all__) - {"__version__"}:
        public = getattr(residua, name)
        assert inspect.getdoc(public), name
        for member, value in vars(public).items() if isinstance(public, type) else ():
            if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{member}"
    for name, field in residua.Recipe.model_fields.items():
        assert field.description, f"Recipe.{name}"
