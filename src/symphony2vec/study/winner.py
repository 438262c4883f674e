"""Write the winner of a study into params.yaml: as ali.searched or temporal.full, and into their list of models.

Only the characters of the values change; comments, alignment and the style of lists stay as they are.
"""

from __future__ import annotations

import difflib
import json
import re
from decimal import Decimal
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from symphony2vec import params as params_module
from symphony2vec.clips import splits
from symphony2vec.errors import UserError
from symphony2vec.params import Params
from symphony2vec.project import Project, atomic_file
from symphony2vec.study import kinds, space, verdict
from symphony2vec.study.database import Database
from symphony2vec.study.kinds import StudyKind
from symphony2vec.study.verdict import Finalist

Edit = tuple[int, int, str]  # start and end (characters), and the replacement


def select_winner(params: Params, database: Database, name: str) -> Finalist:
    """Return the winner of a finished study.

    Raises:
        UserError: There is no such study, a repeat is missing or running, every finalist failed from some seed, or the
            study was made with other epochs or another base setting than params.yaml has now.
    """
    first_seed = next(iter(splits.list_folds(params))).seed
    command = f"`{kinds.KINDS.get(name, kinds.ALI).command(name)}`"
    with database.report_errors():
        if not database.exists():
            raise UserError(f"no study in {database.safe_url}; {command} makes one")
        try:
            study, repeats = database.open_studies(name, create=False)
        except KeyError:
            raise UserError(f"no study '{name}' in {database.safe_url}; {command} makes one") from None
        kind = kinds.kind_of(study)
        command = f"`{kind.command(name)}`"
        ranking = verdict.rank_finalists(study, repeats, params.study, first_seed)
        if not ranking:
            raise UserError(f"the study '{name}' has no complete trial yet; {command} resumes it")
        space.check_conditions(study, kind.fixed_settings(params), database.safe_url)
    missing = sum(params.study.seeds - len(trial.repeats) for trial in ranking)
    if missing:
        raise UserError(
            f"{missing} of {len(ranking) * params.study.seeds} repeats of the study '{name}' are missing, and without "
            f"them there is no winner; {command} runs them"
        )
    if not ranking[0].is_stable:
        raise UserError(f"each of the best trials of the study '{name}' failed from some seed, so there is no winner")
    return ranking[0]


def apply_winner(project: Project, params: Params, winner: Finalist, dry_run: bool) -> str:
    """Write the winner into params.yaml, unless `dry_run`; return the change as a unified diff, "" if there is none."""
    latent, setting = winner.kind.make_setting(winner.point, params)
    before = project.params.read_bytes().decode("utf-8")
    after = replace_setting(before, winner.kind, latent, setting)
    if not dry_run and after != before:
        with atomic_file(project.params) as partial:
            partial.write_bytes(after.encode("utf-8"))
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return "".join(difflib.unified_diff(old, new, "params.yaml", "params.yaml with the winner"))


def replace_setting(text: str, kind: StudyKind, latent: int, setting: Any) -> str:
    """Return the text of params.yaml with a setting as, say, `ali.searched`, and searched-<latent> in ali.models."""
    section = _value_node(YAML().compose(text), kind.name)
    setting_node, models = _value_node(section, kind.setting_name), _value_node(section, "models")
    assert isinstance(models, SequenceNode)
    edits = [
        edit
        for key, value in setting.model_dump().items()
        for edit in _edit_value(_value_node(setting_node, key), value)
    ]
    edits += _edit_models(text, models, f"{kind.setting_name}-{latent}", kind.replaces_winner)
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + _replace_start(text[start:], end - start, new)
    edited = params_module.check(YAML(typ="safe").load(text), "params.yaml with the winner")
    assert getattr(getattr(edited, kind.name), kind.setting_name) == setting
    return text


def _replace_start(text: str, length: int, new: str) -> str:
    """Return the text with its first characters replaced; a comment after them keeps its column if there is room."""
    gap = re.match(" {2,}(?=#)", text[length:])
    room = len(gap[0]) - (len(new) - length) if gap else 0
    if gap is None or room < 1:
        return new + text[length:]
    return new + " " * room + text[length + len(gap[0]) :]


def _value_node(node: Node, key: str) -> Node:
    """Return the value of a key of a mapping; `params.read` has checked that it exists."""
    assert isinstance(node, MappingNode)
    value: Node = next(value for name, value in node.value if name.value == key)
    return value


def _edit_value(node: Node, value: Any) -> list[Edit]:
    """Return the edits that replace a scalar, or each scalar of a list of the same length."""
    if isinstance(node, SequenceNode):
        pairs = zip(node.value, value, strict=True)
        return [edit for item, item_value in pairs for edit in _edit_value(item, item_value)]
    return [(node.start_mark.index, node.end_mark.index, _format_scalar(value))]


def _edit_models(text: str, node: SequenceNode, name: str, replaces_winner: bool) -> list[Edit]:
    """Return the edits that add a name to a list of models, or replace the name of an earlier winner by it."""
    if name in [item.value for item in node.value]:
        return []
    for item in node.value:
        if replaces_winner and item.value.startswith(name[: name.index("-") + 1]):
            return _edit_value(item, name)
    last = node.value[-1]
    if node.flow_style:
        return [(last.end_mark.index, last.end_mark.index, f", {name}")]
    begin = text.rindex("\n", 0, last.start_mark.index) + 1
    end = text.find("\n", last.end_mark.index)
    end = len(text) if end < 0 else end
    return [(end, end, f"\n{text[begin : last.start_mark.index]}{name}")]


def _format_scalar(value: Any) -> str:
    """Return a value in the style of params.yaml: 0.00001, not 1e-05; a string in quotes only if it needs them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        is_plain = re.fullmatch("[a-z][a-z0-9_-]*", value) and YAML(typ="safe").load(value) == value
        return value if is_plain else json.dumps(value)
    if not isinstance(value, float):
        return str(value)
    digits = f"{Decimal(repr(value)):f}"
    return digits if "." in digits else f"{digits}.0"
