from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from symphony2vec.clips import index, splits
from symphony2vec.clips import stage as clips
from symphony2vec.corpus.movements import movement_key
from symphony2vec.errors import UserError
from symphony2vec.params import Clips
from symphony2vec.project import SplitFold, read_table, write_table


def music(works: dict[str, list[list[float]]]) -> pd.DataFrame:
    """A table of movements: for each composer the lengths (s) of each work's movements."""
    rows = [
        {
            "composer": composer,
            "work": f"work {w}",
            "movement": str(m),
            "performance": "TimGM6mb",
            "file": f"{composer}-{w}-{m}.flac",
            "duration_s": s,
        }
        for composer, lengths in works.items()
        for w, movements in enumerate(lengths)
        for m, s in enumerate(movements)
    ]
    return pd.DataFrame(rows)


def orchestra(composers: int = 4, works: int = 8, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return music({f"c{i}": [list(rng.uniform(15, 250, 3)) for _ in range(works)] for i in range(composers)})


def test_clips_do_not_overlap_and_lie_inside_their_movement(changed):
    table, short = index.cut_clips(music({"a": [[35.0]], "b": [[100.0]]}), changed().clips)
    assert table.groupby("composer")["start_s"].apply(list).to_dict() == {
        "a": [0.0, 10.0, 20.0],
        "b": [float(s) for s in range(0, 100, 10)],
    }
    assert short.empty


@pytest.mark.parametrize(("duration_s", "count"), [(9.0, 1), (8.99, 0), (10.0, 1), (18.9, 1), (19.0, 2), (20.0, 2)])
def test_a_last_clip_counts_when_it_is_nearly_full(changed, duration_s, count):
    assert len(index.clip_starts(duration_s, changed().clips)) == count


def test_overlap_sets_the_step(changed):
    assert index.clip_starts(30.0, changed(clips__overlap=0.5).clips) == [0.0, 5.0, 10.0, 15.0, 20.0]


def test_the_cap_spreads_the_clips_over_the_movement(changed):
    starts = index.clip_starts(600.0, changed(clips__max_per_movement=4).clips)
    assert starts == [0.0, 200.0, 390.0, 590.0]
    assert index.clip_starts(600.0, changed(clips__max_per_movement=1).clips) == [300.0]
    assert len(index.clip_starts(600.0, changed(clips__max_per_movement=0).clips)) == 60


def test_the_cap_of_a_composer_spreads_over_his_works(changed):
    movements = music({"a": [[100.0, 50.0], [100.0], [90.0]], "b": [[35.0]]})
    table, _ = index.cut_clips(movements, changed(clips__max_per_composer=6).clips)
    assert table["composer"].value_counts().to_dict() == {"a": 6, "b": 3}
    assert table.loc[table["composer"] == "a", "work"].nunique() == 3
    assert table["clip"].tolist() == list(range(9))
    everything, _ = index.cut_clips(movements, changed().clips)
    assert len(everything) == 34 + 3


def test_a_movement_too_short_for_a_clip_is_listed(changed):
    _, short = index.cut_clips(music({"a": [[35.0, 4.2]]}), changed().clips)
    assert short["reason"].tolist() == ["4.2 s is too short for a clip of 10 s"]


def test_no_movement_long_enough_is_an_error(changed):
    with pytest.raises(UserError, match=r"no movement is long enough .* lower clips\.duration_s"):
        index.cut_clips(music({"a": [[4.0]]}), changed().clips)


WORK = SplitFold("work", 0)
TWO_WORKS = {"Haydn": [[50.0] * 4, [60.0] * 5], "Bach": [[45.0]] * 12}


def split_music(movements: pd.DataFrame, settings: Clips, fold: SplitFold = WORK) -> pd.DataFrame:
    """The clips of these movements with their splits in one fold."""
    cut, _ = index.cut_clips(movements, settings)
    return splits.split_clips(splits.drop_small_composers(cut, settings, [fold.split])[0], settings, fold)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["work", "movement"])
def test_no_group_and_no_movement_is_in_two_splits(changed, kind, seed):
    table = split_music(orchestra(), changed().clips, SplitFold(kind, seed))
    assert table.groupby("group")["split"].nunique().max() == 1
    assert table.groupby(["composer", "work", "movement"])["split"].nunique().max() == 1
    assert (table.groupby(["composer", "work"])["split"].nunique().max() == 1) == (kind == "work")


def test_a_clip_split_leaks_as_it_says(changed):
    table = split_music(orchestra(), changed().clips, SplitFold("clip", 0))
    assert table.groupby(["composer", "work", "movement"])["split"].nunique().max() > 1


@pytest.mark.parametrize("works", [3, 4, 9, 40])
def test_every_composer_is_in_every_split_near_its_target_share(changed, works):
    table = split_music(orchestra(works=works), changed().clips)
    counts = pd.crosstab(table["composer"], table["split"])
    assert list(counts) == sorted(splits.SPLITS)
    assert (counts > 0).all(axis=None)
    if works == 40:
        shares = counts.div(counts.sum(axis=1), axis=0)
        targets = {"train": 0.6, "validation": 0.15, "test": 0.25}
        assert max(abs(shares[split] - targets[split]).max() for split in targets) < 0.02


def test_the_seed_alone_decides_and_other_composers_do_not_matter(changed):
    settings = changed().clips
    cut, _ = index.cut_clips(orchestra(), settings)
    first, again, differently = (splits.split_clips(cut, settings, SplitFold("work", seed)) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert (first["split"] != differently["split"]).any()
    fewer = splits.split_clips(cut[cut["composer"] != "c0"], settings, WORK)
    others = first[first["composer"] != "c0"]
    assert fewer["split"].tolist() == others["split"].tolist()


def test_a_composer_with_two_works_is_split_by_movement_and_says_so(changed):
    table = split_music(music(TWO_WORKS), changed().clips)
    summary = splits.summarize_fold(table, WORK)
    assert summary.set_index("composer")["split_by"].to_dict() == {"Haydn": "movement", "Bach": "work"}
    assert set(summary["fold"]) == {"work-0"}
    assert table.groupby("group")["split"].nunique().max() == 1


def test_the_summary_counts_every_group_and_every_clip_once(changed):
    table = split_music(orchestra(works=5), changed().clips)
    summary = splits.summarize_fold(table, WORK)
    assert (summary[[f"{split}_groups" for split in splits.SPLITS]].sum(axis=1) == summary["works"]).all()
    assert summary[[f"{split}_clips" for split in splits.SPLITS]].to_numpy().sum() == len(table)


def test_too_few_works_without_a_fallback_is_an_error_that_counts_them(changed):
    settings = changed(clips__fallback="none").clips
    cut, _ = index.cut_clips(music(TWO_WORKS), settings)
    with pytest.raises(UserError, match=r"at least three works of each composer, but Haydn has 2 works, 9 movements"):
        splits.drop_small_composers(cut, settings, ["work"])


def test_a_composer_no_split_can_hold_is_an_error_or_dropped_when_asked(changed):
    movements = music({"Boulanger": [[374.0]], "Bach": [[45.0]] * 12, "Chaminade": [[60.0]] * 3})
    settings = changed().clips
    cut, _ = index.cut_clips(movements, settings)
    with pytest.raises(
        UserError, match=r"\(or movements\).* Boulanger has 1 work, 1 movement, 25 clips.*small_composers"
    ):
        splits.drop_small_composers(cut, settings, ["work"])
    remaining, dropped = splits.drop_small_composers(cut, changed(clips__small_composers="drop").clips, ["work"])
    assert sorted(remaining["composer"].unique()) == ["Bach", "Chaminade"]
    assert remaining["clip"].tolist() == list(range(len(remaining)))
    assert dropped["composer"].tolist() == ["Boulanger"]


@pytest.mark.parametrize(
    ("kinds", "remaining"), [(["clip"], {"Haydn", "Bach"}), (["clip", "work"], {"Bach"}), (["work", "clip"], {"Bach"})]
)
def test_a_composer_remains_only_with_enough_groups_for_every_split(changed, kinds, remaining):
    movements = music(TWO_WORKS | {"Beach": [[60.0]] * 3})
    settings = changed(clips__fallback="none", clips__small_composers="drop").clips
    table, dropped = splits.drop_small_composers(index.cut_clips(movements, settings)[0], settings, kinds)
    assert set(table["composer"]) == remaining | {"Beach"}
    assert set(dropped["composer"]) == {"Haydn", "Bach"} - remaining


def test_enough_music_loses_no_clip(changed):
    settings = changed().clips
    cut, _ = index.cut_clips(orchestra(), settings)
    remaining, dropped = splits.drop_small_composers(cut, settings, ["work", "movement", "clip"])
    pd.testing.assert_frame_equal(remaining, cut)
    assert dropped.empty


@pytest.mark.parametrize("small", ["error", "drop"])
def test_one_composer_alone_is_no_classification(changed, small):
    settings = changed(clips__small_composers=small).clips
    cut, _ = index.cut_clips(music({"Bach": [[45.0]] * 12}), settings)
    with pytest.raises(UserError, match="1 composer with enough music; at least two are needed"):
        splits.drop_small_composers(cut, settings, ["work"])


def test_no_composer_with_enough_music_is_an_error_too(changed):
    settings = changed(clips__small_composers="drop").clips
    cut, _ = index.cut_clips(music({"Bach": [[45.0]], "Beach": [[45.0]]}), settings)
    with pytest.raises(UserError, match="0 composers with enough music; at least two are needed"):
        splits.drop_small_composers(cut, settings, ["work"])


def test_composers_are_chosen_by_name_and_a_slip_gets_a_hint():
    movements = music({"Bach": [[45.0]], "Brahms": [[45.0]]})
    assert index.select_composers(movements, ["Brahms"])["composer"].unique().tolist() == ["Brahms"]
    assert len(index.select_composers(movements, [])) == 2
    with pytest.raises(UserError, match=r"no composer 'Bramhs' in the catalogue; did you mean 'Brahms'\?"):
        index.select_composers(movements, ["Bramhs"])


@pytest.mark.parametrize("sizes", list(itertools.product([1, 5, 40], repeat=3)))
def test_three_groups_fill_three_splits_whatever_their_sizes(sizes):
    named = {f"g{i}": size for i, size in enumerate(sizes)}
    assert sorted(splits.assign_groups(named, (0.15, 0.25), np.random.default_rng(0)).values()) == sorted(splits.SPLITS)


UNEQUAL = [
    {"Mass": 167, "a": 30, "b": 33},
    {"Mass": 167, "Suite": 80, "a": 30, "b": 33, "c": 12, "d": 25},
    {f"g{i}": size for i, size in enumerate((100, 3, 5, 40, 2, 2, 61, 9))},
]


def misplaced_share(sizes: dict[str, int], assignment: dict[str, str], shares: tuple[float, float]) -> float:
    """The share of clips that would have to move to reach the target shares."""
    targets = dict(zip(splits.SPLITS, (1.0 - sum(shares), *shares), strict=True))
    total = sum(sizes.values())
    actual = {split: sum(sizes[name] for name in sizes if assignment[name] == split) / total for split in splits.SPLITS}
    return sum(abs(actual[split] - targets[split]) for split in splits.SPLITS) / 2.0


@pytest.mark.parametrize("sizes", UNEQUAL, ids=["a Mass", "a Mass and more", "eight works"])
def test_unequal_groups_are_closer_to_the_target_shares_than_a_single_assignment(sizes, monkeypatch):
    shares = (0.15, 0.25)

    def mean_distance() -> float:
        assignments = [splits.assign_groups(sizes, shares, np.random.default_rng(seed)) for seed in range(60)]
        return float(np.mean([misplaced_share(sizes, assignment, shares) for assignment in assignments]))

    best_of_candidates = mean_distance()
    monkeypatch.setattr(splits, "CANDIDATES", 1)
    assert best_of_candidates < 0.8 * mean_distance()


def test_the_best_candidate_still_depends_on_the_seed():
    sizes = {f"g{i}": 10 + i for i in range(12)}
    assignments = [splits.assign_groups(sizes, (0.15, 0.25), np.random.default_rng(seed)) for seed in range(20)]
    assert len({tuple(sorted(assignment.items())) for assignment in assignments}) > 10


def test_table_1_contains_shares_that_sum_to_one(changed):
    shares = splits.composer_shares(split_music(orchestra(), changed().clips))
    assert shares.index.tolist() == ["train", "validation", "test"]
    assert shares.sum(axis=1).to_numpy() == pytest.approx(np.ones(3), abs=1e-3)


# Folds


SIX_FOLDS = ["work-0", "work-1", "work-2", "movement-0", "movement-1", "clip-0"]


def test_the_folds_are_those_that_are_listed_in_that_order(changed):
    assert splits.list_folds(changed()) == [WORK]
    expected = [SplitFold("work", 7), SplitFold("clip", 0), SplitFold("work", 12)]
    assert splits.list_folds(changed(folds=["work-7", "clip-0", "work-12"])) == expected
    assert [fold.name for fold in expected] == ["work-7", "clip-0", "work-12"]


def test_one_fold_is_selected_by_its_name_and_all_without_a_name(changed):
    params = changed(folds=["work-0", "movement-3"])
    assert splits.select_folds(params, "movement-3") == [SplitFold("movement", 3)]
    assert splits.select_folds(params, None) == splits.list_folds(params)
    with pytest.raises(UserError, match=r"params\.yaml lists no fold 'work-1'; its folds are work-0, movement-3"):
        splits.select_folds(params, "work-1")


def test_the_kind_of_the_first_fold_is_the_first_kind_and_each_kind_has_its_folds(changed):
    names = splits.group_by_kind(changed(folds=["movement-1", "clip-0", "movement-0", "work-0"]))
    assert list(names.items()) == [
        ("movement", ["movement-1", "movement-0"]),
        ("clip", ["clip-0"]),
        ("work", ["work-0"]),
    ]


def test_other_folds_do_not_change_a_fold(project, changed):
    write_table(project.movements, orchestra(composers=2))
    clips.run(project, changed(folds=["movement-1"]))
    alone = project.fold(SplitFold("movement", 1)).read_bytes()
    clips.run(project, changed(folds=SIX_FOLDS))
    assert project.fold(SplitFold("movement", 1)).read_bytes() == alone


@pytest.fixture
def tables_by_fold(project, changed) -> dict[str, pd.DataFrame]:
    """The tables of six folds, as the stage writes them."""
    write_table(project.movements, orchestra())
    clips.run(project, changed(folds=SIX_FOLDS))
    return {path.stem: read_table(path, "clips") for path in project.out("clips", "folds").iterdir()}


def test_every_fold_contains_the_same_clips_in_the_same_order(project, tables_by_fold):
    index = read_table(project.clips, "clips")
    assert list(index) == ["clip", "composer", "work", "movement", "performance", "file", "start_s"]
    assert index["clip"].tolist() == list(range(len(index)))
    assert set(tables_by_fold) == set(SIX_FOLDS)
    for table in tables_by_fold.values():
        pd.testing.assert_frame_equal(table[list(index)], index)


def test_folds_differ_and_each_composer_is_in_every_split_of_each(tables_by_fold):
    assignments = {tuple(table["split"]) for table in tables_by_fold.values()}
    assert len(assignments) == len(tables_by_fold)
    for table in tables_by_fold.values():
        assert (table.groupby("composer")["split"].nunique() == 3).all()


def test_every_fold_is_grouped_as_its_name_says(tables_by_fold):
    for name, table in tables_by_fold.items():
        assert set(table["split_by"]) == {name.split("-")[0]}
        assert table.groupby("group")["split"].nunique().max() == 1


# The stage


def test_the_stage_writes_its_tables_and_pictures(project, changed):
    write_table(project.movements, orchestra(composers=2))
    contents = []
    for _ in range(2):
        clips.run(project, changed(folds=["work-0", "work-1"]))
        contents.append({path: path.read_bytes() for path in project.out("clips").rglob("*.csv")})
    assert contents[0] == contents[1]
    tables = {"clips.csv", "balance.csv", "splits.csv", "left_out.csv", "folds/work-0.csv", "folds/work-1.csv"}
    files = {path.relative_to(project.out("clips")).as_posix() for path in project.out("clips").rglob("*.*")}
    assert files == tables | {"balance.png", "split.png"}
    assert read_table(project.clips, "clips")["work"].iloc[0] == "work 0"


def test_the_stage_summarizes_every_fold_and_removes_folds_that_are_no_longer_listed(project, changed):
    write_table(project.movements, orchestra(composers=2))
    clips.run(project, changed(folds=["work-0", "work-1", "clip-0"]))
    assert set(read_table(project.out("clips", "splits.csv"), "clips")["fold"]) == {"work-0", "work-1", "clip-0"}
    clips.run(project, changed())
    assert set(read_table(project.out("clips", "splits.csv"), "clips")["fold"]) == {"work-0"}
    assert [path.name for path in project.out("clips", "folds").iterdir()] == ["work-0.csv"]


def test_what_is_left_out_is_listed_with_its_reason(project, changed):
    movements = music({"Bach": [[45.0]] * 12, "Beach": [[60.0]] * 3 + [[4.0]], "Boulanger": [[374.0]]})
    write_table(project.movements, movements)
    clips.run(project, changed(clips__small_composers="drop"))
    reasons = read_table(project.out("clips", "left_out.csv"), "clips").set_index("composer")["reason"].to_dict()
    assert reasons["Beach"] == "4.0 s is too short for a clip of 10 s"
    assert reasons["Boulanger"].startswith("too little music for train, validation and test: 1 work, 1 movement")
    assert set(reasons) == {"Beach", "Boulanger"}


@pytest.mark.parametrize(
    ("title", "other_title", "equal"),
    [
        ("II. Andante (Karajan)", "2. Andante con moto (Abbado)", True),
        ("Allegro (Karajan, 1963)", "Allegro (Mahler: Symphony No. 3 [Disc 1])", True),
        ("Menuet", "menuet (A (B))", True),
        ("I. Allegro", "III. Allegro", False),
        ("1 Allegro", "3 Allegro", False),
        ("(Intermezzo)", "(Finale)", False),
        ("Vivace", "V", False),
    ],
)
def test_performances_of_a_movement_have_one_key(title, other_title, equal):
    assert (movement_key(title) == movement_key(other_title)) == equal


def test_a_split_by_movement_keeps_the_performances_of_a_movement_together(changed):
    titles = [f"{numeral}. Allegro ({name})" for numeral in ("I", "II", "III", "IV") for name in ("Abbado", "Karajan")]
    row = {"composer": "M", "work": "W", "performance": "", "start_s": 0.0}
    rows = [{**row, "movement": title, "file": title} for title in titles]
    table = pd.DataFrame(rows)
    table.insert(0, "clip", range(len(table)))
    for seed in range(5):
        cut = splits.split_clips(table, changed().clips, SplitFold("work", seed))
        assert set(cut["split_by"]) == {"movement"}
        assert (cut.groupby(cut["movement"].str.partition(".")[0])["split"].nunique() == 1).all()
