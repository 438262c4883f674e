"""The stage `clips`: cut movements into clips, and split the clips by composer and by whole works.

No audio is copied: a clip is a row of a table.

    Reads   out/audio/movements.csv
    Writes  out/clips/clips.csv        one row per clip, in the order of all arrays: clip, composer, work, movement,
                                       performance, file, start_s
            out/clips/folds/<fold>.csv the same clips with group, split and split_by, for every fold: work-0, ...
            out/clips/balance.csv      Table 1 of the paper: the share of each composer in each split of the first fold
            out/clips/splits.csv       per fold and composer: kind of group, and groups and clips of each split
            out/clips/left_out.csv     movements and composers without a clip, with the reason
            out/clips/balance.png, split.png
"""

from __future__ import annotations

import pandas as pd

from symphony2vec import figures
from symphony2vec.clips import index, splits
from symphony2vec.corpus import decisions
from symphony2vec.params import Params
from symphony2vec.project import Project, atomic_folder, read_table, write_table


def run(project: Project, params: Params) -> None:
    """Run the stage `clips`."""
    settings, kinds = params.clips, splits.group_by_kind(params)
    movements = index.select_composers(read_table(project.movements, "audio"), settings.composers)
    if settings.ambiguous_works == "error" and next(iter(kinds)) == "work":
        index.refuse_ambiguous_works(movements, decisions.read(project.corpus(params.corpus.name)).distinct_keys)
    clips, too_short = index.cut_clips(movements, settings)
    clips, too_small = splits.drop_small_composers(clips, settings, kinds)
    tables = {fold: splits.split_clips(clips, settings, fold) for fold in splits.list_folds(params)}
    first = next(iter(tables.values()))
    shares = splits.composer_shares(first)
    with atomic_folder(project.out("clips")) as folder:
        write_table(folder / "clips.csv", clips)
        for fold, table in tables.items():
            write_table(folder / "folds" / f"{fold.name}.csv", table)
        write_table(folder / "balance.csv", shares.reset_index(names="split"))
        summaries = [splits.summarize_fold(table, fold) for fold, table in tables.items()]
        write_table(folder / "splits.csv", pd.concat(summaries))
        left_out = pd.concat([too_short.astype(str), too_small.astype(str)], ignore_index=True)
        write_table(folder / "left_out.csv", left_out)
        figures.save(folder / "balance.png", figures.class_balance(shares))
        figures.save(folder / "split.png", figures.split_map(first))
    print(
        f"clips: {len(clips)} of {settings.duration_s:g} s by {clips['composer'].nunique()} composers, "
        f"split in {len(tables)} fold{'' if len(tables) == 1 else 's'}"
    )
