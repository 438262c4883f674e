"""Sets of scores, fetched from a small repository made here and taken from local copies; their tables."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import ROOT
from symphony2vec.corpus import catalogue, decisions, score_sets, similarity
from symphony2vec.errors import UserError

SCORES = {"Bach/One/1.mxl": b"one\r\n", "Brahms, J/D'un Two/2.mxl": b"two\n"}


@dataclasses.dataclass
class Mirror:
    folder: Path
    url: str
    commit: str
    movements: list[catalogue.Movement]


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    folder = tmp_path / "mirror"
    for path, content in {**SCORES, "Bach/One/parts.mxl": b"not wanted"}.items():
        (folder / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / path).write_bytes(content)
    git(folder, "init", "--quiet")
    git(folder, "config", "core.autocrlf", "false")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "scores")
    commit = git(folder, "rev-parse", "HEAD")
    (folder / "data" / "Bach/One/1.mxl").write_bytes(b"a later version")
    git(folder, "commit", "--quiet", "-am", "later")
    git(folder, "config", "uploadpack.allowFilter", "true")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    movements = [
        catalogue.Movement(path[:4], "w", path[-5], path, "score", "CC0", "here", sha256=sha256(content))
        for path, content in SCORES.items()
    ]
    return Mirror(folder, folder.as_uri(), commit, movements)


def sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def fill(target: Path, mirror: Mirror, **changed: object) -> int:
    settings = {"url": mirror.url, "commit": mirror.commit, "movements": mirror.movements} | changed
    score_set = dataclasses.replace(score_sets.OPENSCORE, commit=str(settings.pop("commit")))
    return score_sets.fill(target, score_set, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("filters", ["true", "false"])
def test_exactly_the_listed_files_of_the_commit_are_fetched(tmp_path: Path, mirror: Mirror, filters: str) -> None:
    git(mirror.folder, "config", "uploadpack.allowFilter", filters)
    target = tmp_path / "openscore"
    assert fill(target, mirror) == 2
    files = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert files == {*SCORES, "catalogue.csv"}
    assert {path: (target / path).read_bytes() for path in SCORES} == SCORES
    assert catalogue.audit(target) == (mirror.movements, [])


def test_line_ends_stay_whatever_the_user_has_set(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gitconfig").write_text("[core]\n\tautocrlf = true\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    fill(tmp_path / "openscore", mirror)
    assert (tmp_path / "openscore" / "Brahms, J/D'un Two/2.mxl").read_bytes() == b"two\n"


def test_only_the_listed_blobs_come(tmp_path: Path, mirror: Mirror) -> None:
    with score_sets._checkout([f"data/{path}" for path in SCORES], mirror.url, mirror.commit) as tree:
        there = git(tree, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)").split()
    assert there.count("blob") == len(SCORES)


def test_what_is_there_and_right_is_not_fetched_again(tmp_path: Path, mirror: Mirror) -> None:
    target = tmp_path / "openscore"
    fill(target, mirror)
    before = {path: (target / path).stat().st_mtime_ns for path in SCORES}
    fill(target, mirror, url="file:///nowhere")
    assert {path: (target / path).stat().st_mtime_ns for path in SCORES} == before
    (target / "Bach/One/1.mxl").write_bytes(b"broken")
    fill(target, mirror)
    assert (target / "Bach/One/1.mxl").read_bytes() == SCORES["Bach/One/1.mxl"]


def test_the_repository_of_a_git_hook_is_left_alone(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "hooked"))
    fill(tmp_path / "openscore", mirror)
    assert not (tmp_path / "hooked").exists()


@pytest.mark.parametrize("child", ["", "data"])
def test_a_local_copy_or_its_data_will_do(tmp_path: Path, mirror: Mirror, child: str) -> None:
    git(mirror.folder, "checkout", "--quiet", mirror.commit)
    fill(tmp_path / "openscore", mirror, from_folder=mirror.folder / child, url="file:///nowhere")
    assert catalogue.audit(tmp_path / "openscore") == (mirror.movements, [])


def test_another_version_is_refused_and_nothing_half_written_stays(tmp_path: Path, mirror: Mirror) -> None:
    target = tmp_path / "openscore"
    found = sha256(b"a later version")
    with pytest.raises(
        UserError, match=rf"1\.mxl is another version: expected sha256 {mirror.movements[0].sha256}, got {found}"
    ):
        fill(target, mirror, from_folder=mirror.folder)
    assert not [path for path in target.rglob("*") if path.is_file()]


def test_a_score_that_the_commit_lacks_is_named(tmp_path: Path, mirror: Mirror) -> None:
    lacking = dataclasses.replace(mirror.movements[0], path="Bach/Three/3.mxl")
    with pytest.raises(UserError, match=rf"Bach/Three/3\.mxl is missing in .*; expected sha256 {lacking.sha256}"):
        fill(tmp_path / "openscore", mirror, movements=[mirror.movements[1], lacking])
    assert not (tmp_path / "openscore" / "catalogue.csv").exists()


def test_a_folder_without_scores_is_refused(tmp_path: Path, mirror: Mirror) -> None:
    with pytest.raises(UserError, match=r"does not contain the scores: neither Bach/One/1\.mxl nor data/Bach"):
        fill(tmp_path / "openscore", mirror, from_folder=tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"url": "file:///nowhere"}, r"git fetch from file:///nowhere failed \(.+\); check the address"),
        ({"commit": "0" * 40}, r"git fetch from .* failed \(.*not our ref"),
    ],
)
def test_what_cannot_be_fetched_is_one_clear_error(
    tmp_path: Path, mirror: Mirror, changed: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        fill(tmp_path / "openscore", mirror, **changed)
    assert "\n" not in str(caught.value)


def test_without_git_the_error_names_the_other_way(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="git is not installed; install it, or pass a copy of the scores with --from"):
        fill(tmp_path / "openscore", mirror)


@pytest.mark.parametrize(
    ("score_set", "movements", "works"),
    [
        (score_sets.OPENSCORE, 96, {"Bach": 3}),
        (score_sets.QUARTETS, 435, {"Joseph Haydn": 28, "Emilie Mayer": 4}),
        (score_sets.POLISH, 991, {"Józef Stefani": 57, "Jan Engel": 7}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_tables_of_the_package_are_sound_catalogues(tmp_path, score_set, movements, works):
    rows = score_set.list_movements()
    assert len(rows) == movements
    catalogue.write(tmp_path, rows)
    read, faults = catalogue.read(tmp_path)
    assert not faults
    assert set(read) == set(rows)
    for composer, count in works.items():
        assert len({row.work for row in rows if row.composer == composer}) == count
    assert all(row.origin.endswith(f"{score_set.commit}, {score_set.locate(row.path)}") for row in rows)


def test_the_movements_of_a_quartet_in_one_file_follow_each_other():
    rows = sorted(score_sets.QUARTETS.list_movements(), key=lambda row: (row.path, row.start or 0.0))
    assert sum(row.start is None for row in rows) == 12  # files that are one movement
    for path, group in itertools.groupby((row for row in rows if row.start is not None), key=lambda row: row.path):
        sections = list(group)
        assert [row.movement for row in sections] == [str(number + 1) for number in range(len(sections))], path
        assert sections[0].start == 1
        assert all(after.start == before.end + 1 for before, after in itertools.pairwise(sections))


def test_a_path_with_the_signs_of_a_pattern_is_fetched_alone(tmp_path, mirror):
    git(mirror.folder, "checkout", "--quiet", "--detach", mirror.commit)
    for name in ("[a]?.mxl", "a.mxl", "aX.mxl"):
        (mirror.folder / "data" / name).write_bytes(name.encode())
    git(mirror.folder, "add", ".")
    git(mirror.folder, "commit", "--quiet", "-m", "signs")
    movement = dataclasses.replace(mirror.movements[0], path="[a]?.mxl", sha256=sha256(b"[a]?.mxl"))
    commit = git(mirror.folder, "rev-parse", "HEAD")
    fill(tmp_path / "openscore", mirror, commit=commit, movements=[movement])
    assert sorted(path.name for path in (tmp_path / "openscore").iterdir()) == ["[a]?.mxl", "catalogue.csv"]


def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("list_scores", ROOT / "scripts" / "list_scores.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_table_of_quartets_can_be_written_again(tmp_path, monkeypatch):
    """What scripts/list_scores.py reads in a copy of the repository: names, movements, bars."""
    script = load_script()
    path = tmp_path / "Haydn,_Joseph" / "String_Quartet_in_A_Major,_Hob.III24,_Op.9_No.6" / "sq1.mxl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"score")
    sections = [SimpleNamespace(start=1, end=90), SimpleNamespace(start=91, end=120)]
    monkeypatch.setattr(script, "find_movements", lambda _: sections)
    rows = list(script.list_quartets(tmp_path))
    assert {(row["composer"], row["work"]) for row in rows} == {
        ("Joseph Haydn", "String Quartet in A major, Hob. III:24, Op. 9 No. 6")
    }
    assert [(row["movement"], row["start"], row["end"]) for row in rows] == [("1", 1, 90), ("2", 91, 120)]
    assert rows[0]["sha256"] == sha256(b"score")


CODES = ("violn", "violn", "flt", "oboe", "cor", "viola", "cbass")


def kern_score(
    composer: str, work: str, movement: str, number: str, codes: tuple[str, ...] = CODES, bars: int = 60
) -> str:
    """A score with a note a bar in every part."""
    records = f"!!!COM: {composer}\n!!!OPR: {work}\n!!!OTL: {movement}\n!!!OMV: {number}\n"
    head = ["**kern"] * len(codes), [f"*I{code}" for code in codes], ["*M1/4"] * len(codes)
    data = [line for bar in range(bars) for line in ([f"={bar + 1}"] * len(codes), ["4c"] * len(codes))]
    return records + "\n".join("\t".join(line) for line in (*head, *data, ["*-"] * len(codes))) + "\n"


def test_the_table_of_polish_scores_can_be_written_again(tmp_path):
    """Orchestral scores alone; without copies, variants and nameless composers; shelfmarks of one work together."""
    script = load_script()
    scores = {
        "pl-cz--iii-679--001-002_volckmer-augustin--missa-in-d-gloria": (
            "Volckmer, Augustin",
            "Missa in D",
            "Gloria",
            "002",
        ),
        "pl-cz--iii-679--001-001_volckmer-augustin--missa-in-d-kyrie": (
            "Volckmer, Augustin",
            "Missa in D",
            "Kyrie",
            "001",
        ),
        "pl-wtm--r-457-m_moniuszko--jawnuta": ("Moniuszko, Stanisław", "Jawnuta", "Uwertura", ""),
        "pl-wtm--r-460-m_moniuszko--jawnuta": ("Moniuszko, Stanisław", "Jawnuta", "Uwertura", ""),
        "pl-cz--ii-129--001_kozlowski--requiem": ("Kozłowski, Józef", "Requiem", "Requiem", "1"),  # a copy
        "pl-kk--kk-i-478--001-001-pc1_vogel--missa-kyrie": ("Vogel", "Missa", "Kyrie", "1"),  # a variant
        "pl-kk--kk-i-394--001-001_anonim--missa-kyrie": ("Anonim", "Missa", "Kyrie", "1"),
    }
    folder = tmp_path / "pl" / "kern"
    folder.mkdir(parents=True)
    for stem, records in scores.items():
        (folder / f"{stem}.krn").write_text(kern_score(*records), encoding="utf-8")
    few = {
        "staves": kern_score("A, B", "C", "D", "1", CODES[:6]),
        "winds": kern_score("A, B", "C", "D", "1", CODES[:2] * 4),
    }
    few["notes"] = kern_score("A, B", "C", "D", "1", bars=50)
    for name, text in few.items():
        (folder / f"pl-xx--{name}_a-b--c.krn").write_text(text, encoding="utf-8")
    rows = script.name_works(list(script.list_polish(tmp_path)))
    assert {(row["composer"], row["work"], row["movement"]) for row in rows} == {
        ("Augustin Volckmer", "Missa in D (PL-CZ III-679)", "1. Kyrie"),
        ("Augustin Volckmer", "Missa in D (PL-CZ III-679)", "2. Gloria"),
        ("Stanisław Moniuszko", "Jawnuta (PL-WTM R-457-M)", "Uwertura"),
        ("Stanisław Moniuszko", "Jawnuta (PL-WTM R-457-M)", "Uwertura [2]"),
    }


def test_no_two_polish_works_are_taken_for_one():
    """What `clips` refuses: the shelfmarks keep works of one title apart."""
    rows = score_sets.POLISH.list_movements()
    titles = [(row.composer, row.work, row.movement) for row in rows]
    distinct = decisions.Decisions(distinct_works=set(score_sets.POLISH.distinct_works)).distinct_keys
    assert len(similarity.find_similar_names(titles)) == 2
    assert similarity.find_similar_names(titles, distinct) == []


def test_the_decisions_of_a_set_are_written_beside_those_of_the_user(tmp_path, mirror):
    own = decisions.Decisions(works={("Bach", "w"): "W"})
    target = tmp_path / "polish"
    target.mkdir()
    decisions.write(target, own)
    pair = ("Bach", "One", "One and a half")
    score_set = dataclasses.replace(score_sets.OPENSCORE, commit=mirror.commit, distinct_works=(pair,))
    score_sets.fill(target, score_set, url=mirror.url, movements=mirror.movements)
    assert decisions.read(target) == decisions.Decisions(works={("Bach", "w"): "W"}, distinct_works={pair})
