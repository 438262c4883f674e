"""A study of the temporal ALI: real trainings of a tiny one on 40 small clips, whose test clips are no numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from conftest import ROOT, client, lasting
from symphony2vec import params, study, tracking
from symphony2vec.cli import cli
from symphony2vec.errors import UserError
from symphony2vec.models.temporal import attempt
from symphony2vec.models.temporal import stage as temporal
from symphony2vec.params import Params
from symphony2vec.project import Project, SplitFold, read_table, write_table
from symphony2vec.report import page
from symphony2vec.study import pictures, space, winner
from symphony2vec.study.database import PRESENT, Database, requeue
from symphony2vec.study.kinds import ALI, TEMPORAL, Attempt
from test_ali import SPLITS, spectrograms
from test_study import Swift, beginning, database, ready, shrink, swift  # noqa: F401 (two fixtures)

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
FOUND = {"adversary": 0.123456, "reconstruction": 1.54321, "contrast": 0.7, "temperature": 0.25,
         "learning_rate": 0.00023456, "discriminator_learning_rate": 0.001, "masked_bins": 16, "masked_frames": 0,
         "shifted_bins": 1, "latent": 40}  # fmt: skip


def smaller(values: dict[str, Any]) -> dict[str, Any]:
    """Trials of two epochs of three updates, and one repeat of one of them."""
    values = shrink(values)
    values["clips"]["duration_s"] = lasting(70)
    values["temporal"] |= {"probe_every_epochs": 1}
    values["temporal"]["full"] |= {"width": 2, "step_latent": 2, "frames": 32, "batch": 8}
    values["study"] |= {"trials": 2, "averaged": 2, "startup_trials": 3, "repeated": 1, "seeds": 1}
    values["study"]["temporal"] |= {"epochs": 2, "latent": [4], "masked_bins": [0, 4], "masked_frames": [0, 8]}
    return values


@pytest.fixture(scope="module")
def small(settings: dict[str, Any]) -> Params:
    return params.check(smaller(settings))


def movements(project: Project) -> None:
    """Every two clips are a movement: a movement of all clips would leave the contrast nothing to tell apart."""
    fold = project.fold(SplitFold("work", 0))
    table = read_table(fold, "clips")
    write_table(fold, table.assign(file=[f"{place // 2}.flac" for place in range(len(table))]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, ready: Path, small: Params) -> Project:  # noqa: F811
    """Two trials and a repeat of the better one; what the test clips reached would be no number."""
    array = spectrograms()
    array[SPLITS == "test"] = np.nan
    project = beginning(tmp_path_factory.mktemp("project"), ready, array)
    movements(project)
    with project.params.open("w", encoding="utf-8") as file:
        YAML().dump(small.model_dump(), file)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.URI, raising=False)
        patch.delenv("OPTUNA_STORAGE", raising=False)
        done = CliRunner().invoke(cli, ["--project", str(project.root), "study", "temporal"], catch_exceptions=False)
    assert done.exit_code == 0
    (project.root / "told").write_text(done.stdout)
    return project


@pytest.fixture
def here(tmp_path: Path, ready: Path) -> Project:  # noqa: F811
    return beginning(tmp_path, ready, spectrograms())


def trials_of(project: Project, which: int = 0) -> list[Any]:
    return list(database(project).studies("temporal")[which].trials)


# the real training ----------------------------------------------------------------------------------------------------


def test_test_clips_have_no_part(finished):
    assert [trial.state.name for which in (0, 1) for trial in trials_of(finished, which)] == ["COMPLETE"] * 3
    assert np.isnan(np.load(finished.feature("mel"))[SPLITS == "test"]).all()
    for trial in (*trials_of(finished), *trials_of(finished, 1)):
        run = client(finished).get_run(trial.user_attrs["mlflow_run_id"])
        assert {"train_contrast", "validation_reconstruction", temporal.JUDGE} <= set(run.data.metrics)
        assert np.isfinite(list(run.data.metrics.values())).all()
        assert trial.value > 0.0  # of vectors that are no numbers it would be 0


def test_the_stage_trains_the_winner_as_the_study_did_with_whatever_test_clips(
    finished,
    small,
    tmp_path_factory,
    ready,  # noqa: F811
    monkeypatch,
):
    monkeypatch.setattr(temporal, "_write_samples", lambda *_: {})
    chosen = winner.chosen(finished, small, database(finished), "temporal")
    clean = beginning(tmp_path_factory.mktemp("clean"), ready, spectrograms())
    movements(clean)
    latent, setting = chosen.kind.setting(chosen.found, small)
    values = small.model_dump()
    values["temporal"]["full"] = setting.model_dump()
    temporal.run(clean, params.check(values), f"full-{latent}")
    curve = pd.read_csv(clean.out("temporal", "full-4", "work-0", "curves.csv"))[temporal.JUDGE]
    trial = trials_of(finished)[chosen.number]
    assert curve.expanding().mean().tolist() == pytest.approx(list(trial.intermediate_values.values()))
    assert curve.mean() == pytest.approx(trial.value)


# what is told ---------------------------------------------------------------------------------------------------------


def test_the_terminal_is_told_the_winner_and_how_to_take_it(finished):
    text = (finished.root / "told").read_text()
    head, first = (line for line in text.splitlines() if re.match(r" +(trial|\d)", line))
    assert head.endswith(TEMPORAL.shown)
    assert first.split()[-1] == "4"
    assert len(first) == len(head)
    assert "study apply --name temporal && dvc repro" in text


def test_the_runs_have_the_parameters_of_the_stage_and_of_this_study_alone(finished, small):
    known, trial = client(finished), trials_of(finished)[0]
    run = known.get_run(trial.user_attrs["mlflow_run_id"])
    latent, setting = TEMPORAL.setting(trial.params, small)
    expected = {name: str(value) for name, value in temporal.settings(small, setting, latent).items()}
    assert expected.items() <= run.data.params.items()
    assert (run.data.params["model"], run.data.params["representation"]) == ("full", "mel")
    parent = known.get_run(run.data.tags["mlflow.parentRunId"])
    assert "study.temporal.adversary.low" in parent.data.params
    assert not [name for name in parent.data.params if name.startswith(("study.ali.", "temporal."))]


def test_tables_and_pictures_have_what_was_drawn(finished):
    folder = finished.out("study", "temporal")
    assert {"history.png", "parallel.png", "slices.png"} <= {path.name for path in folder.iterdir()}
    for name, count in (("trials.csv", 2), ("repeats.csv", 1)):
        table = pd.read_csv(folder / name)
        assert len(table) == count
        assert table[list(TEMPORAL.drawn)].notna().all(axis=None)
    (rows,) = page._studies(finished).values()
    assert rows[0]["masked_bins"] in (0, 4)


def test_what_has_one_value_in_every_trial_is_not_drawn():
    table = pd.DataFrame({"latent": [4, 4], "contrast": [0.1, 0.2], "dropout": [None, 0.5]})
    assert pictures.varied(table, list(table)) == ["contrast"]
    assert pictures.varied(table[["latent"]], ["latent"]) == ["latent"]


def test_apply_finds_the_kind_by_the_study(finished, small):
    words = ["--project", str(finished.root), "study", "apply", "--name", "temporal", "--dry-run"]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    chosen = winner.chosen(finished, small, database(finished), "temporal")
    _, setting = chosen.kind.setting(chosen.found, small)
    assert re.search(rf"^\+    adversary: {setting.adversary}$", done.stdout, re.M)
    assert "searched" not in done.stdout


# what is drawn --------------------------------------------------------------------------------------------------------


def test_every_draw_is_in_its_range_and_makes_a_setting():
    given = params.read(ROOT / "params.yaml")
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        found = space.suggested(drawn.ask(), given.study.temporal, TEMPORAL.drawn)
        assert set(found) == set(TEMPORAL.drawn) == set(FOUND)
        assert given.study.temporal.temperature.low <= found["temperature"] <= given.study.temporal.temperature.high
        latent, setting = TEMPORAL.setting(found, given)
        assert latent in given.study.temporal.latent
        kept = {"positives", "unary", "width", "frames", "batch", "betas", "average"}
        assert setting.model_dump(include=kept) == given.temporal.full.model_dump(include=kept)


def test_numbers_are_rounded_to_what_is_written_down(small):
    latent, setting = TEMPORAL.setting(FOUND, small)
    assert (latent, setting.adversary, setting.reconstruction, setting.learning_rate) == (40, 0.1235, 1.543, 0.0002346)
    assert (setting.masked_bins, setting.masked_frames, setting.epochs) == (16, 0, 2)


def test_all_that_is_drawn_but_the_latent_size_is_a_key_of_the_setting(small):
    assert set(TEMPORAL.drawn) - {"latent"} <= set(params.TemporalSetting.model_fields)


# the setting that would be replaced -----------------------------------------------------------------------------------


@pytest.fixture
def inside(small: Params) -> Params:
    """The setting of params.yaml is a point of the space."""
    values = small.model_dump()
    values["temporal"]["models"] = ["context-8", "full-4"]
    values["temporal"]["full"] |= {"masked_bins": 4, "masked_frames": 8}
    return params.check(values)


def test_the_present_setting_is_the_first_trial_and_is_repeated_however_low(here, inside, swift, monkeypatch):  # noqa: F811
    def begin(_self, _heard: Any, latent: int, setting: Any, given: Params, seed: int) -> Attempt:
        learner = Swift(None, latent, setting, None, seed)
        found = {"validation_loss": 1.0, temporal.JUDGE: 0.1 if setting == given.temporal.full else 0.5}
        return Attempt(learner, np.arange(24), attempt.make_schedule(setting, 1, seed), lambda: found, temporal.JUDGE)

    monkeypatch.setattr(type(TEMPORAL), "heard", lambda *_: None)
    monkeypatch.setattr(type(TEMPORAL), "attempt", begin)
    values = inside.model_dump()
    values["temporal"]["full"]["epochs"] = values["study"]["temporal"]["epochs"]
    values["temporal"]["full"]["learning_rate"] = 0.0004  # Swift diverges above 0.0005
    values["study"]["temporal"]["learning_rate"]["high"] = 0.0005
    given = params.check(values)
    found = study.run(here, given, database(here), "temporal", wanted=3, kind=TEMPORAL)
    first, *others = trials_of(here)
    assert TEMPORAL.setting(first.params, given) == (4, given.temporal.full)
    assert len(others) == 2
    assert all(trial.params != first.params for trial in others)
    assert [(one.number == 0, one.present, len(one.seeds)) for one in found] == [(False, False, 1), (True, True, 1)]
    assert "trial 0 is what params.yaml had when the study began." in study.told(found, "temporal", database(here))
    study.run(here, given, database(here), "temporal", wanted=4, kind=TEMPORAL)
    assert [trial.user_attrs.get(PRESENT) for trial in trials_of(here)] == [True, None, None, None]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("full", "adversary", 0.0),
        ("full", "masked_bins", 3),
        ("models", "models", ["full-8"]),
        ("models", "models", ["context-4"]),
    ],
)
def test_a_setting_outside_the_space_is_no_trial(section, key, value, inside):
    assert space.holds(inside.study.temporal, TEMPORAL.present(inside))
    values = inside.model_dump()
    (values["temporal"]["full"] if section == "full" else values["temporal"])[key] = value
    given = params.check(values)
    assert not space.holds(given.study.temporal, TEMPORAL.present(given))


def test_a_winner_that_replaces_nothing_has_no_present_setting(inside):
    assert not space.holds(inside.study.ali, ALI.present(inside))


def test_a_present_setting_that_was_interrupted_is_requeue_as_such(here):
    searched = database(here).studies("temporal")[0]
    searched.enqueue_trial({"x": 0.5}, user_attrs={PRESENT: True})
    asked = searched.ask({"x": optuna.distributions.FloatDistribution(0.0, 1.0)})
    requeue(searched, searched.trials[asked.number], counted=False)
    assert searched.trials[-1].user_attrs[PRESENT]


# what is not mixed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "key", "value", "named"),
    [
        ("full", "width", 3, "temporal.full.width 2, now it is 3"),
        ("full", "epochs", 9, None),
        ("full", "adversary", 0.7, None),
        ("space", "epochs", 3, "study.temporal.epochs 2, now it is 3"),
        ("space", "masked_bins", [0, 5], r"study.temporal.masked_bins \[0, 4\], now it is \[0, 5\]"),
        ("space", "adversary", {"low": 0.01, "high": 2.0, "log": True}, None),
    ],
)
def test_a_study_goes_on_under_the_same_conditions_alone(section, key, value, named, here, small):
    searched, values = database(here).studies("temporal")[0], small.model_dump()
    fold = SplitFold("work", 0)
    space.begun(searched, TEMPORAL, space.conditions(here, TEMPORAL, small, fold), "here")
    (values["temporal"]["full"] if section == "full" else values["study"]["temporal"])[key] = value
    now = space.conditions(here, TEMPORAL, params.check(values), fold)
    if named is None:
        space.begun(searched, TEMPORAL, now, "here")
    else:
        with pytest.raises(UserError, match=f"the study 'temporal' in here was begun with {named}; "):
            space.begun(searched, TEMPORAL, now, "here")


def test_a_study_of_one_model_takes_no_trial_of_another(here, small, swift):  # noqa: F811
    study.run(here, small, database(here), wanted=1)
    with pytest.raises(UserError, match=r"the study 'ali' in .* is one of ali, not of temporal; .* with --name"):
        study.run(here, small, database(here), wanted=2, kind=TEMPORAL)


def test_a_study_that_does_not_say_what_it_is_about_is_one_of_ali(here, small, swift):  # noqa: F811
    older = database(here).studies("ali")[0]
    older.set_user_attr("conditions", space.conditions(here, ALI, small, SplitFold("work", 0)))
    study.run(here, small, database(here), wanted=1)
    assert "kind" not in database(here).studies("ali")[0].user_attrs


def test_spectrograms_that_the_model_cannot_hear_are_refused(here, small):
    values = small.model_dump()
    values["temporal"]["full"]["frames"] = 96
    with pytest.raises(UserError, match="crops of a multiple of 16 frames, no longer than a clip of 70"):
        study.run(here, params.check(values), database(here), "temporal", wanted=1, kind=TEMPORAL)


def test_a_study_does_not_hear_another_project(here, small):
    values = small.model_dump()
    values["temporal"]["full"]["unlabelled"] = "../other"
    with pytest.raises(UserError, match=r'set temporal\.full\.unlabelled to ""$'):
        study.run(here, params.check(values), database(here), "temporal", wanted=1, kind=TEMPORAL)


# the winner in params.yaml --------------------------------------------------------------------------------------------


def applied(text: str, **changes: Any) -> str:
    given = params.check(YAML(typ="safe").load(text))
    return winner.written(text, TEMPORAL, *TEMPORAL.setting({**FOUND, **changes}, given))


def test_only_values_of_full_change_and_comments_stay_in_their_columns():
    changed = applied(TEXT)
    pairs = [pair for pair in zip(TEXT.splitlines(), changed.splitlines(), strict=True) if pair[0] != pair[1]]
    assert "    adversary: 0.1235          # weights of the losses; 0 takes a part away" in changed.splitlines()
    names = {after.split(":")[0].strip() for _, after in pairs}
    assert names <= {*TEMPORAL.drawn, "epochs"}
    assert {"adversary", "contrast", "masked_bins"} <= names
    for before, after in pairs:
        assert before.find("#") == after.find("#")
    made = params.check(YAML(typ="safe").load(changed))
    given = params.read(ROOT / "params.yaml")
    assert made.temporal.full == TEMPORAL.setting(FOUND, given)[1]
    assert made.model_dump(exclude={"temporal": {"full"}}) == given.model_dump(exclude={"temporal": {"full"}})


@pytest.mark.parametrize("folder", ["", "../other", "a: b # c", 'the "other" one', "null", "42", "ünlabelled"])
def test_a_folder_in_the_setting_stays_what_it_is(folder):
    values = YAML(typ="safe").load(TEXT)
    text = TEXT.replace('unlabelled: ""', f"unlabelled: {json.dumps(folder)}")
    values["temporal"]["full"]["unlabelled"] = folder
    found = winner.written(text, TEMPORAL, *TEMPORAL.setting(FOUND, params.check(values)))
    assert YAML(typ="safe").load(found)["temporal"]["full"]["unlabelled"] == folder


def test_a_winner_of_another_size_stands_beside_the_models_there_are():
    models = params.read(ROOT / "params.yaml").temporal.models
    changed = applied(TEXT, latent=64)
    assert params.check(YAML(typ="safe").load(changed)).temporal.models == [*models, "full-64"]
    assert applied(changed, latent=64) == changed


def test_a_comment_that_has_no_room_is_moved_and_one_line_after_it_is_not():
    narrow = re.sub(r"(?m)^    adversary: [0-9.]+ +#", "    adversary: 0.25 #", TEXT)
    assert "    adversary: 0.1235 # weights" in applied(narrow)


def test_a_study_that_is_missing_is_named_with_the_command_that_makes_it(project):
    given, kept = params.read(project.params), Database.of(project, None)
    with pytest.raises(UserError, match=r"no study in .*; `symphony2vec study temporal` makes one$"):
        winner.chosen(project, given, kept, "temporal")
    project.mlruns.mkdir()
    searched = kept.studies("other")[0]
    searched.set_user_attr("kind", "temporal")
    with pytest.raises(UserError, match=r"no complete trial yet; `symphony2vec study temporal --name other` goes on"):
        winner.chosen(project, given, kept, "other")
