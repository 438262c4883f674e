"""The names hold together, and no module imports from a floor above its own."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from symphony2vec import params
from symphony2vec.artifacts import REPRESENTATIONS
from symphony2vec.cli import cli

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "symphony2vec"
FLOORS = {
    "errors": 0, "params": 0, "artifacts": 0, "tracking": 0, "figures": 0, "parallel": 0, "fingerprints": 0,
    "corpus": 1, "leaks": 1, "synthesis": 1, "audio": 1, "clips": 1, "features": 1, "labels": 1, "scaling": 1,
    "listening": 1,
    "training": 2, "package": 2, "probe": 2, "generation": 2,
    "classifiers": 3, "embeddings": 3, "ali": 3, "temporal": 3, "meaning": 4, "report": 4,
    "atlas": 5, "collection": 5, "embedder": 5, "registry": 5, "study": 5, "cli": 6, "hear": 6,
}  # fmt: skip
HEAVY = {
    "IPython", "PIL", "accelerate", "boto3", "dask", "distributed", "dvc", "embedding_atlas", "jinja2", "joblib",
    "librosa", "lxml", "matplotlib", "midirenderer", "mlflow", "music21", "mutagen", "numba", "numpy", "optuna",
    "pandas", "partitura", "plotly", "pretty_midi", "psycopg", "pyarrow", "pyloudnorm", "safetensors", "scipy",
    "sklearn", "soundfile", "soxr", "threadpoolctl", "torch", "tqdm", "umap",
}  # fmt: skip
# Networks and their training: they import torch as they are imported, and so only functions import them.
NETWORKS = {
    "ali.attempt", "ali.crops", "ali.latent", "ali.learner", "ali.losses", "ali.networks", "ali.recorded",
    "classifiers.learner", "classifiers.networks",
    "embedder",
    "embeddings.learner", "embeddings.losses", "embeddings.networks", "embeddings.pca",
    "hear",  # its interface is made of tensors
    "package.contents", "package.example", "package.head", "package.loader", "package.model",
    "temporal.attempt", "temporal.devices", "temporal.kept", "temporal.learner", "temporal.losses",
    "temporal.networks", "temporal.training", "temporal.views",
    "training.loop", "training.precision", "training.source", "training.watch",
}  # fmt: skip
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py" or path.parent != SOURCE)


def word(stage: str) -> str:
    """The house word of a stage: classifiers-crop is the stage classifiers on another representation."""
    return stage.partition("-")[0]


WORDS = sorted({word(stage) for stage in PIPELINE})


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
    asked = {f"${{{name}.models}}": settings[name]["models"] for name in ("ali", "temporal")}
    axes = [asked[axis] if isinstance(axis, str) else axis for axis in matrix.values()]
    return [filled(whole, dict(zip(matrix, values, strict=True))) for values in itertools.product(*axes)]


INSTANCES = [(stage, instance) for stage in PIPELINE for instance in instances(stage)]
COMMANDS = [instance["cmd"] for _, instance in INSTANCES]


@pytest.mark.parametrize("stage", PIPELINE)
def test_one_word_leads_from_stage_to_module_command_folder_test_and_section(stage):
    house = word(stage)
    assert (SOURCE / f"{house}.py").is_file() or (SOURCE / house).is_dir()
    assert callable(importlib.import_module(f"symphony2vec.{house}").run)
    assert house in cli.commands
    assert PIPELINE[stage]["cmd"].split()[:2] == ["symphony2vec", house]
    (out,) = PIPELINE[stage]["outs"]
    assert (out if isinstance(out, str) else next(iter(out))).split("/")[:2] == ["out", house]
    code = {f"src/symphony2vec/{house}", f"src/symphony2vec/{house}.py"}
    assert code & set(PIPELINE[stage]["deps"])
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
        model, representation = cli.commands[name].params
        wanted = {f"symphony2vec {name} {one} {other}" for one in model.type.choices for other in REPRESENTATIONS}
        if "crop" in representation.type.choices:
            wanted.add(f"symphony2vec {name} ff crop")
        assert {command for command in COMMANDS if command.split()[1] == name} == wanted
        assert tuple(model.type.choices) == importlib.import_module(f"symphony2vec.{name}").MODELS


def test_every_ali_of_the_pipeline_is_a_setting_and_a_size():
    names = [command.split()[2] for command in COMMANDS if command.split()[1] == "ali"]
    assert names
    for name in names:
        setting, size = name.split("-")
        assert setting in importlib.import_module("symphony2vec.ali").SETTINGS
        assert int(size) >= 1


def test_every_temporal_model_of_the_pipeline_is_a_setting_and_a_size():
    names = [command.split()[2] for command in COMMANDS if command.split()[1] == "temporal"]
    known = params.read(ROOT / "params.yaml").temporal
    assert names == known.models
    assert {name.rpartition("-")[0] for name in names} <= set(known.names)


def test_no_two_commands_of_the_pipeline_write_the_same_folder():
    outs = [str(out if isinstance(out, str) else next(iter(out))) for _, one in INSTANCES for out in one["outs"]]
    assert len(outs) == len(set(outs))
    assert not [(one, other) for one in outs for other in outs if other.startswith(f"{one}/")]


@pytest.mark.parametrize(("stage", "instance"), INSTANCES, ids=COMMANDS)
def test_every_parameter_and_every_code_file_a_stage_depends_on_exists(stage, instance):
    unknown = [key for key in instance.get("params", []) if key not in params.names()]
    assert not unknown
    for dependency in instance["deps"]:
        if dependency.startswith("src/"):
            assert (ROOT / dependency).exists(), dependency


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_from_its_own_floor_or_below(path):
    own = FLOORS[room(path)]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("symphony2vec"):
            inner = (node.module or "").split(".")[1:]
            names = inner[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("symphony2vec.")]
        for name in names:
            if name in FLOORS:
                assert FLOORS[name] <= own, f"{path.name} (floor {own}) imports {name} (floor {FLOORS[name]})"


def test_every_room_has_a_floor():
    assert {room(path) for path in MODULES} == set(FLOORS)


def when_imported(path: Path) -> set[str]:
    """All that a module imports as it is imported itself, by dotted name: not inside functions or TYPE_CHECKING."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            found |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
        waiting += ast.iter_child_nodes(node)
    return found


def test_the_networks_are_modules_that_need_torch_or_numpy_at_once():
    def needed(path: Path) -> bool:
        names = when_imported(path)
        networks = {f"symphony2vec.{network}" for network in NETWORKS}
        return bool(HEAVY & {name.split(".")[0] for name in names} or networks & names)

    assert {dotted(path) for path in MODULES if needed(path)} == NETWORKS


@pytest.mark.parametrize("path", [path for path in MODULES if dotted(path) not in NETWORKS], ids=name_of)
def test_heavy_libraries_and_networks_are_imported_inside_functions(path):
    names = when_imported(path)
    assert not HEAVY & {name.split(".")[0] for name in names}
    assert not {f"symphony2vec.{network}" for network in NETWORKS} & names


def test_importing_every_other_module_loads_nothing_heavy():
    others = sorted({f"symphony2vec.{dotted(path)}" for path in MODULES if dotted(path) not in NETWORKS})
    code = f"import importlib, sys; [importlib.import_module(name) for name in {others}]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(others) <= set(loaded)
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
        module = importlib.import_module(f"symphony2vec.{name_of_stage}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                assert function.__doc__, f"{name_of_stage}.{name}"
