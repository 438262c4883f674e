from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from symphony2vec import clips
from symphony2vec.artifacts import read_table, write_table
from symphony2vec.errors import UserError


def music(works: dict[str, list[list[float]]]) -> pd.DataFrame:
    """A table of movements: for each composer the lengths (s) of each work's movements."""
    rows = [
        {
            "composer": composer,
            "work": f"work {w}",
            "movement": str(m),
            "file": f"{composer}-{w}-{m}.flac",
            "duration_s": s,
        }
        for composer, own in works.items()
        for w, movements in enumerate(own)
        for m, s in enumerate(movements)
    ]
    return pd.DataFrame(rows)


def orchestra(composers: int = 4, works: int = 8, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return music({f"c{i}": [list(rng.uniform(15, 250, 3)) for _ in range(works)] for i in range(composers)})


def test_clips_do_not_overlap_and_lie_inside_their_movement(changed):
    table, short = clips.cut(music({"a": [[35.0]], "b": [[100.0]]}), changed().clips)
    assert table.groupby("composer")["start_s"].apply(list).to_dict() == {
        "a": [0.0, 10.0, 20.0],
        "b": [float(s) for s in range(0, 100, 10)],
    }
    assert short.empty


@pytest.mark.parametrize(("duration_s", "count"), [(9.0, 1), (8.99, 0), (10.0, 1), (18.9, 1), (19.0, 2), (20.0, 2)])
def test_a_last_clip_counts_when_it_is_nearly_full(changed, duration_s, count):
    assert len(clips.starts_s(duration_s, changed().clips)) == count


def test_overlap_sets_the_step(changed):
    assert clips.starts_s(30.0, changed(clips__overlap=0.5).clips) == [0.0, 5.0, 10.0, 15.0, 20.0]


def test_the_cap_spreads_the_clips_over_the_movement(changed):
    starts = clips.starts_s(600.0, changed(clips__max_per_movement=4).clips)
    assert starts == [0.0, 200.0, 390.0, 590.0]
    assert clips.starts_s(600.0, changed(clips__max_per_movement=1).clips) == [300.0]
    assert len(clips.starts_s(600.0, changed(clips__max_per_movement=0).clips)) == 60


def test_the_cap_of_a_composer_spreads_over_his_works(changed):
    movements = music({"a": [[100.0, 50.0], [100.0], [90.0]], "b": [[35.0]]})
    table, _ = clips.cut(movements, changed(clips__max_per_composer=6).clips)
    assert table["composer"].value_counts().to_dict() == {"a": 6, "b": 3}
    assert table.loc[table["composer"] == "a", "work"].nunique() == 3
    assert table["clip"].tolist() == list(range(9))
    everything, _ = clips.cut(movements, changed().clips)
    assert len(everything) == 34 + 3


def test_a_movement_too_short_for_a_clip_is_listed(changed):
    _, short = clips.cut(music({"a": [[35.0, 4.2]]}), changed().clips)
    assert short["reason"].tolist() == ["4.2 s is too short for a clip of 10 s"]


def test_no_movement_long_enough_is_an_error(changed):
    with pytest.raises(UserError, match=r"no movement is long enough .* lower clips\.duration_s"):
        clips.cut(music({"a": [[4.0]]}), changed().clips)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mode", ["work", "movement"])
def test_no_group_and_no_movement_is_on_two_sides(changed, mode, seed):
    settings = changed(clips__split_by=mode, clips__seed=seed).clips
    table, _ = clips.split(clips.cut(orchestra(), settings)[0], settings)
    assert table.groupby("group")["split"].nunique().max() == 1
    assert table.groupby(["composer", "work", "movement"])["split"].nunique().max() == 1
    if mode == "work":
        assert table.groupby(["composer", "work"])["split"].nunique().max() == 1


def test_a_clip_split_leaks_as_it_says(changed):
    settings = changed(clips__split_by="clip").clips
    table, _ = clips.split(clips.cut(orchestra(), settings)[0], settings)
    assert table.groupby(["composer", "work", "movement"])["split"].nunique().max() > 1


@pytest.mark.parametrize("works", [3, 4, 9, 40])
def test_every_composer_is_in_every_split_near_the_wanted_shares(changed, works):
    settings = changed().clips
    table, _ = clips.split(clips.cut(orchestra(works=works), settings)[0], settings)
    counts = pd.crosstab(table["composer"], table["split"])
    assert (counts > 0).all(axis=None)
    if works == 40:
        shares = counts.div(counts.sum(axis=1), axis=0)
        wanted = {"train": 0.6, "validation": 0.15, "test": 0.25}
        assert max(abs(shares[side] - wanted[side]).max() for side in wanted) < 0.05


def test_the_seed_alone_decides_and_other_composers_do_not_matter(changed):
    one, other = (changed(clips__seed=seed).clips for seed in (0, 1))
    cut, _ = clips.cut(orchestra(), one)
    first, again, differently = (clips.split(cut, settings)[0] for settings in (one, one, other))
    pd.testing.assert_frame_equal(first, again)
    assert (first["split"] != differently["split"]).any()
    fewer, _ = clips.split(cut[cut["composer"] != "c0"], one)
    kept = first[first["composer"] != "c0"]
    assert fewer["split"].tolist() == kept["split"].tolist()


def test_a_composer_with_two_works_is_split_by_movement_and_says_so(changed):
    settings = changed().clips
    movements = music({"Haydn": [[50.0] * 4, [60.0] * 5], "Bach": [[45.0]] * 12})
    table, _ = clips.split(clips.cut(movements, settings)[0], settings)
    modes = clips.summary(table).set_index("composer")["split_by"].to_dict()
    assert modes == {"Haydn": "movement", "Bach": "work"}
    assert table.groupby("group")["split"].nunique().max() == 1


def test_too_few_works_without_a_fallback_is_an_error_that_counts_them(changed):
    settings = changed(clips__fallback="none").clips
    cut, _ = clips.cut(music({"Haydn": [[50.0] * 4, [60.0] * 5], "Bach": [[45.0]] * 12}), settings)
    with pytest.raises(UserError, match=r"at least three works of each composer, but Haydn has 2 works, 9 movements"):
        clips.split(cut, settings)


def test_a_composer_no_split_can_hold_is_an_error_or_dropped_when_asked(changed):
    movements = music({"Boulanger": [[374.0]], "Bach": [[45.0]] * 12, "Beach": [[60.0]] * 3})
    settings = changed().clips
    cut, _ = clips.cut(movements, settings)
    with pytest.raises(
        UserError, match=r"\(or movements\).* Boulanger has 1 work, 1 movement, 25 clips.*small_composers"
    ):
        clips.split(cut, settings)
    table, dropped = clips.split(cut, changed(clips__small_composers="drop").clips)
    assert sorted(table["composer"].unique()) == ["Bach", "Beach"]
    assert table["clip"].tolist() == list(range(len(table)))
    assert dropped["composer"].tolist() == ["Boulanger"]


def test_one_composer_alone_is_no_classification(changed):
    settings = changed().clips
    with pytest.raises(UserError, match="1 composer with enough music; two are needed"):
        clips.split(clips.cut(music({"Bach": [[45.0]] * 12}), settings)[0], settings)


def test_composers_are_chosen_by_name_and_a_slip_gets_a_hint():
    movements = music({"Bach": [[45.0]], "Brahms": [[45.0]]})
    assert clips.chosen(movements, ["Brahms"])["composer"].unique().tolist() == ["Brahms"]
    assert len(clips.chosen(movements, [])) == 2
    with pytest.raises(UserError, match=r"no composer 'Bramhs' in the catalogue; did you mean 'Brahms'\?"):
        clips.chosen(movements, ["Bramhs"])


@pytest.mark.parametrize("sizes", list(itertools.product([1, 5, 40], repeat=3)))
def test_three_groups_fill_three_splits_whatever_their_sizes(sizes):
    named = {f"g{i}": size for i, size in enumerate(sizes)}
    assert sorted(clips.share_out(named, (0.15, 0.25), np.random.default_rng(0)).values()) == sorted(clips.SPLITS)


def test_table_1_holds_shares_that_sum_to_one(changed):
    settings = changed().clips
    shares = clips.balance(clips.split(clips.cut(orchestra(), settings)[0], settings)[0])
    assert shares.index.tolist() == ["train", "validation", "test"]
    assert shares.sum(axis=1).to_numpy() == pytest.approx(np.ones(3), abs=1e-3)


def test_the_stage_writes_its_tables_and_pictures(project, changed):
    movements = orchestra(composers=2)
    write_table(project.movements, movements)
    clips.run(project, changed())
    first = project.clips.read_bytes()
    clips.run(project, changed())
    assert project.clips.read_bytes() == first
    names = {path.name for path in project.out("clips").iterdir()}
    assert names == {"clips.csv", "balance.csv", "splits.csv", "left_out.csv", "balance.png", "split.png"}
    assert read_table(project.clips, "clips")["work"].iloc[0] == "work 0"
