"""The winner of a study, written into params.yaml: as ali.searched or temporal.full, and as one of their models.

Only the characters of the values change: comments, alignment and the way a list is written stay as they are.
"""

from __future__ import annotations

import difflib
import json
import re
from decimal import Decimal
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from symphony2vec import params
from symphony2vec.clips import splits
from symphony2vec.errors import UserError
from symphony2vec.params import Params
from symphony2vec.project import Project, atomic_file
from symphony2vec.study import kinds, space, verdict
from symphony2vec.study.database import Database
from symphony2vec.study.kinds import Kind
from symphony2vec.study.verdict import Standing

Edit = tuple[int, int, str]  # from and to, in characters, and what stands there instead


def chosen(project: Project, given: Params, kept: Database, name: str) -> Standing:
    """The winner of a finished study.

    Raises:
        UserError: there is no such study, a repeat is missing or running, no setting could be trained from every seed,
            or the study was made with other epochs or another base than params.yaml names now.
    """
    seed = splits.list_folds(given)[0].seed
    again = f"`{kinds.KINDS.get(name, kinds.ALI).command(name)}`"
    with kept.spoken():
        if not kept.exists():
            raise UserError(f"no study in {kept.shown}; {again} makes one")
        try:
            study, repeats = kept.studies(name, create=False)
        except KeyError:
            raise UserError(f"no study '{name}' in {kept.shown}; {again} makes one") from None
        kind = kinds.of(study)
        again = f"`{kind.command(name)}`"
        found = verdict.standings(study, repeats, given.study, seed)
        if not found:
            raise UserError(f"the study '{name}' has no complete trial yet; {again} goes on with it")
        space.agreed(study, kind.given(given), kept.shown)
        lacking = sum(given.study.seeds - len(one.seeds) for one in found)
    if lacking:
        raise UserError(
            f"{lacking} of {len(found) * given.study.seeds} repeats of the study '{name}' are missing, and without "
            f"them there is no winner; {again} makes them"
        )
    if not found[0].sound:
        raise UserError(f"each of the best trials of the study '{name}' failed from some seed; none is a winner")
    return found[0]


def apply(project: Project, given: Params, winner: Standing, dry: bool) -> str:
    """Write the winner into params.yaml; returns what changes as a unified diff, "" where nothing does."""
    latent, setting = winner.kind.setting(winner.found, given)
    before = project.params.read_bytes().decode("utf-8")
    after = written(before, winner.kind, latent, setting)
    if not dry and after != before:
        with atomic_file(project.params) as partial:
            partial.write_bytes(after.encode("utf-8"))
    was, now = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return "".join(difflib.unified_diff(was, now, "params.yaml", "params.yaml with the winner"))


def written(text: str, kind: Kind, latent: int, setting: Any) -> str:
    """The text of a params.yaml with this setting as, say, `ali.searched`, and searched-<latent> among ali.models."""
    section = _at(YAML().compose(text), kind.name)
    own, models = _at(section, kind.searched), _at(section, "models")
    assert isinstance(models, SequenceNode)
    edits = [edit for key, value in setting.model_dump().items() for edit in _put(_at(own, key), value)]
    edits += _listed(text, models, f"{kind.searched}-{latent}", kind.replaces)
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + _aligned(text[start:], end - start, new)
    made = params.check(YAML(typ="safe").load(text), "params.yaml with the winner")
    assert getattr(getattr(made, kind.name), kind.searched) == setting
    return text


def _aligned(text: str, length: int, new: str) -> str:
    """The text with something else in the place of its beginning; a comment after it stays in its column, if it can."""
    gap = re.match(" {2,}(?=#)", text[length:])
    room = len(gap[0]) - (len(new) - length) if gap else 0
    if gap is None or room < 2:
        return new + text[length:]
    return new + " " * room + text[length + len(gap[0]) :]


def _at(node: Node, *path: str) -> Node:
    """The value of a key in nested mappings; that it is there, `params.read` has checked."""
    for key in path:
        assert isinstance(node, MappingNode)
        node = next(value for name, value in node.value if name.value == key)
    return node


def _put(node: Node, value: Any) -> list[Edit]:
    """Another value in the place of a scalar, or of each scalar of a list of the same length."""
    if isinstance(node, SequenceNode):
        return [edit for one, inner in zip(node.value, value, strict=True) for edit in _put(one, inner)]
    return [(node.start_mark.index, node.end_mark.index, _plain(value))]


def _listed(text: str, node: SequenceNode, name: str, replaces: bool) -> list[Edit]:
    """A name in a list of models, in the place of an earlier winner (`replaces`) or after the last one."""
    names = [one.value for one in node.value]
    if name in names:
        return []
    for one in node.value:
        if replaces and one.value.startswith(name[: name.index("-") + 1]):
            return _put(one, name)
    last = node.value[-1]
    if node.flow_style:
        return [(last.end_mark.index, last.end_mark.index, f", {name}")]
    begin = text.rindex("\n", 0, last.start_mark.index) + 1
    end = text.find("\n", last.end_mark.index)
    end = len(text) if end < 0 else end
    return [(end, end, f"\n{text[begin : last.start_mark.index]}{name}")]


def _plain(value: Any) -> str:
    """A value as params.yaml has them: 0.00001, not 1e-05; a string in quotes where it needs them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        simple = re.fullmatch("[a-z][a-z0-9_-]*", value) and YAML(typ="safe").load(value) == value
        return value if simple else json.dumps(value)
    if not isinstance(value, float):
        return str(value)
    digits = f"{Decimal(repr(value)):f}"
    return digits if "." in digits else f"{digits}.0"
