"""The winner of a study in params.yaml: only its values change; and what is refused."""

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
FOUND = {"learning_rate": 0.00023456, "discriminator_learning_rate": 0.00001, "beta_1": 0.4, "beta_2": 0.9987,
         "dropout": 0.0, "latent": 64, "batch": 32}  # fmt: skip


@pytest.fixture
def given() -> Params:
    return params.read(ROOT / "params.yaml")


def applied(text: str, given: Params, **changes: Any) -> str:
    return winner.written(text, ALI, *ALI.setting({**FOUND, **changes}, given))


def test_two_lines_change_and_every_other_stays_to_the_letter(given):
    changed = applied(TEXT, given)
    pairs = [pair for pair in zip(TEXT.splitlines(), changed.splitlines(), strict=True) if pair[0] != pair[1]]
    (models, listed), (before, after) = pairs
    assert listed == models.replace("encoder-128]", "encoder-128, searched-64]")
    assert after.startswith(
        "  searched: {batch: 32, learning_rate: 0.0002346, discriminator_learning_rate: 0.00001, betas: [0.4, 0.9987], "
        "epochs: 60, patience: 0, dropout: 0.0, batch_norm: false, gate: 0.0, instance_noise: 0.0}"
    )
    assert after.partition("#")[2] == before.partition("#")[2] != ""


def test_what_is_read_back_is_the_setting_that_was_tried(given):
    made = params.check(YAML(typ="safe").load(applied(TEXT, given)))
    assert made.ali.searched == ALI.setting(FOUND, given)[1]
    assert made.ali.models == [*given.ali.models, "searched-64"]
    assert made.model_dump(exclude={"ali"}) == given.model_dump(exclude={"ali"})
    assert all(re.fullmatch(ALI_NAME, name) and name.split("-")[0] in ali.SETTINGS for name in made.ali.models)


def test_an_earlier_winner_gives_its_place_to_the_next(given):
    once = applied(TEXT, given)
    assert applied(once, given) == once
    again = applied(once, given, latent=256)
    assert "encoder-128, searched-256]" in again
    assert "searched-64" not in again


def test_a_file_in_block_style_stays_in_it(given):
    block = re.sub(r"^  searched: \{(.*?)\} .*$", _block, TEXT, flags=re.M)
    block = block.replace(
        "  models: [paper-256, paper-128, paper-40, original-128, long-128, encoder-128]",
        "  models:\n    # the paper's\n    - paper-256\n    - encoder-128   # the last one",
    )
    changed = applied(block, given)
    assert "    - encoder-128   # the last one\n    - searched-64\n  crop:" in changed
    assert "    learning_rate: 0.0002346   # of searched\n" in changed
    assert "    betas:\n    - 0.4\n    - 0.9987\n" in changed
    assert params.check(YAML(typ="safe").load(changed)).ali.searched == ALI.setting(FOUND, given)[1]


def _block(match: re.Match[str]) -> str:
    """The mapping of one line as a block, with a comment."""
    inner = match[1].replace(" [0.5, 0.999]", "\n    - 0.5\n    - 0.999")
    lines = re.sub(r", (?=[a-z])", "\n    ", inner)
    return "  searched:\n    " + lines.replace("\n    discr", "   # of searched\n    discr")


def test_line_ends_of_windows_stay(given, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    one = verdict.Standing(0, 0.5, FOUND, {1: 0.5})
    winner.apply(Project(tmp_path), given, one, dry=False)
    assert path.read_bytes() == applied(TEXT, given).replace("\n", "\r\n").encode()


# the command ----------------------------------------------------------------------------------------------------------


def studied(project: Project, given: Params, repeats: int, *values: float) -> Database:
    """A study whose trials had these values, and so many repeats of each of the best."""
    import optuna

    kept = Database.of(project, None)
    project.mlruns.mkdir(exist_ok=True)
    study, again = kept.studies("ali")
    study.set_user_attr("conditions", ALI.given(given))
    ranges = given.study.ali
    kinds = {
        name: optuna.distributions.CategoricalDistribution(getattr(ranges, name))
        if isinstance(getattr(ranges, name), list)
        else optuna.distributions.FloatDistribution(0.0, 1.0)
        for name in ALI.drawn
    }
    for number, value in enumerate(values):
        drawn = {**FOUND, "dropout": round(0.1 * number, 1)}
        study.add_trial(optuna.create_trial(value=value, params=drawn, distributions=kinds))
        for seed in range(1, 1 + repeats):
            attrs = {"trial": number, "seed": seed}
            again.add_trial(optuna.create_trial(value=0.1 * number, user_attrs=attrs))
    return kept


def call(project: Project, *words: str) -> str:
    """What `symphony2vec study apply` prints."""
    done = CliRunner().invoke(cli, ["--project", str(project.root), "study", "apply", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_the_command_shows_the_difference_and_writes_it_unless_told_not_to(project, given):
    studied(project, given, 3, 0.4, 0.3, 0.35, 0.1, 0.2)
    dry = call(project, "--dry-run")
    assert project.params.read_text() == TEXT
    told = call(project)
    assert told.replace("`dvc repro` trains it", "nothing was written") == dry
    changed = [line for line in told.splitlines() if re.match("[+-] ", line)]
    assert len(changed) == 4
    assert "trial 4: 40.0% on validation clips in the mean over 3 seeds" in told
    assert project.params.read_text() == applied(TEXT, given, dropout=0.4)
    assert "params.yaml holds the winner already" in call(project)


def test_without_a_study_nothing_is_made_or_written(project):
    with pytest.raises(UserError, match=r"^no study in sqlite:///.*optuna\.db; `symphony2vec study ali` makes one$"):
        call(project)
    assert not project.mlruns.exists()


def test_a_study_that_is_not_finished_is_refused_with_what_is_missing(project, given):
    kept = studied(project, given, 2, 0.4, 0.3)
    with pytest.raises(
        UserError, match=r"2 of 6 repeats of the study 'ali' are missing, .*`symphony2vec study ali` makes"
    ):
        winner.chosen(project, given, kept, "ali")
    with pytest.raises(UserError, match=r"no study 'other' in .*; `symphony2vec study ali --name other` makes one"):
        winner.chosen(project, given, kept, "other")


def test_a_study_without_a_complete_trial_is_refused(project, given):
    with pytest.raises(UserError, match="the study 'ali' has no complete trial yet"):
        winner.chosen(project, given, studied(project, given, 0), "ali")


def test_a_winner_of_other_epochs_than_those_it_would_be_trained_for_is_refused(project, given):
    kept = studied(project, given, 3, 0.4)
    other = given.model_copy(update={"study": given.study.model_copy(update={"epochs": 10})})
    with pytest.raises(UserError, match=r"was begun with study\.epochs 60, now it is 10"):
        winner.chosen(project, other, kept, "ali")


def test_where_every_setting_failed_from_some_seed_there_is_no_winner(project, given):
    import optuna

    kept = studied(project, given, 2, 0.4)
    failed = optuna.create_trial(
        state=optuna.trial.TrialState.FAIL, user_attrs={"trial": 0, "seed": 3, "failure": "diverged"}
    )
    kept.studies("ali")[1].add_trial(failed)
    with pytest.raises(UserError, match="each of the best trials of the study 'ali' failed from some seed"):
        winner.chosen(project, given, kept, "ali")


def test_a_repeat_whose_worker_was_killed_is_tried_again_three_times(project, given):
    import optuna

    study, repeats = studied(project, given, 2, 0.4).studies("ali")
    dead = optuna.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs={"trial": 0, "seed": 3})
    for _ in range(3):
        assert [seed for _, seed in verdict.missing(study, repeats, given.study, 0)] == [3]
        repeats.add_trial(dead)
    assert not verdict.missing(study, repeats, given.study, 0)
