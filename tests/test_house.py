"""The names hold together, and no module imports from a level above its own."""

from __future__ import annotations

import ast
import graphlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from packaging.specifiers import SpecifierSet
from ruamel.yaml import YAML

from symphony2vec import params
from symphony2vec.cli import cli
from symphony2vec.project import REPRESENTATIONS

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "symphony2vec"
LEVELS = {
    "errors": 0, "extras": 0, "params": 0, "project": 0,
    "corpus": 1, "decoding": 1, "figures": 1, "parallel": 1, "synthesis": 1, "tracking": 1,
    "audio": 2, "clips": 2, "features": 2, "labels": 2,
    "models": 3, "package": 3,
    "evaluation": 4, "report": 4,
    "atlas": 5, "collection": 5, "embedder": 5, "registry": 5, "serving": 5, "study": 5,
    "cli": 6, "hear": 6,
}  # fmt: skip
# Extras of pyproject.toml: only where one is used is it imported, and one line says how to install it.
OPTIONAL = {"dask", "distributed", "embedding_atlas", "umap"}
# What `--help` does not load: everything that computes.
HEAVY = {
    "accelerate", "av", "joblib", "librosa", "matplotlib", "mlflow", "numpy", "optuna", "pandas", "scipy", "sklearn",
    "soundfile", "torch",
}  # fmt: skip
DVC_FILE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PIPELINE = DVC_FILE["stages"]
FOLDS = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))["folds"]
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py" or path.parent != SOURCE)


def word(stage: str) -> str:
    """The house word of a stage: classifiers-crop is the stage classifiers on another representation."""
    return stage.partition("-")[0]


WORDS = sorted({word(stage) for stage in PIPELINE})


def home(stage: str) -> str:
    """The package of a stage below symphony2vec, as "models/ali"."""
    name = word(stage)
    return next(str(path.relative_to(SOURCE)) for path in sorted(SOURCE.rglob(name)) if (path / "stage.py").is_file())


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def dotted(path: Path) -> str:
    """As in "ali.networks"; a package by its own name."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def instances(stage: str) -> list[dict[str, Any]]:
    """What DVC runs for a stage: the stage once for every combination of its matrix, with its values filled in."""
    settings = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))

    def filled(value: Any, item: dict[str, str]) -> Any:
        if isinstance(value, dict):
            return {filled(key, item): filled(inner, item) for key, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner, item) for inner in value]
        names = {f"${{item.{key}}}": one for key, one in item.items()}
        for name, one in (names | {"${corpus.name}": settings["corpus"]["name"]}).items():
            value = value.replace(name, one) if isinstance(value, str) else value
        return value

    whole = dict(PIPELINE[stage])
    matrix = whole.pop("matrix", {})
    asked = {f"${{{name}.models}}": settings[name]["models"] for name in ("ali", "temporal")} | {"${folds}": FOLDS}
    axes = [asked[axis] if isinstance(axis, str) else axis for axis in matrix.values()]
    return [filled(whole, dict(zip(matrix, values, strict=True))) for values in itertools.product(*axes)]


INSTANCES = [(stage, instance) for stage in PIPELINE for instance in instances(stage)]
COMMANDS = [instance["cmd"] for _, instance in INSTANCES]


@pytest.mark.parametrize("stage", PIPELINE)
def test_one_word_leads_from_stage_to_module_command_folder_test_and_section(stage):
    house = word(stage)
    assert callable(importlib.import_module(f"symphony2vec.{home(stage).replace('/', '.')}.stage").run)
    assert house in cli.commands
    assert PIPELINE[stage]["cmd"].split()[:2] == ["symphony2vec", house]
    (out,) = PIPELINE[stage]["outs"]
    assert (out if isinstance(out, str) else next(iter(out))).split("/")[:2] == ["out", house]
    code = f"src/symphony2vec/{home(stage)}"
    assert any(dependency.startswith(code) for dependency in PIPELINE[stage]["deps"])
    tests = ROOT / "tests"
    assert (tests / f"test_{house}.py").is_file() or list(tests.glob(f"test_{house}_*.py"))
    if house != "report":
        assert house in params.Params.model_fields


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_pipeline_is_one_that_the_command_line_takes(command):
    program, name, *words = command.split()
    assert program == "symphony2vec"
    cli.commands[name].make_context(name, words)  # a word too many, or no choice of the command, is a UsageError


def test_the_pipeline_trains_every_model_that_the_command_line_offers():
    for name in ("classifiers", "embeddings"):
        model, representation, _ = cli.commands[name].params
        wanted = {f"{one} {other}" for one in model.type.choices for other in REPRESENTATIONS}
        if "crop" in representation.type.choices:
            wanted.add("ff crop")
        expected = {f"symphony2vec {name} {words} --fold {fold}" for words in wanted for fold in FOLDS}
        assert {command for command in COMMANDS if command.split()[1] == name} == expected
        assert tuple(model.type.choices) == importlib.import_module(f"symphony2vec.models.{name}.stage").MODELS


def test_every_ali_of_the_pipeline_is_a_setting_and_a_size():
    names = [command.split()[2] for command in COMMANDS if command.split()[1] == "ali"]
    assert names
    for name in names:
        setting, size = name.split("-")
        assert setting in importlib.import_module("symphony2vec.models.ali.stage").SETTINGS
        assert int(size) >= 1


def test_every_temporal_model_of_the_pipeline_is_a_setting_and_a_size():
    names = [command.split()[2] for command in COMMANDS if command.split()[1] == "temporal"]
    known = params.read(ROOT / "params.yaml").temporal
    assert names == [name for name in known.models for _ in FOLDS]
    assert {name.rpartition("-")[0] for name in names} <= set(known.names)


def test_no_two_commands_of_the_pipeline_write_the_same_folder():
    outs = outputs()
    assert len(outs) == len(set(outs))
    assert not [(one, other) for one in outs for other in outs if other.startswith(f"{one}/")]


def test_dvc_shows_and_names_only_files_that_the_pipeline_writes():
    paths = [artifact["path"].replace("${folds[0]}", FOLDS[0]) for artifact in DVC_FILE["artifacts"].values()]
    paths += [path for plot in DVC_FILE["plots"] for path in plot]
    assert len(paths) == 5
    for path in paths:
        assert any(path.startswith(f"{out}/") for out in outputs()), path


def outputs() -> list[str]:
    """The outputs and metrics of all stages."""
    listed = [out for _, one in INSTANCES for out in [*one["outs"], *one.get("metrics", [])]]
    return [str(out if isinstance(out, str) else next(iter(out))) for out in listed]


@pytest.mark.parametrize(("stage", "instance"), INSTANCES, ids=COMMANDS)
def test_every_parameter_and_every_code_file_a_stage_depends_on_exists(stage, instance):
    unknown = [key for key in instance.get("params", []) if key not in params.names()]
    assert not unknown
    for dependency in instance["deps"]:
        if dependency.startswith("src/"):
            assert (ROOT / dependency).exists(), dependency


def imports(node: ast.AST) -> Iterator[str]:
    """The dotted names that the import statements at and below a node may bind."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            yield from (alias.name for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom):
            assert inner.level == 0, "a relative import"
            yield from (f"{inner.module}.{alias.name}" for alias in inner.names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_from_its_own_level_or_below(path):
    own = LEVELS[room(path)]
    for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        package, _, inner = name.partition(".")
        other = inner.split(".")[0]
        if package == "symphony2vec" and other in LEVELS:
            assert LEVELS[other] <= own, f"{name_of(path)} (level {own}) imports {other} (level {LEVELS[other]})"


def test_every_room_has_a_level():
    assert {room(path) for path in MODULES} == set(LEVELS)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_stand_at_the_top_unless_the_library_is_optional(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert {name.partition(".")[0] for name in imports(node)} <= OPTIONAL, f"{node.name}, line {node.lineno}"


def test_no_module_is_part_of_an_import_cycle():
    names = {dotted(path): path for path in MODULES}
    graph = {}
    for name, path in names.items():
        inner = {other.removeprefix("symphony2vec.") for other in imports(ast.parse(path.read_text(encoding="utf-8")))}
        graph[name] = {other if other in names else other.rpartition(".")[0] for other in inner} & set(names) - {name}
    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(names)  # a CycleError names the cycle


# Names that say what happened to a thing instead of what it is, and words of an earlier vocabulary.
VAGUE_NAMES = set(
    (
        "found told kept asked wanted made drawn heard said spoken one own given named shown taken chosen "
        "placed begun looked buried crown litter dice along opened answered settled counted decided written "
        "titled held known seen noted twins strays hush things maker hearing worth yardstick draw draws "
        "reading readings"
    ).split()
)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_names_say_what_a_thing_is(path):
    bound = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
    assert not {name for name in bound if name.strip("_").lower() in VAGUE_NAMES}


def test_help_loads_no_library_that_computes():
    code = "import sys, symphony2vec.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "symphony2vec.cli.lazy" in loaded
    assert not HEAVY & set(loaded)


def commands(group: click.Group, before: str = "") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name, command in group.commands.items():
        found.append((f"{before}{name}", command))
        if isinstance(command, click.Group):
            found += commands(command, f"{before}{name} ")
    return found


@pytest.mark.parametrize(("name", "command"), commands(cli), ids=[name for name, _ in commands(cli)])
def test_every_command_and_option_has_help(name, command):
    assert command.help, name
    assert len(command.help.split(".")[0]) > 10
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.name}"


def test_the_readme_names_only_commands_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for line in re.findall(r"`symphony2vec ([a-z][a-z ]*)", text) + re.findall(
        r"^ *symphony2vec ([a-z ]+)", text, re.M
    ):
        words = line.split()
        command: click.Command = cli
        for word in words:
            if not isinstance(command, click.Group):
                break
            assert word in command.commands, f"symphony2vec {line}"
            command = command.commands[word]


def test_public_functions_say_what_they_do():
    for name_of_stage in WORDS:
        module = importlib.import_module(f"symphony2vec.{home(name_of_stage).replace('/', '.')}.stage")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                assert function.__doc__, f"{name_of_stage}.{name}"


def test_every_pinned_package_takes_the_python_of_debian():
    """Debian 12 has 3.11.2; pip calls a package that wants a later one a conflict of versions."""
    refused = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name = line.partition("==")[0]
        try:
            needed = "" if line.startswith("#") else importlib.metadata.metadata(name).get("Requires-Python", "")
        except importlib.metadata.PackageNotFoundError:  # of an extra, or of another system
            continue
        if not SpecifierSet(needed or "").contains("3.11.2"):
            refused[name] = needed
    assert not refused


def test_the_page_of_every_command_links_to_a_guide():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "scripts" / "site_pages.py")
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    assert set(pages.GUIDES) == set(cli.commands)
    assert all((ROOT / "docs" / f"{name}.md").is_file() for name in pages.GUIDES.values())
