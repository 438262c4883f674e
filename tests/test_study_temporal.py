"""A study of the temporal ALI: trainings of a tiny model on 40 small clips, whose test clips are NaN."""

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
from symphony2vec import params, tracking
from symphony2vec.cli import cli
from symphony2vec.errors import UserError
from symphony2vec.models.temporal import attempt
from symphony2vec.models.temporal import stage as temporal
from symphony2vec.models.training import watch
from symphony2vec.params import Params
from symphony2vec.project import Project, SplitFold, read_table, write_table
from symphony2vec.report import page
from symphony2vec.study import pictures, search, space, winner
from symphony2vec.study.database import CURRENT_SETTING, Database, requeue_interrupted
from symphony2vec.study.kinds import ALI, TEMPORAL, Training
from test_ali import SPLITS, spectrograms
from test_study import FakeLearner, database, learners, make_project, mlflow_database, shrink  # noqa: F401 (fixtures)

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
POINT = {"adversarial_weight": 0.123456, "reconstruction_weight": 1.54321, "contrastive_weight": 0.7,
         "temperature": 0.25, "learning_rate": 0.00023456, "discriminator_learning_rate": 0.001, "mask_bins": 16,
         "mask_frames": 0, "shift_bins": 1, "latent": 40}  # fmt: skip


def shrink_more(values: dict[str, Any]) -> dict[str, Any]:
    """Return parameters for trials of two epochs of three updates, and one repeat of one of them."""
    values = shrink(values)
    values["clips"]["duration_s"] = lasting(70)
    values["temporal"] |= {"probe_every_epochs": 1}
    values["temporal"]["full"] |= {"width": 2, "step_latent": 2, "crop_frames": 32, "batch": 8}
    values["study"] |= {"trials": 2, "averaged_probes": 2, "startup_trials": 3, "repeated_trials": 1, "seeds": 1}
    values["study"]["temporal"] |= {"epochs": 2, "latent": [4], "mask_bins": [0, 4], "mask_frames": [0, 8]}
    return values


@pytest.fixture(scope="module")
def small(settings: dict[str, Any]) -> Params:
    return params.check(shrink_more(settings))


def set_movements(project: Project) -> None:
    """Make every two clips a movement: with a single movement the contrastive loss would have no negatives."""
    fold = project.fold(SplitFold("work", 0))
    table = read_table(fold, "clips")
    write_table(fold, table.assign(performance="", file=[f"{place // 2}.flac" for place in range(len(table))]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path, small: Params) -> Project:  # noqa: F811
    """Two trials and a repeat of the better one; whatever used the test clips would be NaN."""
    array = spectrograms()
    array[SPLITS == "test"] = np.nan
    project = make_project(tmp_path_factory.mktemp("project"), mlflow_database, array)
    set_movements(project)
    with project.params.open("w", encoding="utf-8") as file:
        YAML().dump(small.model_dump(), file)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        patch.delenv("OPTUNA_STORAGE", raising=False)
        result = CliRunner().invoke(cli, ["--project", str(project.root), "study", "temporal"], catch_exceptions=False)
    assert result.exit_code == 0
    (project.root / "output").write_text(result.stdout)
    return project


@pytest.fixture
def here(tmp_path: Path, mlflow_database: Path) -> Project:  # noqa: F811
    return make_project(tmp_path, mlflow_database, spectrograms())


def trials_of(project: Project, which: int = 0) -> list[Any]:
    return list(database(project).open_studies("temporal")[which].trials)


# the real training ----------------------------------------------------------------------------------------------------


def test_test_clips_are_not_used(finished):
    assert [trial.state.name for which in (0, 1) for trial in trials_of(finished, which)] == ["COMPLETE"] * 3
    assert np.isnan(np.load(finished.feature("mel"))[SPLITS == "test"]).all()
    for trial in (*trials_of(finished), *trials_of(finished, 1)):
        run = client(finished).get_run(trial.user_attrs["mlflow_run_id"])
        assert {"train_contrastive_loss", "validation_reconstruction_loss", watch.PROBE_ACCURACY} <= set(
            run.data.metrics
        )
        assert np.isfinite(list(run.data.metrics.values())).all()
        assert trial.value > 0.0  # it would be 0 with NaN vectors


def test_the_stage_trains_the_winner_as_the_study_did_with_whatever_test_clips(
    finished,
    small,
    tmp_path_factory,
    mlflow_database,  # noqa: F811
    monkeypatch,
):
    monkeypatch.setattr(temporal, "_write_samples", lambda *_: {})
    best = winner.select_winner(small, database(finished), "temporal")
    clean = make_project(tmp_path_factory.mktemp("clean"), mlflow_database, spectrograms())
    set_movements(clean)
    latent, setting = best.kind.make_setting(best.point, small)
    values = small.model_dump()
    values["temporal"]["full"] = setting.model_dump()
    temporal.run(clean, params.check(values), f"full-{latent}")
    curve = pd.read_csv(clean.out("temporal", "work-0", "full-4", "curves.csv"))[watch.PROBE_ACCURACY]
    trial = trials_of(finished)[best.number]
    assert curve.expanding().mean().tolist() == pytest.approx(list(trial.intermediate_values.values()))
    assert curve.mean() == pytest.approx(trial.value)


# outputs --------------------------------------------------------------------------------------------------------------


def test_the_terminal_is_told_the_winner_and_how_to_take_it(finished):
    text = (finished.root / "output").read_text()
    head, first = (line for line in text.splitlines() if re.match(r" +(trial|\d)", line))
    assert head.endswith(TEMPORAL.heading)
    assert first.split()[-1] == "4"
    assert len(first) == len(head)
    assert "study apply --name temporal && dvc repro" in text


def test_the_runs_have_the_parameters_of_the_stage_and_of_this_study_alone(finished, small):
    mlflow_client, trial = client(finished), trials_of(finished)[0]
    run = mlflow_client.get_run(trial.user_attrs["mlflow_run_id"])
    latent, setting = TEMPORAL.make_setting(trial.params, small)
    expected = {name: str(value) for name, value in temporal.settings(small, setting, latent).items()}
    assert expected.items() <= run.data.params.items()
    assert (run.data.params["model"], run.data.params["representation"]) == ("full", "mel")
    parent = mlflow_client.get_run(run.data.tags["mlflow.parentRunId"])
    assert "study.temporal.adversarial_weight.low" in parent.data.params
    assert not [name for name in parent.data.params if name.startswith(("study.ali.", "temporal."))]


def test_tables_and_figures_have_the_searched_parameters(finished):
    folder = finished.out("study", "temporal")
    assert {"history.png", "parallel.png", "slices.png"} <= {path.name for path in folder.iterdir()}
    for name, count in (("trials.csv", 2), ("repeats.csv", 1)):
        table = pd.read_csv(folder / name)
        assert len(table) == count
        assert table[list(TEMPORAL.param_names)].notna().all(axis=None)
    (rows,) = page._studies(finished).values()
    assert rows[0]["mask_bins"] in (0, 4)


def test_a_parameter_with_one_value_is_not_plotted():
    table = pd.DataFrame({"latent": [4, 4], "contrastive_weight": [0.1, 0.2], "dropout": [None, 0.5]})
    assert pictures.select_varied(table, list(table)) == ["contrastive_weight"]
    assert pictures.select_varied(table[["latent"]], ["latent"]) == ["latent"]


def test_apply_gets_the_kind_from_the_study(finished, small):
    words = ["--project", str(finished.root), "study", "apply", "--name", "temporal", "--dry-run"]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    best = winner.select_winner(small, database(finished), "temporal")
    _, setting = best.kind.make_setting(best.point, small)
    assert re.search(rf"^\+    adversarial_weight: {setting.adversarial_weight}$", result.stdout, re.M)
    assert "searched" not in result.stdout


# the search space -----------------------------------------------------------------------------------------------------


def test_every_sample_is_in_its_range_and_makes_a_setting():
    current = params.read(ROOT / "params.yaml")
    sampling_study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        point = space.suggest_point(sampling_study.ask(), current.study.temporal, TEMPORAL.param_names)
        assert set(point) == set(TEMPORAL.param_names) == set(POINT)
        assert current.study.temporal.temperature.low <= point["temperature"] <= current.study.temporal.temperature.high
        latent, setting = TEMPORAL.make_setting(point, current)
        assert latent in current.study.temporal.latent
        fixed = {"positives", "unary", "width", "crop_frames", "batch", "betas", "ema_decay"}
        assert setting.model_dump(include=fixed) == current.temporal.full.model_dump(include=fixed)


def test_settings_are_rounded_to_four_digits(small):
    latent, setting = TEMPORAL.make_setting(POINT, small)
    assert (latent, setting.adversarial_weight, setting.reconstruction_weight, setting.learning_rate) == (
        40,
        0.1235,
        1.543,
        0.0002346,
    )
    assert (setting.mask_bins, setting.mask_frames, setting.epochs) == (16, 0, 2)


def test_all_searched_parameters_but_the_latent_size_are_keys_of_the_setting(small):
    assert set(TEMPORAL.param_names) - {"latent"} <= set(params.TemporalSetting.model_fields)


# the current setting --------------------------------------------------------------------------------------------------


@pytest.fixture
def inside(small: Params) -> Params:
    """The setting of params.yaml is a point of the space."""
    values = small.model_dump()
    values["temporal"]["models"] = ["context-8", "full-4"]
    values["temporal"]["full"] |= {"mask_bins": 4, "mask_frames": 8}
    return params.check(values)


def test_the_current_setting_is_the_first_trial_and_is_always_repeated(here, inside, learners, monkeypatch):  # noqa: F811
    def prepare(_self, _data: Any, latent: int, setting: Any, current: Params, seed: int) -> Training:
        learner = FakeLearner(None, latent, setting, None, seed)
        metrics = {"validation_loss": 1.0, watch.PROBE_ACCURACY: 0.1 if setting == current.temporal.full else 0.5}
        return Training(
            learner, np.arange(24), attempt.make_schedule(setting, 1, seed), lambda: metrics, watch.PROBE_ACCURACY
        )

    monkeypatch.setattr(type(TEMPORAL), "prepare_data", lambda *_: None)
    monkeypatch.setattr(type(TEMPORAL), "prepare_training", prepare)
    values = inside.model_dump()
    values["temporal"]["full"]["epochs"] = values["study"]["temporal"]["epochs"]
    values["temporal"]["full"]["learning_rate"] = 0.0004  # FakeLearner diverges above 0.0005
    values["study"]["temporal"]["learning_rate"]["high"] = 0.0005
    current = params.check(values)
    ranking = search.run(here, current, database(here), "temporal", n_trials=3, kind=TEMPORAL)
    first, *others = trials_of(here)
    assert TEMPORAL.make_setting(first.params, current) == (4, current.temporal.full)
    assert len(others) == 2
    assert all(trial.params != first.params for trial in others)
    assert [(trial.number == 0, trial.is_current, len(trial.repeats)) for trial in ranking] == [
        (False, False, 1),
        (True, True, 1),
    ]
    assert "trial 0 is the setting that params.yaml had when the study began." in search.format_ranking(
        ranking, "temporal", database(here)
    )
    search.run(here, current, database(here), "temporal", n_trials=4, kind=TEMPORAL)
    assert [trial.user_attrs.get(CURRENT_SETTING) for trial in trials_of(here)] == [True, None, None, None]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("full", "adversarial_weight", 0.0),
        ("full", "mask_bins", 3),
        ("models", "models", ["full-8"]),
        ("models", "models", ["context-4"]),
    ],
)
def test_a_current_setting_outside_the_space_is_not_a_trial(section, key, value, inside):
    assert space.contains(inside.study.temporal, TEMPORAL.current_point(inside))
    values = inside.model_dump()
    (values["temporal"]["full"] if section == "full" else values["temporal"])[key] = value
    current = params.check(values)
    assert not space.contains(current.study.temporal, TEMPORAL.current_point(current))


def test_a_winner_that_replaces_nothing_has_no_current_setting(inside):
    assert not space.contains(inside.study.ali, ALI.current_point(inside))


def test_an_interrupted_current_setting_is_queued_as_such(here):
    searched = database(here).open_studies("temporal")[0]
    searched.enqueue_trial({"x": 0.5}, user_attrs={CURRENT_SETTING: True})
    trial = searched.ask({"x": optuna.distributions.FloatDistribution(0.0, 1.0)})
    requeue_interrupted(searched, searched.trials[trial.number])
    assert searched.trials[-1].user_attrs[CURRENT_SETTING]


# conditions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "key", "value", "difference"),
    [
        ("full", "width", 3, "temporal.full.width 2, now it is 3"),
        ("full", "epochs", 9, None),
        ("full", "adversarial_weight", 0.7, None),
        ("space", "epochs", 3, "study.temporal.epochs 2, now it is 3"),
        ("space", "mask_bins", [0, 5], r"study.temporal.mask_bins \[0, 4\], now it is \[0, 5\]"),
        ("space", "adversarial_weight", {"low": 0.01, "high": 2.0, "log": True}, None),
    ],
)
def test_a_study_is_resumed_only_under_the_same_conditions(section, key, value, difference, here, small):
    searched, values = database(here).open_studies("temporal")[0], small.model_dump()
    fold = SplitFold("work", 0)
    space.begin_or_resume(searched, TEMPORAL, space.collect_conditions(here, TEMPORAL, small, fold), "here")
    (values["temporal"]["full"] if section == "full" else values["study"]["temporal"])[key] = value
    now = space.collect_conditions(here, TEMPORAL, params.check(values), fold)
    if difference is None:
        space.begin_or_resume(searched, TEMPORAL, now, "here")
    else:
        with pytest.raises(UserError, match=f"study 'temporal' in here began with {difference}. "):
            space.begin_or_resume(searched, TEMPORAL, now, "here")


def test_a_study_of_one_model_refuses_another(here, small, learners):  # noqa: F811
    search.run(here, small, database(here), n_trials=1)
    with pytest.raises(UserError, match=r"study 'ali' in .* is a study of ali, not of temporal; .* with --name"):
        search.run(here, small, database(here), n_trials=2, kind=TEMPORAL)


def test_a_study_without_a_recorded_kind_is_one_of_ali(here, small, learners):  # noqa: F811
    older = database(here).open_studies("ali")[0]
    older.set_user_attr("conditions", space.collect_conditions(here, ALI, small, SplitFold("work", 0)))
    search.run(here, small, database(here), n_trials=1)
    assert "kind" not in database(here).open_studies("ali")[0].user_attrs


def test_spectrograms_of_the_wrong_length_are_refused(here, small):
    values = small.model_dump()
    values["temporal"]["full"]["crop_frames"] = 96
    with pytest.raises(UserError, match="crops of a multiple of 16 frames, no longer than a clip of 70"):
        search.run(here, params.check(values), database(here), "temporal", n_trials=1, kind=TEMPORAL)


def test_a_study_does_not_use_another_project(here, small):
    values = small.model_dump()
    values["temporal"]["full"]["unlabelled"] = "../other"
    with pytest.raises(UserError, match=r'set temporal\.full\.unlabelled to ""$'):
        search.run(here, params.check(values), database(here), "temporal", n_trials=1, kind=TEMPORAL)


# the winner in params.yaml --------------------------------------------------------------------------------------------


def apply_point(text: str, **changes: Any) -> str:
    current = params.check(YAML(typ="safe").load(text))
    return winner.replace_setting(text, TEMPORAL, *TEMPORAL.make_setting({**POINT, **changes}, current))


def test_only_values_of_full_change_and_comments_stay_in_their_columns():
    changed = apply_point(TEXT)
    pairs = [pair for pair in zip(TEXT.splitlines(), changed.splitlines(), strict=True) if pair[0] != pair[1]]
    assert "    adversarial_weight: 0.1235 # weights of the losses; a loss of weight 0 is not computed\n" in changed
    names = {after.split(":")[0].strip() for _, after in pairs}
    assert names <= {*TEMPORAL.param_names, "epochs"}
    assert {"adversarial_weight", "contrastive_weight", "mask_bins"} <= names
    for before, after in pairs:
        assert before.find("#") == after.find("#")
    edited = params.check(YAML(typ="safe").load(changed))
    current = params.read(ROOT / "params.yaml")
    assert edited.temporal.full == TEMPORAL.make_setting(POINT, current)[1]
    assert edited.model_dump(exclude={"temporal": {"full"}}) == current.model_dump(exclude={"temporal": {"full"}})


@pytest.mark.parametrize("folder", ["", "../other", "a: b # c", 'the "other" one', "null", "42", "ünlabelled"])
def test_a_folder_in_the_setting_is_kept(folder):
    values = YAML(typ="safe").load(TEXT)
    text = TEXT.replace('unlabelled: ""', f"unlabelled: {json.dumps(folder)}")
    values["temporal"]["full"]["unlabelled"] = folder
    edited = winner.replace_setting(text, TEMPORAL, *TEMPORAL.make_setting(POINT, params.check(values)))
    assert YAML(typ="safe").load(edited)["temporal"]["full"]["unlabelled"] == folder


def test_a_winner_of_another_size_is_added_to_the_models():
    models = params.read(ROOT / "params.yaml").temporal.models
    changed = apply_point(TEXT, latent=64)
    assert params.check(YAML(typ="safe").load(changed)).temporal.models == [*models, "full-64"]
    assert apply_point(changed, latent=64) == changed


def test_a_comment_without_room_is_moved():
    narrow = re.sub(r"(?m)^    adversarial_weight: [0-9.]+ +#", "    adversarial_weight: 0.25 #", TEXT)
    assert "    adversarial_weight: 0.1235 # weights" in apply_point(narrow)


def test_a_study_that_is_missing_is_named_with_the_command_that_makes_it(project):
    current, storage = params.read(project.params), Database.from_url(project, None)
    with pytest.raises(UserError, match=r"no study in .*; `symphony2vec study temporal` makes one$"):
        winner.select_winner(current, storage, "temporal")
    project.mlruns.mkdir()
    searched = storage.open_studies("other")[0]
    searched.set_user_attr("kind", "temporal")
    with pytest.raises(UserError, match=r"no complete trial yet; `symphony2vec study temporal --name other` resumes"):
        winner.select_winner(current, storage, "other")
