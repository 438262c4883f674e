"""Everything found, on one page that opens from disk; the tables also as CSV, the figures as PNG, the sounds as MP3.

Reads   out/audio, out/clips, out/features, out/classifiers, out/embeddings, out/ali, out/probe, params.yaml;
        out/temporal and out/meaning where they are
Writes  out/report/index.html; first.csv, results.csv, pairs.csv, counts.csv, leak.csv, claims.csv, corpus.csv,
        balance.csv, splits.csv, rejected.csv, left_out.csv; near_duplicates.csv, near_duplicate_counts.csv, parts.csv,
        generation.csv, walks.csv, knowledge.csv, retrieval.csv, where there is something to tell; pictures/*.png,
        sounds/*.mp3

    first       the temporal model beside everything else
    tables      every model, and what the stages wrote
    comparison  accuracies with intervals over works
    counts      clips of each work that every row names rightly, and one row against every other
    worth       what the parts of the temporal model are worth, and how well models generate
    walks       through the codes of the temporal model
    pictures    pictures and sounds
    page        the page
"""

from __future__ import annotations

from pathlib import Path

from symphony2vec.clips import leaks, splits
from symphony2vec.params import Params
from symphony2vec.project import Project, atomic_file, atomic_folder, read_table, write_table
from symphony2vec.report import counts, first, page, pictures, tables, walks, worth


def run(project: Project, params: Params) -> None:
    """The stage `report`."""

    drawn = splits.list_folds(params)
    kinds = {str(kind): [fold.name for fold in drawn if fold.split == kind] for kind in params.clips.splits}
    folds = kinds[params.clips.splits[0]]
    on = {kind: tables.rows(project, names) for kind, names in kinds.items()}
    found = on[params.clips.splits[0]]
    bootstrap = (params.probe.bootstrap_resamples, params.probe.confidence, params.probe.seed)
    results, pairs = tables.results(found, *bootstrap)
    ali = sorted({row.model for row in found if row.stage == "ali"})
    against = first.reference(results, params.embeddings.dimensions)
    models = list(results[["stage", "model"]].drop_duplicates().itertuples(index=False, name=None))
    told = {
        "first": first.table(results, pairs, first.sizes(project, results, folds[0]), params),
        "results": results,
        "pairs": pairs,
        "counts": counts.table((names, on[kind]) for kind, names in kinds.items()),
        "leak": tables.leak(on, *bootstrap),
        "claims": tables.claims(project, ali, folds),
        "corpus": tables.corpus(read_table(project.movements, "audio"), read_table(project.clips, "clips")),
        "balance": read_table(project.out("clips", "balance.csv"), "clips"),
        "splits": read_table(project.out("clips", "splits.csv"), "clips"),
        "rejected": read_table(project.out("audio", "rejected.csv"), "audio"),
        "left_out": read_table(project.out("clips", "left_out.csv"), "clips"),
        **tables.meaning(project),
        **leaks.build_tables(project, drawn),
    }
    more = {
        "parts": worth.parts(project, params, against, folds),
        "generation": worth.generation(project, models, against, folds, params.probe),
        "walks": walks.table(project, against, folds, params.probe),
    }
    told |= {name: table for name, table in more.items() if len(table)}
    with atomic_folder(project.out("report")) as folder:
        for name, table in told.items():
            write_table(folder / f"{name}.csv", table)
        shown = pictures.gather(project, results, folds[0], folder / "pictures")
        pictures.draw_first(told, against, folder / "pictures")
        pictures.draw(told, folder / "pictures")
        pictures.compare(project, ali, folds[0], folder / "pictures")
        pictures.sound(project, params, ali, against, folds[0], folder / "sounds")
        walked = walks.gather(project, against, folds[0], folder / "pictures")
        heard = walks.sound(project, params, against, folds[0], folder / "sounds")
        text = page.render(project, params, found, told, shown, page.Whole(against, walked, heard), folder)
        with atomic_file(folder / "index.html") as partial:
            partial.write_text(text, encoding="utf-8")


def printed(project: Project) -> str:
    """The table of results for a terminal, with what the numbers rest on."""
    table = read_table(project.out("report", "results.csv"), "report")
    lines = [f"{'model':<22}{'accuracy':>9}{'spread':>8}  {'interval':<16}{'macro-F1':>9}{'majority':>10}{'paper':>9}"]
    for row in table.to_dict("records"):
        interval = f"[{row['accuracy_low']:.1%}, {row['accuracy_high']:.1%}]"
        lines.append(
            f"{row['row']:<22}{row['accuracy']:>9.1%}{_share(row['spread']):>8}  {interval:<16}{row['macro_f1']:>9.2f}"
            f"{row['majority']:>10.1%}{_share(row['paper']):>9}"
        )
    first = table.iloc[0]
    lines.append(
        f"mean of {first['folds']} fold{'' if first['folds'] == 1 else 's'}, about {first['clips']} test clips "
        f"of {first['works']} works each; the best on validation stands first"
    )
    return "\n".join(lines)


def compared(project: Project, params: Params, row: str, split: str | None = None, table: Path | None = None) -> str:
    """A row beside every other for a terminal: of the report, or of another table of counts.

    Raises:
        UserError: see `symphony2vec.report.counts.against`.
    """
    path = table or project.out("report", "counts.csv")
    own = params.probe
    return counts.against(path, row, split or params.clips.splits[0], own.bootstrap_resamples, own.confidence, own.seed)


def _share(value: object) -> str:
    """A share in percent; nothing where there is none."""
    return f"{float(str(value)):.1%}" if str(value) not in ("", "nan") else ""
