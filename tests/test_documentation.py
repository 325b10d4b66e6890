"""README and docs: their Python code runs, their commands, files and figures are correct."""

import re
import shlex
from pathlib import Path

import pytest
import renames
from cyclopts import CycloptsError
from PIL import Image

from residua.cli.app import app
from residua.cli.console import epoch_lines
from residua.data.shapes import generate
from residua.recipes import built_in
from residua.recipes.loading import resolve
from residua.runs.run import Run

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *ROOT.glob("docs/*.md"),
]
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
"""Pages that describe this version only."""
PLACEHOLDERS = {
    "RECIPE|FILE": "quickstart",
    "RECIPE": "quickstart",
    "RUN...": "run",
    "RUN": "run",
    "MODEL": "pocket",
    "PATHS...": "pictures",
    "N": "3",
    "TRIALS": "20",
    "FIELD=VALUE,VALUE": "optimizer.lr=0.1,0.2",
    "NAME": "resnet44",
    "DIR": "folder",
    "PATH": "folder",
    "FILE": "plot.svg",
    "mine.yaml": "quickstart",
}
README = (ROOT / "README.md").read_text(encoding="utf-8")
README_CODE = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The words after `residua` in code: commands of a page, without optional parts."""
    code = re.findall(r"`(residua [^`]*)`", text)
    code += re.findall(r"^    (residua [^#\n]*)", text, re.MULTILINE)
    optional = re.compile(r" \[[^\]{}]*\](?= |$)")
    lines = [optional.sub("", line.replace("\\|", "|")) for line in code]
    return [shlex.split(line)[1:] for line in lines if "…" not in line and "COMMAND" not in line]


def options(text: str) -> list[list[str]]:
    """The same commands, each with one of its optional parts."""
    found = []
    for line in re.findall(r"`(residua \w[^`]*\[--[^`]*)`", text):
        command, *_ = line.split(" [")
        for option in re.findall(r"\[(--[^\]]*)\]", line.replace("\\|", "|")):
            if not option.startswith("--field"):
                words = [word.split("|")[0] for word in option.split()]
                found.append([*command.replace("\\|", "|").split()[1:], *words])
    return found


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_commands_are_accepted(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for words in [*commands(text), *options(text)]:
        if len(words) == 1:
            assert words[0] in set(app), words
            continue
        filled = [PLACEHOLDERS.get(word, word.split("|")[0]) for word in words]
        try:
            _, bound, _ = app.parse_args(filled, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            pytest.fail(f"residua {' '.join(words)}: {error}")
        if page.name != "CONTRIBUTING.md" and filled[1] in built_in.names():
            resolve(filled[1], bound.arguments.get("overrides", ()))


def test_readme_shows_every_command() -> None:
    names = {words[0] for words in commands(README)}
    shown = {name for name in app if not name.startswith("-") and app[name].show}
    assert names == shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_files_and_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for link, anchor in re.findall(r"\]\(([^)#:]+)(?:#([^)]*))?\)", text):
        target = page.parent / link
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else [""]
        assert anchor in [heading.lower().replace(" ", "-") for heading in headings], anchor
    for target in re.findall(r"(?:`|^    )make (\w+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in re.findall(r"\bbenchmarks/\w+\.py", text):
        assert (ROOT / script).is_file(), script


def test_make_targets_are_documented() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    text = "".join(page.read_text(encoding="utf-8") for page in CURRENT)
    for target in set(targets.split()) - {"clean"}:
        assert f"make {target}" in text, target


@pytest.mark.slow
def test_python_code_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = generate(1, stream=1).images[0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save("picture.png")
    assert len(README_CODE) == 2
    for code in README_CODE:
        exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["1", "2"]


def test_readme_shows_the_recorded_quickstart() -> None:
    run = Run.open(ROOT / "records/2026-11-21-quickstart")
    shown = re.sub(r"\[/?[a-z]*\]", "", epoch_lines(run.log[-1], 10, best=True))
    for line in shown.splitlines():
        assert f"    {line}\n" in README


def test_changelog_lists_every_renamed_recipe_field() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = [re.findall(r"[\w.]+", line) for line in text.splitlines() if line.startswith("| ")]
    words = [{part for word in row for part in (word, word.split(".")[-1])} for row in rows]
    fields = [renames.FIELDS[name] for name in ("recipe.json", "architecture", "early_stopping")]
    kinds = {old: new for old, (new, _) in renames.KINDS.items() if old != new}
    changed = [*(names for _, names in renames.KINDS.values()), *renames.VALUES.values()]
    for names in [*fields, renames.NORM, kinds, *changed]:
        for old, new in names.items():
            if isinstance(old, str):
                pair = {old, str(new).lower()}
                assert any(pair <= row for row in words), (old, new)
