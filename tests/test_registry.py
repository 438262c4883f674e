"""Promotion and rollback: challenger, champion, and their history."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from conftest import client, package_of, with_database
from promoted import log_trained, save_package
from symphony2vec import params, registry, tracking
from symphony2vec.cli import cli
from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.registry import candidates, gates, history, promotion, smoke, sources

TABLES = ("registered_models", "registered_model_aliases", "model_versions", "model_version_tags")
DEVIATION = smoke.measure_deviation


@pytest.fixture(autouse=True)
def _own_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)


@pytest.fixture(autouse=True)
def _packages_without_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smoke gate has tests of its own; most packages here are empty."""
    monkeypatch.setattr(smoke, "measure_deviation", lambda _: 1e-7)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that is never loaded: nothing but its MLmodel."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "MLmodel").write_text("flavors: {}\n")
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, empty_database: Path, packed: Path) -> Path:
    """A database with three models, each far better than the one before: pca-mel, vae-mel, cae-mel."""
    project = with_database(Project(tmp_path_factory.mktemp("three")), empty_database)
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        for accuracy, model in ((0.3, "pca-mel"), (0.5, "vae-mel"), (0.7, "cae-mel")):
            log_trained(project, accuracy, model, packed=packed)
    with closing(sqlite3.connect(project.mlruns / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return project.mlruns / "mlflow.db"


@pytest.fixture
def ladder(project: Project, three: Path) -> Project:
    """A project of its own with those three models; their artifacts are shared, and only read."""
    return with_database(project, three)


def promote(project: Project, words: str, **options: Any) -> registry.Decision:
    return registry.promote(project, params.read(project.params), words, **options)


def run_command(project: Project, *words: str) -> str:
    """Return what a command prints; raise its `UserError`."""
    result = CliRunner().invoke(cli, ["--project", str(project.root), *words])
    if isinstance(result.exception, UserError):
        raise UserError(f"{result.exception}\n{result.output}")
    assert result.exception is None, result.exception
    return result.output


def aliases(project: Project) -> dict[str, str]:
    return sources.read_aliases(client(project))


def events(project: Project) -> list[tuple[str, str, str]]:
    return [(event.version, event.event, event.replaced) for event in history.read_events(client(project))]


def stored(project: Project) -> list[Any]:
    """Return all rows of the registry's tables."""
    with closing(sqlite3.connect(project.mlruns / "mlflow.db")) as connection:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]


# Promotion ------------------------------------------------------------------------------------------------------------


def test_the_first_model_has_nothing_to_beat(ladder):
    output = run_command(ladder, "promote", "pca-mel")
    assert output.splitlines()[0] == "pca-mel work-0 (version 1) against no champion"
    assert "data         passed   no champion to compare with" in output
    assert (
        "improvement  passed   no champion to compare with; accuracy 29.7 % (95 % CI 25.6 to 33.9) on clips over 3"
        in output
    )
    assert (
        "smoke        passed   relative deviation of the example's vectors from golden.npy: 1.0e-07 (tolerance 1e-04)"
        in output
    )
    assert output.splitlines()[-1] == "pca-mel work-0 is champion"
    assert aliases(ladder) == {"champion": "1"}
    assert events(ladder) == [("1", "promoted", "")]


def test_a_better_model_takes_the_place_and_the_history_says_by_how_much(ladder):
    promote(ladder, "pca-mel")
    decision = promote(ladder, "vae-mel")
    assert decision.passed
    assert (decision.version, decision.champion, decision.champion_name) == ("2", "1", "pca-mel work-0")
    assert aliases(ladder) == {"champion": "2"}
    assert events(ladder) == [("1", "promoted", ""), ("2", "promoted", "1")]
    metrics = history.read_events(client(ladder))[1].metrics
    assert metrics["difference"] == pytest.approx(0.2, abs=0.03)
    assert 0.0 < metrics["difference_low"] <= metrics["difference"] <= metrics["difference_high"]
    assert metrics["accuracy"] == pytest.approx(0.5, abs=0.02)
    assert metrics["accuracy_low"] < metrics["accuracy"] < metrics["accuracy_high"]
    assert metrics["folds"] == 3


def test_a_worse_model_stays_challenger_and_every_gate_is_shown(ladder):
    promote(ladder, "vae-mel")
    with pytest.raises(UserError) as error:
        run_command(ladder, "promote", "pca-mel")
    line, *table = str(error.value).splitlines()
    assert line.startswith("pca-mel work-0 stays challenger; improvement: accuracy difference -19.7 points (95 % ")
    assert [row.split()[:2] for row in table if row.startswith(("data", "improvement", "smoke"))] == [
        ["data", "passed"],
        ["improvement", "refused"],
        ["smoke", "passed"],
    ]
    assert aliases(ladder) == {"champion": "1", "challenger": "2"}
    assert events(ladder) == [("1", "promoted", "")]


def test_a_version_and_its_logged_model_name_each_other(ladder):
    promote(ladder, "pca-mel")
    run_id = candidates.find_candidate(client(ladder), "pca-mel").run_id
    model = tracking.find_logged_model(client(ladder), run_id, "model")
    version = client(ladder).get_model_version("symphony2vec", "1")
    assert (version.source, version.run_id) == (model.artifact_location, run_id)
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "symphony2vec", "version": "1"}]
    champion = candidates.candidate_of_source(client(ladder), version.source)
    assert (champion.run_id, champion.readout) == (run_id, "")


def test_a_refused_model_may_try_again_as_the_same_version(ladder):
    promote(ladder, "vae-mel")
    for _ in range(2):
        assert not promote(ladder, "pca-mel").passed
    assert promote(ladder, "cae-mel").passed
    assert len(client(ladder).search_model_versions("name = 'symphony2vec'")) == 3
    assert aliases(ladder) == {"champion": "3"}


def test_the_champion_promoted_again_stays_what_it_is(ladder):
    promote(ladder, "pca-mel")
    before = stored(ladder)
    assert run_command(ladder, "promote", "pca-mel") == "pca-mel work-0 (version 1) is champion already\n"
    assert stored(ladder) == before


def test_an_equal_model_is_promoted_only_with_equal_ok(tracked, packed):
    log_trained(tracked, 0.5, packed=packed)
    log_trained(tracked, 0.5, "vae-mel", packed=packed)
    promote(tracked, "pca-mel")
    assert not promote(tracked, "vae-mel").passed
    assert promote(tracked, "vae-mel", equal_ok=True).passed
    assert aliases(tracked) == {"champion": "2"}


@pytest.mark.parametrize("passes", [True, False])
def test_a_dry_run_checks_all_gates_and_changes_nothing(ladder, passes):
    promote(ladder, "vae-mel")
    before = stored(ladder)
    if passes:
        output = run_command(ladder, "promote", "cae-mel", "--dry-run")
        assert "cae-mel work-0 (not registered yet) against champion version 1, vae-mel work-0" in output
        assert output.endswith("cae-mel work-0 would be champion\n")
    else:
        with pytest.raises(UserError, match=r"^pca-mel work-0 would stay challenger; improvement: "):
            run_command(ladder, "promote", "pca-mel", "--dry-run")
    assert stored(ladder) == before


def test_a_dry_run_on_an_empty_registry_leaves_it_empty(ladder):
    assert promote(ladder, "pca-mel", dry_run=True).passed
    assert stored(ladder) == [[]] * len(TABLES)


def test_another_readout_is_judged_by_its_own_works_and_is_a_separate_version(tracked, packed):
    log_trained(tracked, 0.3, "long-128", stage="ali", packed=packed, readouts={"crops": 0.6})
    promote(tracked, "long-128")
    output = run_command(tracked, "promote", "long-128", "work-0", "--readout", "crops")
    assert output.startswith("long-128 crops work-0 (version 2) against champion version 1, long-128 work-0")
    run_id = candidates.find_candidate(client(tracked), "long-128").run_id
    assert registry.locate_model(tracked, "champion")[0] == package_of(tracked, run_id, "model-crops")


def test_a_model_of_other_clips_is_refused_whatever_its_accuracy(tracked, packed):
    log_trained(tracked, 0.3, packed=packed)
    log_trained(tracked, 0.9, "vae-mel", packed=packed, audio__soundfonts="other.sf2")
    promote(tracked, "pca-mel")
    with pytest.raises(UserError) as error:
        run_command(tracked, "promote", "vae-mel", "--equal-ok")
    assert "data: work-0: audio.soundfonts differs (challenger other.sf2, champion TimGM6mb); work-1: " in str(
        error.value
    )
    assert "| improvement: not compared: the data gate failed\n" in str(error.value)
    assert aliases(tracked) == {"champion": "1", "challenger": "2"}


def test_one_fold_is_too_few_to_replace_a_champion(tracked, packed):
    log_trained(tracked, 0.3, packed=packed, folds=(0,))
    log_trained(tracked, 0.9, "vae-mel", packed=packed, folds=(0,))
    promote(tracked, "pca-mel")
    with pytest.raises(
        UserError,
        match=r"at least 3 shared folds are needed: list as many in `folds` of params.yaml and run `dvc repro`; "
        r".* the champion has only 1",
    ):
        run_command(tracked, "promote", "vae-mel")


def test_a_package_that_drifted_is_refused_though_it_is_better(ladder, monkeypatch):
    promote(ladder, "pca-mel")
    monkeypatch.setattr(smoke, "measure_deviation", lambda _: 0.25)
    with pytest.raises(
        UserError, match=r"stays challenger; smoke: relative deviation .*: 2.5e-01 \(tolerance 1e-04\); the package"
    ):
        run_command(ladder, "promote", "vae-mel")
    assert aliases(ladder) == {"champion": "1", "challenger": "2"}


def test_a_run_without_a_package_or_a_probe_registers_nothing_or_stays_out(tracked, packed):
    log_trained(tracked, 0.5, folds=(0,))
    with pytest.raises(UserError, match=r"^runs:/[0-9a-f]{32}/model has no model"):
        promote(tracked, "pca-mel")
    assert stored(tracked) == [[]] * len(TABLES)
    log_trained(tracked, None, "vae-mel", packed=packed)
    with pytest.raises(
        UserError, match=r"stays challenger; improvement: no fold of the challenger was probed; run `dvc repro probe`"
    ):
        run_command(tracked, "promote", "vae-mel")
    assert aliases(tracked) == {"challenger": "1"}


def test_nothing_can_be_compared_with_a_champion_whose_run_is_deleted(ladder, monkeypatch):
    promote(ladder, "pca-mel")
    monkeypatch.setattr(promotion.candidates, "candidate_of_source", lambda *_: None)
    with pytest.raises(
        UserError,
        match=r"data: the run of champion version 1 was not found in MLflow, .*; roll back, or delete the alias",
    ):
        run_command(ladder, "promote", "vae-mel")


@pytest.mark.slow
def test_the_champion_loads_by_its_alias_from_a_new_process(tracked, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(smoke, "measure_deviation", DEVIATION)
    log_trained(tracked, 0.4, packed=save_package(tmp_path_factory.mktemp("package")))
    assert promote(tracked, "pca-mel").passed
    code = (
        "import base64, mlflow.pyfunc, pandas\n"
        "rows = pandas.DataFrame([{'audio': base64.b64encode(b'fLaC').decode()}])\n"
        "print(mlflow.pyfunc.load_model('models:/symphony2vec@champion').predict(rows)[0]['vectors'])"
    )
    words = [sys.executable, "-c", code]
    environment = {"MLFLOW_TRACKING_URI": tracking.tracking_uri(tracked), "PATH": str(Path(sys.executable).parent)}
    process = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    assert process.stdout.strip() == "[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]"


# Several at once ------------------------------------------------------------------------------------------------------

RACER = """
import sys, time
from pathlib import Path
from symphony2vec import params, registry
from symphony2vec.project import Project
from symphony2vec.registry import smoke
smoke.measure_deviation = lambda _: 1e-7
project = Project(Path(sys.argv[1]))
(project.root / f"ready-{sys.argv[2]}").touch()
while len(list(project.root.glob("ready-*"))) < 2:
    time.sleep(0.01)
decision = registry.promote(project, params.read(project.params), sys.argv[2])
print("champion" if decision.passed else "refused", decision.version, decision.champion)
"""


@pytest.mark.slow
def test_of_two_promotions_at_once_the_second_is_judged_against_the_first(ladder):
    promote(ladder, "pca-mel")
    words = [sys.executable, "-c", RACER, str(ladder.root)]
    both = [subprocess.Popen([*words, name], stdout=subprocess.PIPE, text=True) for name in ("vae-mel", "cae-mel")]
    outputs = [process.communicate()[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    versions = {name: output[1] for name, output in zip(("vae", "cae"), outputs, strict=True)}
    assert set(versions.values()) == {"2", "3"}
    assert aliases(ladder)["champion"] == versions["cae"]  # it beats both, whoever came first
    if outputs[0][0] == "champion":
        assert outputs == [["champion", versions["vae"], "1"], ["champion", versions["cae"], versions["vae"]]]
    else:
        assert outputs == [["refused", versions["vae"], versions["cae"]], ["champion", versions["cae"], "1"]]
    line = events(ladder)
    assert [event[2] for event in line] == ["", *(event[0] for event in line[:-1])]  # each replaced the previous


@contextmanager
def another_machine(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> Iterator[None]:
    """Act through the same server after a challenger has been judged and before an alias is set."""
    judge, actions = gates.check_improvement, [act]

    def judge_and_act(*args: Any) -> Any:
        verdict = judge(*args)
        if actions:
            actions.pop()()
        return verdict

    with monkeypatch.context() as patched:
        patched.setattr(gates, "check_improvement", judge_and_act)
        yield
    assert not actions


def make_champion(project: Project, query: str) -> Callable[[], None]:
    """Return an act of another machine, which does not see this machine's lock: it makes a model champion."""

    def act() -> None:
        mlflow_client = client(project)
        candidate = promotion.candidates.find_candidate(mlflow_client, query)
        version = promotion._register(mlflow_client, candidate)
        replaced = sources.read_aliases(mlflow_client)["champion"]
        promotion._set_champion(mlflow_client, version, "promoted", replaced, candidate.name, {})

    return act


@pytest.mark.parametrize(("other", "passes"), [("cae-mel", False), ("ae-mel", True)])
def test_a_challenger_is_judged_again_if_the_champion_changed_meanwhile(ladder, monkeypatch, packed, other, passes):
    log_trained(ladder, 0.4, "ae-mel", packed=packed)
    promote(ladder, "pca-mel")
    with another_machine(monkeypatch, make_champion(ladder, other)):
        decision = promote(ladder, "vae-mel")
    assert decision.passed is passes
    assert decision.champion_name == f"{other} work-0"
    assert aliases(ladder)["champion"] == (decision.version if passes else decision.champion)
    assert [event[2] for event in events(ladder)] == ["", "1", "3"][: 2 + passes]


def test_a_lost_alias_is_reported(ladder, monkeypatch):
    promote(ladder, "pca-mel")
    record_event = history.record_event

    def record_and_lose(mlflow_client: Any, *args: Any) -> None:
        record_event(mlflow_client, *args)
        mlflow_client.set_registered_model_alias(registry.MODEL, "champion", "1")

    monkeypatch.setattr(history, "record_event", record_and_lose)
    with pytest.raises(
        UserError, match=r"^version 2 .* was made champion, but another process made version 1 champion .* stands"
    ):
        promote(ladder, "vae-mel")


def test_promotion_gives_up_if_the_champion_keeps_changing(ladder, monkeypatch):
    promote(ladder, "pca-mel")
    promote(ladder, "vae-mel")
    judge, versions = gates.check_improvement, iter(["1", "2"] * promotion.MAX_ATTEMPTS)

    def move_alias_and_judge(*args: Any) -> Any:
        client(ladder).set_registered_model_alias(registry.MODEL, "champion", next(versions))
        return judge(*args)

    monkeypatch.setattr(gates, "check_improvement", move_alias_and_judge)
    with pytest.raises(
        UserError, match=r"^the champion changed 5 times while cae-mel work-0 was being judged; promote it again"
    ):
        promote(ladder, "cae-mel")


def test_a_lock_held_too_long_is_reported(ladder, monkeypatch):
    import filelock

    monkeypatch.setattr(promotion, "LOCK_TIMEOUT_S", 0.01)
    with (
        filelock.FileLock(ladder.mlruns / ".registry.lock"),
        pytest.raises(
            UserError,
            match=r"^another promotion or rollback has held .*/\.registry\.lock for 0.01 s; wait for it to end$",
        ),
    ):
        promote(ladder, "pca-mel")


# Rollback -------------------------------------------------------------------------------------------------------------


def test_two_rollbacks_undo_two_promotions(ladder):
    for name in ("pca-mel", "vae-mel", "cae-mel"):
        promote(ladder, name)
    assert run_command(ladder, "rollback") == "version 2 is champion again and replaces version 3\n"
    assert run_command(ladder, "rollback") == "version 1 is champion again and replaces version 2\n"
    with pytest.raises(
        UserError, match=r"^version 1 of 'symphony2vec' is the first champion; there is none to roll back to"
    ):
        run_command(ladder, "rollback")
    assert aliases(ladder) == {"champion": "1"}
    assert events(ladder)[3:] == [("2", "rolled back", "3"), ("1", "rolled back", "2")]


def test_rollback_skips_versions_that_were_never_champion(ladder):
    promote(ladder, "vae-mel")
    promote(ladder, "pca-mel")  # refused: version 2 never was champion
    promote(ladder, "cae-mel")
    assert registry.roll_back(ladder) == ("3", "1")


def test_a_model_can_be_promoted_again_after_a_rollback(ladder):
    promote(ladder, "pca-mel")
    for _ in range(2):
        promote(ladder, "vae-mel")
        assert registry.roll_back(ladder) == ("2", "1")
    assert [event[:2] for event in events(ladder)] == [
        ("1", "promoted"),
        *[("2", "promoted"), ("1", "rolled back")] * 2,
    ]


def test_rollback_to_any_former_champion_only(ladder):
    for name in ("pca-mel", "vae-mel", "cae-mel"):
        promote(ladder, name)
    run_command(ladder, "rollback", "--to", "1")
    assert aliases(ladder) == {"champion": "1"}
    run_command(ladder, "rollback", "--to", "3")
    assert registry.roll_back(ladder) == ("3", "1")
    with pytest.raises(
        UserError, match=r"^version 7 of 'symphony2vec' was never champion; former champions: 1, 2, 3\n"
    ):
        run_command(ladder, "rollback", "--to", "7")
    with pytest.raises(UserError, match=r"^version 1 of 'symphony2vec' is champion already\n"):
        run_command(ladder, "rollback", "--to", "1")


def test_a_challenger_cannot_be_rolled_back_to(ladder):
    promote(ladder, "vae-mel")
    promote(ladder, "pca-mel")
    with pytest.raises(UserError, match="version 2 of 'symphony2vec' was never champion; former champions: 1"):
        registry.roll_back(ladder, "2")


def test_rollback_refuses_a_version_whose_files_are_missing(tracked, packed):
    log_trained(tracked, 0.3, packed=packed)
    log_trained(tracked, 0.6, "vae-mel", packed=packed)
    promote(tracked, "pca-mel")
    promote(tracked, "vae-mel")
    shutil.rmtree(registry.locate_model(tracked, "models:/symphony2vec/1")[0])
    with pytest.raises(UserError, match=r"^models:/symphony2vec/1 has no model"):
        registry.roll_back(tracked)
    assert aliases(tracked) == {"champion": "2"}


def test_rollback_skips_a_deleted_version(ladder):
    for name in ("pca-mel", "vae-mel", "cae-mel"):
        promote(ladder, name)
    client(ladder).delete_model_version(registry.MODEL, "2")
    assert registry.roll_back(ladder) == ("3", "1")


def test_rollback_of_a_champion_set_by_hand_gives_the_last_recorded_one(ladder):
    promote(ladder, "vae-mel")
    promote(ladder, "pca-mel")
    client(ladder).set_registered_model_alias(registry.MODEL, "champion", "2")
    assert run_command(ladder, "champions").splitlines()[-1].split("  ")[0] == "*"
    assert "set outside symphony2vec" in run_command(ladder, "champions")
    assert registry.roll_back(ladder) == ("2", "1")


def history_of(line: str) -> list[history.Event]:
    """Return events from words such as "p1" (version 1 promoted) and "r1" (rolled back to version 1)."""
    kinds = {"p": history.PROMOTED, "r": history.ROLLED_BACK}
    return [history.Event(str(time), word[1:], kinds[word[0]], "", "", "") for time, word in enumerate(line.split())]


@pytest.mark.parametrize(
    ("line", "champion", "expected"),
    [
        ("p1", "1", None),
        ("p1 p2", "2", "1"),
        ("p1 p2 r1", "1", None),
        ("p1 p2 r1 p3", "3", "1"),
        ("p1 p2 p1", "1", "2"),
        ("p1 p2 p1 p3 r1", "1", "2"),
        ("p1 p2 p3 r1 r3", "3", "1"),
        ("p1 p2", "9", "2"),
        ("", "9", None),
    ],
)
def test_the_previous_champion(line, champion, expected):
    assert history.previous_champion(history_of(line), champion) == expected


# The history ----------------------------------------------------------------------------------------------------------


def test_the_history_lists_champions_and_marks_the_present_one(ladder):
    for name in ("pca-mel", "vae-mel"):
        promote(ladder, name)
    registry.roll_back(ladder)
    head, *lines = run_command(ladder, "champions").splitlines()
    assert head.split() == ["when", "(UTC)", "version", "model", "accuracy", "(%)", "event", "by"]
    assert [line.startswith("*") for line in lines] == [False, False, True]
    assert "vae-mel work-0  49.4 (45.0 to 53.9)" in lines[1]
    assert "promoted, replaced 1" in lines[1]
    assert "pca-mel work-0" in lines[2]
    assert "rolled back, replaced 2" in lines[2]


def test_the_history_as_csv_holds_every_figure(ladder):
    import io

    import pandas as pd

    for name in ("pca-mel", "vae-mel"):
        promote(ladder, name)
    table = pd.read_csv(io.StringIO(run_command(ladder, "champions", "--csv")))
    assert tuple(table.columns) == tuple(history.COLUMNS)
    assert table["version"].tolist() == [1, 2]
    assert table["present"].fillna("").tolist() == ["", "champion"]
    assert table["difference"].isna().tolist() == [True, False]
    assert pd.to_datetime(table["when"], utc=True).is_monotonic_increasing


def test_a_registry_without_champions_is_one_line(tracked):
    assert run_command(tracked, "champions") == (
        "no version of 'symphony2vec' was ever champion; `symphony2vec promote RUN` makes one\n"
    )
    assert run_command(tracked, "champions", "--csv") == ",".join(history.COLUMNS) + "\n"
    for words in ([], ["--to", "1"]):
        with pytest.raises(
            UserError, match=r"^(no version of 'symphony2vec' in MLflow has the alias champion|version 1 .*: none)"
        ):
            run_command(tracked, "rollback", *words)


def test_an_event_is_later_than_the_last_one_though_this_clock_is_behind(ladder):
    promote(ladder, "pca-mel")
    mlflow_client = client(ladder)
    ahead = (
        (datetime.fromisoformat(history.read_events(mlflow_client)[0].when) + timedelta(hours=1))
        .isoformat()
        .replace("+00:00", "Z")
    )
    (first,) = history.list_versions(mlflow_client)
    (key,) = (name for name in first.tags if name.startswith(history.PREFIX))
    mlflow_client.set_model_version_tag(registry.MODEL, "1", f"{history.PREFIX}{ahead}", first.tags[key])
    mlflow_client.delete_model_version_tag(registry.MODEL, "1", key)
    promote(ladder, "vae-mel")
    assert events(ladder) == [("1", "promoted", ""), ("2", "promoted", "1")]


def test_an_edited_event_is_reported(ladder):
    promote(ladder, "pca-mel")
    client(ladder).set_model_version_tag(registry.MODEL, "1", "champion.today", "me")
    with pytest.raises(UserError, match=r"^tag champion.today of version 1 .* is not a valid event; delete it"):
        run_command(ladder, "champions")


# Faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["promote", "pca-mel"], ["rollback"], ["champions"]])
def test_a_server_that_is_down_is_one_line(tracked, monkeypatch, words):
    monkeypatch.setenv(tracking.TRACKING_URI_VARIABLE, "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"^MLflow at http://127\.0\.0\.1:9: .*; check the server"):
        run_command(tracked, *words)


def test_a_locked_database_is_one_line_and_leaves_the_registry_as_it_was(ladder, monkeypatch):
    from mlflow.exceptions import MlflowException
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import OperationalError

    def locked(*_: Any, **__: Any) -> None:  # as MLflow says it after it has waited for twenty seconds
        fault = OperationalError("INSERT INTO model_versions", {}, sqlite3.OperationalError("database is locked"))
        raise MlflowException(fault, error_code=2)

    promote(ladder, "pca-mel")
    before = stored(ladder)
    monkeypatch.setattr(SqlAlchemyStore, "create_model_version", locked)
    with pytest.raises(UserError, match=r"^MLflow at sqlite:.*database is locked; "):
        run_command(ladder, "promote", "vae-mel")
    assert stored(ladder) == before
