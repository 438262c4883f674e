"""The stage `report`: all results on one page that opens from disk, with CSV tables, PNG figures and MP3 sounds.

    Reads   out/audio, out/clips, out/features, out/classifiers, out/embeddings, out/ali, out/probe, params.yaml;
            out/temporal, out/pretrained and out/meaning if they exist
    Writes  out/report/index.html; first.csv, results.csv, pairs.csv, counts.csv, leakage.csv, training_works.csv,
            latent.csv, corpus.csv, balance.csv, splits.csv, rejected.csv, left_out.csv; near_duplicates.csv,
            near_duplicate_counts.csv, parts.csv, generation.csv, walks.csv, attributes.csv, retrieval.csv,
            meaning_pairs.csv unless they are empty; pictures/*.png, sounds/*.mp3; for `dvc plots`
            curves/<stage>-<model>.csv and confusion.csv
            out/metrics.json    the results of every model over the folds, for `dvc metrics`

Its modules:

    first       the temporal model beside one model of every other kind
    tables      accuracies, differences, leakage, corpus
    counts      correctly classified clips and movements of each work, and one model compared with all others
    ablation    ablations of the temporal model, and the quality of generated spectrograms
    walks       walks through the latent space of the temporal model
    pictures    pictures and sounds
    page        the page
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from symphony2vec.clips import leaks, splits
from symphony2vec.errors import UserError
from symphony2vec.evaluation.meaning import pictures as meaning_pictures
from symphony2vec.params import Params
from symphony2vec.project import Project, atomic_file, atomic_folder, read_table, write_json, write_table
from symphony2vec.report import ablation, counts, first, page, pictures, tables, walks


def run(project: Project, params: Params) -> None:
    """Write the report."""
    folds_of = splits.group_by_kind(params)
    first_kind, folds = next(iter(folds_of.items()))
    entries_of = {kind: tables.read_entries(project, names) for kind, names in folds_of.items()}
    entries = entries_of[first_kind]
    results, pairs = tables.tabulate_results(entries, *_bootstrap(params))
    reference = first.find_reference(results, params.embeddings.dimensions)
    ali, pretrained = (sorted({e.model for e in entries if e.stage == stage}) for stage in ("ali", "pretrained"))
    by_name = {
        "first": first.tabulate(results, pairs, first.read_sizes(project, results, folds[0]), params),
        "results": results,
        "pairs": pairs,
        "counts": counts.tabulate((folds_of[split], of_split) for split, of_split in entries_of.items()),
        "leakage": tables.tabulate_leakage(entries_of, *_bootstrap(params)),
        "training_works": tables.read_training_works(project, pretrained, folds),
        "latent": tables.read_latent_correlations(project, ali, folds),
        **_read_tables(project),
        **tables.tabulate_meaning(project, folds, params.probe),
        **leaks.build_tables(project, splits.list_folds(params)),
        **_optional_tables(project, params, results, reference, folds),
    }
    write_json(project.out("metrics.json"), tables.collect_metrics(results))
    with atomic_folder(project.out("report")) as folder:
        for name, table in by_name.items():
            write_table(folder / f"{name}.csv", table)
        pictures.write_plots(project, results, folds, folder)
        picture_folder, sound_folder = folder / "pictures", folder / "sounds"
        pictures_of = pictures.gather(project, params, results, folds[0], picture_folder)
        pictures.draw_first(by_name["first"], float(results["majority"].mean()), reference, picture_folder)
        pictures.write_figures(by_name, picture_folder)
        meaning_pictures.write_figures(by_name, params.meaning.profile_models, picture_folder)
        pictures.draw_probe_curves(project, ali, folds[0], picture_folder)
        pictures.write_sounds(project, params, ali, reference, folds[0], sound_folder)
        model = page.ReferenceModel(
            reference,
            walks.gather(project, reference, folds[0], picture_folder),
            walks.write_sounds(project, params, reference, folds[0], sound_folder),
        )
        text = page.render(project, params, entries, by_name, pictures_of, model, folder)
        with atomic_file(folder / "index.html") as partial:
            partial.write_text(text, encoding="utf-8")


def _bootstrap(params: Params) -> tuple[int, float, int]:
    return params.probe.bootstrap_resamples, params.probe.confidence, params.probe.seed


def _read_tables(project: Project) -> dict[str, pd.DataFrame]:
    """Return the tables that other stages wrote."""
    return {
        "corpus": tables.summarize_corpus(read_table(project.movements, "audio"), read_table(project.clips, "clips")),
        "balance": read_table(project.out("clips", "balance.csv"), "clips"),
        "splits": read_table(project.out("clips", "splits.csv"), "clips"),
        "rejected": read_table(project.out("audio", "rejected.csv"), "audio"),
        "left_out": read_table(project.out("clips", "left_out.csv"), "clips"),
    }


def _optional_tables(
    project: Project, params: Params, results: pd.DataFrame, reference: str, folds: list[str]
) -> dict[str, pd.DataFrame]:
    """Return the tables of ablations, generation and walks that are not empty."""
    models = list(results[["stage", "model"]].drop_duplicates().itertuples(index=False, name=None))
    optional = {
        "parts": ablation.tabulate_ablations(project, params, reference, folds),
        "generation": ablation.tabulate_generation(project, models, reference, folds, params.probe),
        "walks": walks.tabulate(project, reference, folds, params.probe),
    }
    return {name: table for name, table in optional.items() if len(table)}


def format_results(project: Project) -> str:
    """Return the table of results for a terminal, with the number of folds, clips and works."""
    path = project.out("report", "results.csv")
    table = read_table(path, "report")
    if "entry" not in table:
        raise UserError(f"{path} was written by an earlier version; run `dvc repro` to make it again")
    heading = f"{'model':<22}{'clips':>7}{'spread':>8}  {'':<14}{'movements':>10}  {'':<13}{'works':>8}  {'':<13}"
    lines = [f"{heading}{'macro-F1':>9}{'majority':>10}{'paper':>8}"]
    for row in table.to_dict("records"):
        clips, movements, works = (_interval(row, column) for column in tables.ACCURACIES.values())
        lines.append(
            f"{row['entry']:<22}{row['accuracy']:>7.1%}{_percent(row['spread']):>8}  {clips:<14}"
            f"{row['movement_accuracy']:>10.1%}  {movements:<13}{row['work_accuracy']:>8.1%}  {works:<13}"
            f"{row['macro_f1']:>9.2f}{row['majority']:>10.1%}{_percent(row['paper']):>8}"
        )
    best = table.iloc[0]
    lines.append(
        f"accuracy on clips, movements and works with its interval over works; mean of {best['folds']} "
        f"fold{'' if best['folds'] == 1 else 's'}, about {best['clips']} test clips of {best['movements']} movements "
        f"and {best['works']} works each; macro-F1, majority and paper of clips; ordered by validation accuracy"
    )
    return "\n".join(lines)


def format_comparison(
    project: Project,
    params: Params,
    model: str,
    split: str | None = None,
    table: Path | None = None,
    level: str = "clip",
) -> str:
    """Return one model compared with all others, for a terminal.

    Args:
        project: that holds the report.
        params: of the project.
        model: see `symphony2vec.report.counts.compare`.
        split: the kind of split; the first one by default.
        table: a table of counts; that of the report by default.
        level: clip, movement or work.

    Raises:
        UserError: see `symphony2vec.report.counts.compare`.
    """
    path = table or project.out("report", "counts.csv")
    return counts.compare(path, model, split or next(iter(splits.group_by_kind(params))), level, *_bootstrap(params))


def _interval(row: Mapping[Hashable, Any], column: str) -> str:
    return f"[{100.0 * row[f'{column}_low']:.1f}, {100.0 * row[f'{column}_high']:.1f}]"


def _percent(value: object) -> str:
    return f"{float(str(value)):.1%}" if str(value) not in ("", "nan") else ""
