"""Promotion and the way back: who is challenger, who champion, and what is kept of it."""

from __future__ import annotations

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

from conftest import client, with_database
from promoted import package, trained
from symphony2vec import params, registry, tracking
from symphony2vec.cli import cli
from symphony2vec.errors import UserError
from symphony2vec.project import Project
from symphony2vec.registry import gates, history, promotion, smoke, sources

TABLES = ("registered_models", "registered_model_aliases", "model_versions", "model_version_tags")
DEVIATION = smoke.deviation


@pytest.fixture(autouse=True)
def _own_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tracking.URI, raising=False)


@pytest.fixture(autouse=True)
def _as_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """What packages say of their example has tests of its own; here most have nothing to say."""
    monkeypatch.setattr(smoke, "deviation", lambda _: 1e-7)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of a package matters where nobody asks it: its MLmodel."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "MLmodel").write_text("flavors: {}\n")
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, empty_database: Path, packed: Path) -> Path:
    """A database with three models, each far better than the one before: pca-mel, vae-mel, cae-mel."""
    made = with_database(Project(tmp_path_factory.mktemp("three")), empty_database)
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv(tracking.URI, raising=False)
        for accuracy, model in ((0.3, "pca-mel"), (0.5, "vae-mel"), (0.7, "cae-mel")):
            trained(made, accuracy, model, packed=packed)
    with closing(sqlite3.connect(made.mlruns / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return made.mlruns / "mlflow.db"


@pytest.fixture
def ladder(project: Project, three: Path) -> Project:
    """A project of its own with those three models; their artifacts are shared, and only read."""
    return with_database(project, three)


def promote(project: Project, words: str, **options: Any) -> registry.Decision:
    return registry.promote(project, params.read(project.params), words, **options)


def asked(project: Project, *words: str) -> str:
    """What a command prints; its `UserError` is raised."""
    result = CliRunner().invoke(cli, ["--project", str(project.root), *words])
    if isinstance(result.exception, UserError):
        raise UserError(f"{result.exception}\n{result.output}")
    assert result.exception is None, result.exception
    return result.output


def aliases(project: Project) -> dict[str, str]:
    return sources.aliases(client(project))


def events(project: Project) -> list[tuple[str, str, str]]:
    return [(one.version, one.event, one.replaced) for one in history.read(client(project))]


def stored(project: Project) -> list[Any]:
    """Everything that the registry holds."""
    with closing(sqlite3.connect(project.mlruns / "mlflow.db")) as connection:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]


# Promotion ------------------------------------------------------------------------------------------------------------


def test_the_first_model_has_nothing_to_beat(ladder):
    told = asked(ladder, "promote", "pca-mel")
    assert told.splitlines()[0] == "pca-mel work-0 (version 1) against no champion"
    assert "data    passed   no champion to agree with" in told
    assert (
        "better  passed   no champion to compare with; its accuracy is 29.7 (25.6 to 33.9, 95 %) over 3 folds" in told
    )
    assert "smoke   passed   its vectors of the example lie 1.0e-07 of their norm" in told
    assert told.splitlines()[-1] == "pca-mel work-0 is champion"
    assert aliases(ladder) == {"champion": "1"}
    assert events(ladder) == [("1", "promoted", "")]


def test_a_better_model_takes_the_place_and_the_history_says_by_how_much(ladder):
    promote(ladder, "pca-mel")
    found = promote(ladder, "vae-mel")
    assert found.passed
    assert (found.version, found.champion, found.opponent) == ("2", "1", "pca-mel work-0")
    assert aliases(ladder) == {"champion": "2"}
    assert events(ladder) == [("1", "promoted", ""), ("2", "promoted", "1")]
    figures = history.read(client(ladder))[1].figures
    assert figures["difference"] == pytest.approx(0.2, abs=0.03)
    assert 0.0 < figures["difference_low"] <= figures["difference"] <= figures["difference_high"]
    assert figures["accuracy"] == pytest.approx(0.5, abs=0.02)
    assert figures["accuracy_low"] < figures["accuracy"] < figures["accuracy_high"]
    assert figures["folds"] == 3


def test_a_worse_model_stays_challenger_and_every_gate_is_shown(ladder):
    promote(ladder, "vae-mel")
    with pytest.raises(UserError) as said:
        asked(ladder, "promote", "pca-mel")
    line, *table = str(said.value).splitlines()
    assert line.startswith("pca-mel work-0 stays challenger; better: -19.7 (-20.0 to -19.2, 95 %) points over 3 folds")
    assert [row.split()[:2] for row in table if row.startswith(("data", "better", "smoke"))] == [
        ["data", "passed"],
        ["better", "refused"],
        ["smoke", "passed"],
    ]
    assert aliases(ladder) == {"champion": "1", "challenger": "2"}
    assert events(ladder) == [("1", "promoted", "")]


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
    assert asked(ladder, "promote", "pca-mel") == "pca-mel work-0 (version 1) is champion already\n"
    assert stored(ladder) == before


def test_an_equal_model_needs_to_be_called_good_enough(tracked, packed):
    trained(tracked, 0.5, packed=packed)
    trained(tracked, 0.5, "vae-mel", packed=packed)
    promote(tracked, "pca-mel")
    assert not promote(tracked, "vae-mel").passed
    assert promote(tracked, "vae-mel", equal_ok=True).passed
    assert aliases(tracked) == {"champion": "2"}


@pytest.mark.parametrize("passes", [True, False])
def test_a_dry_run_asks_every_gate_and_changes_nothing(ladder, passes):
    promote(ladder, "vae-mel")
    before = stored(ladder)
    if passes:
        told = asked(ladder, "promote", "cae-mel", "--dry-run")
        assert "cae-mel work-0 (not registered yet) against champion version 1, vae-mel work-0" in told
        assert told.endswith("cae-mel work-0 would be champion\n")
    else:
        with pytest.raises(UserError, match=r"^pca-mel work-0 would stay challenger; better: "):
            asked(ladder, "promote", "pca-mel", "--dry-run")
    assert stored(ladder) == before


def test_a_dry_run_on_an_empty_registry_leaves_it_empty(ladder):
    assert promote(ladder, "pca-mel", dry_run=True).passed
    assert stored(ladder) == [[]] * len(TABLES)


def test_another_reading_is_judged_by_its_own_works_and_is_a_version_of_its_own(tracked, packed):
    trained(tracked, 0.3, "long-128", stage="ali", packed=packed, readouts={"crops": 0.6})
    promote(tracked, "long-128")
    told = asked(tracked, "promote", "long-128", "work-0", "--readout", "crops")
    assert told.startswith("long-128 crops work-0 (version 2) against champion version 1, long-128 work-0")
    assert registry.folder(tracked, "champion")[0].name == "model-crops"


def test_a_model_of_other_clips_is_refused_whatever_its_accuracy(tracked, packed):
    trained(tracked, 0.3, packed=packed)
    trained(tracked, 0.9, "vae-mel", packed=packed, audio__soundfont="other.sf2")
    promote(tracked, "pca-mel")
    with pytest.raises(UserError) as said:
        asked(tracked, "promote", "vae-mel", "--equal-ok")
    assert "data: work-0: audio.soundfont other.sf2 against TimGM6mb; work-1: " in str(said.value)
    assert "| better: not compared: the data do not agree\n" in str(said.value)
    assert aliases(tracked) == {"champion": "1", "challenger": "2"}


def test_one_seed_beats_nobody(tracked, packed):
    trained(tracked, 0.3, packed=packed, folds=(0,))
    trained(tracked, 0.9, "vae-mel", packed=packed, folds=(0,))
    promote(tracked, "pca-mel")
    with pytest.raises(
        UserError, match=r"wanted are 3 folds: set `seeds: 3` in params.yaml and run `dvc repro`; .* of"
    ):
        asked(tracked, "promote", "vae-mel")


def test_a_package_that_drifted_is_refused_though_it_is_better(ladder, monkeypatch):
    promote(ladder, "pca-mel")
    monkeypatch.setattr(smoke, "deviation", lambda _: 0.25)
    with pytest.raises(UserError, match=r"stays challenger; smoke: its vectors .* 2.5e-01 of their norm .* 1e-04\n"):
        asked(ladder, "promote", "vae-mel")
    assert aliases(ladder) == {"champion": "1", "challenger": "2"}


def test_a_run_without_a_package_or_a_probe_registers_nothing_or_stays_out(tracked, packed):
    trained(tracked, 0.5, folds=(0,))
    with pytest.raises(UserError, match=r"^runs:/[0-9a-f]{32}/model holds no model"):
        promote(tracked, "pca-mel")
    assert stored(tracked) == [[]] * len(TABLES)
    trained(tracked, None, "vae-mel", packed=packed)
    with pytest.raises(UserError, match=r"stays challenger; better: no fold of it was probed; run `dvc repro probe`"):
        asked(tracked, "promote", "vae-mel")
    assert aliases(tracked) == {"challenger": "1"}


def test_a_champion_whose_run_is_gone_leaves_nothing_to_compare_with(ladder, monkeypatch):
    promote(ladder, "pca-mel")
    monkeypatch.setattr(promotion.candidates, "of_source", lambda *_: None)
    with pytest.raises(
        UserError, match=r"data: the run of champion version 1 is gone: .*; roll back, or delete the alias"
    ):
        asked(ladder, "promote", "vae-mel")


def test_the_champion_loads_by_its_alias_from_a_new_process(tracked, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(smoke, "deviation", DEVIATION)
    trained(tracked, 0.4, packed=package(tmp_path_factory.mktemp("package")))
    assert promote(tracked, "pca-mel").passed
    code = (
        "import base64, mlflow.pyfunc, pandas\n"
        "asked = pandas.DataFrame([{'audio': base64.b64encode(b'fLaC').decode()}])\n"
        "print(mlflow.pyfunc.load_model('models:/symphony2vec@champion').predict(asked)[0]['vectors'])"
    )
    words = [sys.executable, "-c", code]
    environment = {"MLFLOW_TRACKING_URI": tracking.uri(tracked), "PATH": str(Path(sys.executable).parent)}
    said = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    assert said.stdout.strip() == "[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]"


# Several at once ------------------------------------------------------------------------------------------------------

RACER = """
import sys, time
from pathlib import Path
from symphony2vec import params, registry
from symphony2vec.artifacts import Project
from symphony2vec.registry import smoke
smoke.deviation = lambda _: 1e-7
project = Project(Path(sys.argv[1]))
(project.root / f"ready-{sys.argv[2]}").touch()
while len(list(project.root.glob("ready-*"))) < 2:
    time.sleep(0.01)
found = registry.promote(project, params.read(project.params), sys.argv[2])
print("champion" if found.passed else "refused", found.version, found.champion)
"""


def test_of_two_promotions_at_once_the_second_is_judged_against_the_first(ladder):
    promote(ladder, "pca-mel")
    words = [sys.executable, "-c", RACER, str(ladder.root)]
    both = [subprocess.Popen([*words, name], stdout=subprocess.PIPE, text=True) for name in ("vae-mel", "cae-mel")]
    told = [one.communicate()[0].split() for one in both]
    assert [one.returncode for one in both] == [0, 0]
    versions = {name: one[1] for name, one in zip(("vae", "cae"), told, strict=True)}
    assert set(versions.values()) == {"2", "3"}
    assert aliases(ladder)["champion"] == versions["cae"]  # it beats both, whoever came first
    if told[0][0] == "champion":
        assert told == [["champion", versions["vae"], "1"], ["champion", versions["cae"], versions["vae"]]]
    else:
        assert told == [["refused", versions["vae"], versions["cae"]], ["champion", versions["cae"], "1"]]
    line = events(ladder)
    assert [one[2] for one in line] == ["", *(one[0] for one in line[:-1])]  # each replaced the one before it


@contextmanager
def another_machine(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> Iterator[None]:
    """Once a challenger has been judged, and before anything is set, somebody else acts through the same server."""
    judge, left = gates.better, [act]

    def judged(*words: Any) -> Any:
        verdict = judge(*words)
        if left:
            left.pop()()
        return verdict

    with monkeypatch.context() as patched:
        patched.setattr(gates, "better", judged)
        yield
    assert not left


def crowned(project: Project, words: str) -> Callable[[], None]:
    """Another machine, which does not know our lock, makes this model champion."""

    def act() -> None:
        known = client(project)
        candidate = promotion.candidates.found(known, words)
        version = promotion._registered(known, candidate)
        replaced = sources.aliases(known)["champion"]
        promotion._crown(known, version, "promoted", replaced, candidate.name, {})

    return act


@pytest.mark.parametrize(("other", "passes"), [("cae-mel", False), ("ae-mel", True)])
def test_a_champion_that_changed_meanwhile_is_judged_against_anew(ladder, monkeypatch, packed, other, passes):
    trained(ladder, 0.4, "ae-mel", packed=packed)
    promote(ladder, "pca-mel")
    with another_machine(monkeypatch, crowned(ladder, other)):
        found = promote(ladder, "vae-mel")
    assert found.passed is passes
    assert found.opponent == f"{other} work-0"
    assert aliases(ladder)["champion"] == (found.version if passes else found.champion)
    assert [one[2] for one in events(ladder)] == ["", "1", "3"][: 2 + passes]


def test_an_alias_that_does_not_stand_is_said_to_the_one_who_lost_it(ladder, monkeypatch):
    promote(ladder, "pca-mel")
    write = history.write

    def beaten(known: Any, *words: Any) -> None:
        write(known, *words)
        known.set_registered_model_alias(registry.MODEL, "champion", "1")

    monkeypatch.setattr(history, "write", beaten)
    with pytest.raises(UserError, match=r"^version 2 .* was made champion, and version 1 by another machine .* stands"):
        promote(ladder, "vae-mel")


def test_a_champion_that_never_stands_still_is_given_up(ladder, monkeypatch):
    promote(ladder, "pca-mel")
    promote(ladder, "vae-mel")
    judged, turn = gates.better, iter(["1", "2"] * promotion.TRIES)

    def moved(*words: Any) -> Any:
        client(ladder).set_registered_model_alias(registry.MODEL, "champion", next(turn))
        return judged(*words)

    monkeypatch.setattr(gates, "better", moved)
    with pytest.raises(
        UserError, match=r"^the champion changed 5 times while cae-mel work-0 was judged; promote it again"
    ):
        promote(ladder, "cae-mel")


def test_a_promotion_that_holds_the_lock_too_long_is_named(ladder, monkeypatch):
    import filelock

    monkeypatch.setattr(promotion, "WAIT_S", 0.01)
    with (
        filelock.FileLock(ladder.mlruns / ".registry.lock"),
        pytest.raises(
            UserError, match=r"^another promotion has held .*/\.registry\.lock for 0.01 s; wait for it to end$"
        ),
    ):
        promote(ladder, "pca-mel")


# The way back ---------------------------------------------------------------------------------------------------------


def test_going_back_twice_undoes_two_promotions(ladder):
    for name in ("pca-mel", "vae-mel", "cae-mel"):
        promote(ladder, name)
    assert asked(ladder, "rollback") == "champion is version 2 again, in place of version 3\n"
    assert asked(ladder, "rollback") == "champion is version 1 again, in place of version 2\n"
    with pytest.raises(
        UserError, match=r"^version 1 of 'symphony2vec' is the first champion: there is none to go back"
    ):
        asked(ladder, "rollback")
    assert aliases(ladder) == {"champion": "1"}
    assert events(ladder)[3:] == [("2", "rolled back", "3"), ("1", "rolled back", "2")]


def test_the_champion_before_need_not_be_the_version_before(ladder):
    promote(ladder, "vae-mel")
    promote(ladder, "pca-mel")  # refused: version 2 never was champion
    promote(ladder, "cae-mel")
    assert registry.roll_back(ladder) == ("3", "1")


def test_what_was_undone_can_be_promoted_again_and_undone_again(ladder):
    promote(ladder, "pca-mel")
    for _ in range(2):
        promote(ladder, "vae-mel")
        assert registry.roll_back(ladder) == ("2", "1")
    assert [one[:2] for one in events(ladder)] == [
        ("1", "promoted"),
        *[("2", "promoted"), ("1", "rolled back")] * 2,
    ]


def test_any_former_champion_can_be_named_and_nobody_else(ladder):
    for name in ("pca-mel", "vae-mel", "cae-mel"):
        promote(ladder, name)
    asked(ladder, "rollback", "--to", "1")
    assert aliases(ladder) == {"champion": "1"}
    asked(ladder, "rollback", "--to", "3")
    assert registry.roll_back(ladder) == ("3", "1")
    with pytest.raises(UserError, match=r"^version 7 of 'symphony2vec' never was champion; those that were: 1, 2, 3\n"):
        asked(ladder, "rollback", "--to", "7")
    with pytest.raises(UserError, match=r"^version 1 of 'symphony2vec' is champion already\n"):
        asked(ladder, "rollback", "--to", "1")


def test_a_challenger_cannot_be_rolled_back_to(ladder):
    promote(ladder, "vae-mel")
    promote(ladder, "pca-mel")
    with pytest.raises(UserError, match="version 2 of 'symphony2vec' never was champion; those that were: 1"):
        registry.roll_back(ladder, "2")


def test_a_version_whose_files_are_gone_is_not_gone_back_to(tracked, packed):
    trained(tracked, 0.3, packed=packed)
    trained(tracked, 0.6, "vae-mel", packed=packed)
    promote(tracked, "pca-mel")
    promote(tracked, "vae-mel")
    shutil.rmtree(registry.folder(tracked, "models:/symphony2vec/1")[0])
    with pytest.raises(UserError, match=r"^models:/symphony2vec/1 holds no model"):
        registry.roll_back(tracked)
    assert aliases(tracked) == {"champion": "2"}


def test_a_deleted_version_is_passed_over(ladder):
    for name in ("pca-mel", "vae-mel", "cae-mel"):
        promote(ladder, name)
    client(ladder).delete_model_version(registry.MODEL, "2")
    assert registry.roll_back(ladder) == ("3", "1")


def test_a_champion_that_was_set_by_hand_goes_back_to_the_last_one_of_the_history(ladder):
    promote(ladder, "vae-mel")
    promote(ladder, "pca-mel")
    client(ladder).set_registered_model_alias(registry.MODEL, "champion", "2")
    assert asked(ladder, "champions").splitlines()[-1].split("  ")[0] == "*"
    assert "set by other means" in asked(ladder, "champions")
    assert registry.roll_back(ladder) == ("2", "1")


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
def test_the_champion_before(line, champion, expected):
    kinds = {"p": history.PROMOTED, "r": history.ROLLED_BACK}
    told = [history.Event(str(n), one[1:], kinds[one[0]], "", "", "") for n, one in enumerate(line.split())]
    assert history.before(told, champion) == expected


# The history ----------------------------------------------------------------------------------------------------------


def test_the_history_shows_who_was_champion_when_and_who_is_now(ladder):
    for name in ("pca-mel", "vae-mel"):
        promote(ladder, name)
    registry.roll_back(ladder)
    head, *lines = asked(ladder, "champions").splitlines()
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
    table = pd.read_csv(io.StringIO(asked(ladder, "champions", "--csv")))
    assert tuple(table.columns) == tuple(history.COLUMNS)
    assert table["version"].tolist() == [1, 2]
    assert table["present"].fillna("").tolist() == ["", "champion"]
    assert table["difference"].isna().tolist() == [True, False]
    assert pd.to_datetime(table["when"], utc=True).is_monotonic_increasing


def test_a_registry_without_champions_is_one_line(tracked):
    assert asked(tracked, "champions") == (
        "no version of 'symphony2vec' was ever champion; `symphony2vec promote RUN` makes one\n"
    )
    assert asked(tracked, "champions", "--csv") == ",".join(history.COLUMNS) + "\n"
    for words in ([], ["--to", "1"]):
        with pytest.raises(
            UserError, match=r"^(no version of 'symphony2vec' in MLflow is called champion|version 1 .*: none)"
        ):
            asked(tracked, "rollback", *words)


def test_an_event_is_later_than_the_last_one_though_this_clock_is_behind(ladder):
    promote(ladder, "pca-mel")
    known = client(ladder)
    ahead = (
        (datetime.fromisoformat(history.read(known)[0].when) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    )
    (first,) = history.versions(known)
    (key,) = (name for name in first.tags if name.startswith(history.PREFIX))
    known.set_model_version_tag(registry.MODEL, "1", f"{history.PREFIX}{ahead}", first.tags[key])
    known.delete_model_version_tag(registry.MODEL, "1", key)
    promote(ladder, "vae-mel")
    assert events(ladder) == [("1", "promoted", ""), ("2", "promoted", "1")]


def test_an_event_that_somebody_edited_is_named(ladder):
    promote(ladder, "pca-mel")
    client(ladder).set_model_version_tag(registry.MODEL, "1", "champion.today", "me")
    with pytest.raises(
        UserError, match=r"^the tag champion.today of version 1 .* was changed by other means; delete it"
    ):
        asked(ladder, "champions")


# Faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["promote", "pca-mel"], ["rollback"], ["champions"]])
def test_a_server_that_is_down_is_one_line(tracked, monkeypatch, words):
    monkeypatch.setenv(tracking.URI, "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"^MLflow at http://127\.0\.0\.1:9: .*; check the server"):
        asked(tracked, *words)


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
        asked(ladder, "promote", "vae-mel")
    assert stored(ladder) == before
