"""The names hold together, and no module imports from a floor above its own."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from symphony2vec import params
from symphony2vec.cli import cli

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "symphony2vec"
FLOORS = {
    "errors": 0, "params": 0, "artifacts": 0, "tracking": 0, "figures": 0, "parallel": 0,
    "corpus": 1, "synthesis": 1, "audio": 1, "clips": 1, "features": 1,
    "embeddings": 3, "probe": 4, "report": 4, "cli": 6,
}  # fmt: skip
STAGES = tuple(YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py" or path.parent != SOURCE)


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("stage", STAGES)
def test_one_word_leads_from_stage_to_module_command_folder_test_and_section(stage):
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    assert (SOURCE / f"{stage}.py").is_file() or (SOURCE / stage).is_dir()
    assert callable(importlib.import_module(f"symphony2vec.{stage}").run)
    assert stage in cli.commands
    assert pipeline["cmd"].startswith(f"symphony2vec {stage}")
    (out,) = pipeline["outs"]
    assert (out if isinstance(out, str) else next(iter(out))).split("/")[:2] == ["out", stage]
    assert any(f"src/symphony2vec/{stage}" in dependency for dependency in pipeline["deps"])
    assert (ROOT / "tests" / f"test_{stage}.py").is_file()
    if stage != "report":
        assert stage in params.Params.model_fields


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
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


def test_heavy_libraries_are_imported_inside_functions():
    heavy = {"numpy", "pandas", "librosa", "sklearn", "mlflow", "matplotlib", "soundfile", "joblib", "partitura", "dvc"}
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in at_import:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not heavy & {name.split(".")[0] for name in names}, f"{path.name}: {names}"


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
    for stage in STAGES:
        module = importlib.import_module(f"symphony2vec.{stage}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                assert function.__doc__, f"{stage}.{name}"
