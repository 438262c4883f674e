"""Writing the winner of a study into params.yaml, of which only the values change; refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from conftest import ROOT
from symphony2vec import params
from symphony2vec.cli import cli
from symphony2vec.errors import UserError
from symphony2vec.models.ali import stage as ali
from symphony2vec.params import ALI_NAME, Params
from symphony2vec.project import Project
from symphony2vec.study import verdict, winner
from symphony2vec.study.database import Database
from symphony2vec.study.kinds import ALI

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
POINT = {"learning_rate": 0.00023456, "discriminator_learning_rate": 0.00001, "beta_1": 0.4, "beta_2": 0.9987,
         "dropout": 0.0, "latent": 64, "batch": 32}  # fmt: skip


@pytest.fixture
def current() -> Params:
    return params.read(ROOT / "params.yaml")


def apply_point(text: str, current: Params, **changes: Any) -> str:
    return winner.replace_setting(text, ALI, *ALI.make_setting({**POINT, **changes}, current))


def test_two_lines_change_and_all_others_stay_the_same(current):
    changed = apply_point(TEXT, current)
    pairs = [pair for pair in zip(TEXT.splitlines(), changed.splitlines(), strict=True) if pair[0] != pair[1]]
    (models, listed), (before, after) = pairs
    assert listed == models.replace("encoder-128]", "encoder-128, searched-64]")
    assert after.startswith(
        "  searched: {batch: 32, learning_rate: 0.0002346, discriminator_learning_rate: 0.00001, betas: [0.4, 0.9987], "
        "epochs: 60, patience: 0, dropout: 0.0, batch_norm: false, gate: 0.0, instance_noise: 0.0}"
    )
    assert after.partition("#")[2] == before.partition("#")[2] != ""


def test_the_setting_read_back_is_the_one_written(current):
    edited = params.check(YAML(typ="safe").load(apply_point(TEXT, current)))
    assert edited.ali.searched == ALI.make_setting(POINT, current)[1]
    assert edited.ali.models == [*current.ali.models, "searched-64"]
    assert edited.model_dump(exclude={"ali"}) == current.model_dump(exclude={"ali"})
    assert all(re.fullmatch(ALI_NAME, name) and name.split("-")[0] in ali.SETTINGS for name in edited.ali.models)


def test_a_new_winner_replaces_the_earlier_one(current):
    once = apply_point(TEXT, current)
    assert apply_point(once, current) == once
    again = apply_point(once, current, latent=256)
    assert "encoder-128, searched-256]" in again
    assert "searched-64" not in again


def test_a_file_in_block_style_stays_in_it(current):
    block = re.sub(r"^  searched: \{(.*?)\} .*$", _block, TEXT, flags=re.M)
    block = block.replace(
        "  models: [paper-256, paper-128, paper-40, original-128, long-128, encoder-128]",
        "  models:\n    # the paper's\n    - paper-256\n    - encoder-128   # the last one",
    )
    changed = apply_point(block, current)
    assert "    - encoder-128   # the last one\n    - searched-64\n  crop:" in changed
    assert "    learning_rate: 0.0002346   # of searched\n" in changed
    assert "    betas:\n    - 0.4\n    - 0.9987\n" in changed
    assert params.check(YAML(typ="safe").load(changed)).ali.searched == ALI.make_setting(POINT, current)[1]


def _block(match: re.Match[str]) -> str:
    """The mapping of one line as a block, with a comment."""
    inner = match[1].replace(" [0.5, 0.999]", "\n    - 0.5\n    - 0.999")
    lines = re.sub(r", (?=[a-z])", "\n    ", inner)
    return "  searched:\n    " + lines.replace("\n    discr", "   # of searched\n    discr")


def test_line_ends_of_windows_stay(current, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    best = verdict.Finalist(0, 0.5, POINT, {1: 0.5})
    winner.apply_winner(Project(tmp_path), current, best, dry_run=False)
    assert path.read_bytes() == apply_point(TEXT, current).replace("\n", "\r\n").encode()


# the command ----------------------------------------------------------------------------------------------------------


def make_study(project: Project, current: Params, repeats: int, *values: float) -> Database:
    """Return the database of a study whose trials have these values, and this many repeats each."""
    import optuna

    database = Database.from_url(project, None)
    project.mlruns.mkdir(exist_ok=True)
    study, repeat_study = database.open_studies("ali")
    study.set_user_attr("conditions", ALI.fixed_settings(current))
    ranges = current.study.ali
    distributions = {
        name: optuna.distributions.CategoricalDistribution(getattr(ranges, name))
        if isinstance(getattr(ranges, name), list)
        else optuna.distributions.FloatDistribution(0.0, 1.0)
        for name in ALI.param_names
    }
    for number, value in enumerate(values):
        point = {**POINT, "dropout": round(0.1 * number, 1)}
        study.add_trial(optuna.create_trial(value=value, params=point, distributions=distributions))
        for seed in range(1, 1 + repeats):
            attrs = {"trial": number, "seed": seed}
            repeat_study.add_trial(optuna.create_trial(value=0.1 * number, user_attrs=attrs))
    return database


def call(project: Project, *words: str) -> str:
    """Return what `symphony2vec study apply` prints."""
    result = CliRunner().invoke(cli, ["--project", str(project.root), "study", "apply", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_command_shows_the_difference_and_writes_it_without_dry_run(project, current):
    make_study(project, current, 3, 0.4, 0.3, 0.35, 0.1, 0.2)
    dry = call(project, "--dry-run")
    assert project.params.read_text() == TEXT
    output = call(project)
    assert output.replace("`dvc repro` trains it", "nothing was written") == dry
    changed = [line for line in output.splitlines() if re.match("[+-] ", line)]
    assert len(changed) == 4
    assert "trial 4: 40.0% on validation clips, mean over 3 seeds" in output
    assert project.params.read_text() == apply_point(TEXT, current, dropout=0.4)
    assert "params.yaml already contains the winner" in call(project)


def test_without_a_study_nothing_is_written(project):
    with pytest.raises(UserError, match=r"^no study in sqlite:///.*optuna\.db; `symphony2vec study ali` makes one$"):
        call(project)
    assert not project.mlruns.exists()


def test_a_study_that_is_not_finished_is_refused_with_what_is_missing(project, current):
    database = make_study(project, current, 2, 0.4, 0.3)
    with pytest.raises(
        UserError, match=r"2 of 6 repeats of the study 'ali' are missing, .*`symphony2vec study ali` runs"
    ):
        winner.select_winner(current, database, "ali")
    with pytest.raises(UserError, match=r"no study 'other' in .*; `symphony2vec study ali --name other` makes one"):
        winner.select_winner(current, database, "other")


def test_a_study_without_a_complete_trial_is_refused(project, current):
    with pytest.raises(UserError, match="the study 'ali' has no complete trial yet"):
        winner.select_winner(current, make_study(project, current, 0), "ali")


def test_a_winner_found_with_other_epochs_is_refused(project, current):
    database = make_study(project, current, 3, 0.4)
    other = current.model_copy(update={"study": current.study.model_copy(update={"epochs": 10})})
    with pytest.raises(UserError, match=r"began with study\.epochs 60, now it is 10"):
        winner.select_winner(other, database, "ali")


def test_there_is_no_winner_if_every_setting_failed_from_some_seed(project, current):
    import optuna

    database = make_study(project, current, 2, 0.4)
    failed = optuna.create_trial(
        state=optuna.trial.TrialState.FAIL, user_attrs={"trial": 0, "seed": 3, "failure": "diverged"}
    )
    database.open_studies("ali")[1].add_trial(failed)
    with pytest.raises(UserError, match="each of the best trials of the study 'ali' failed from some seed"):
        winner.select_winner(current, database, "ali")


def test_a_repeat_whose_worker_was_killed_has_three_attempts(project, current):
    import optuna

    study, repeats = make_study(project, current, 2, 0.4).open_studies("ali")
    dead = optuna.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs={"trial": 0, "seed": 3})
    for _ in range(3):
        assert [seed for _, seed in verdict.missing_repeats(study, repeats, current.study, 0)] == [3]
        repeats.add_trial(dead)
    assert not verdict.missing_repeats(study, repeats, current.study, 0)
