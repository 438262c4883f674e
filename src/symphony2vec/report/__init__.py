"""Everything found, on one page that opens from disk; the tables also as CSV, the figures as PNG, the sounds as MP3.

Reads   out/audio, out/clips, out/features, out/classifiers, out/embeddings, out/ali, out/probe, params.yaml;
        out/meaning where it is
Writes  out/report/index.html; results.csv, pairs.csv, leak.csv, claims.csv, corpus.csv, balance.csv, splits.csv,
        rejected.csv, left_out.csv, knowledge.csv, retrieval.csv; pictures/*.png, sounds/*.mp3
"""

from __future__ import annotations

from symphony2vec import clips
from symphony2vec.artifacts import Project, read_table, whole_file, whole_folder, write_table
from symphony2vec.params import Params
from symphony2vec.report import tables


def run(project: Project, params: Params) -> None:
    """The stage `report`."""
    from symphony2vec.report import page, pictures

    drawn = list(clips.draws(params))
    kinds = {str(kind): [draw.name for draw in drawn if draw.split == kind] for kind in params.clips.splits}
    first = kinds[params.clips.splits[0]]
    found = tables.rows(project, first)
    bootstrap = (params.probe.bootstrap_draws, params.probe.confidence, params.probe.seed)
    results, pairs = tables.results(found, *bootstrap)
    ali = sorted({row.model for row in found if row.stage == "ali"})
    told = {
        "results": results,
        "pairs": pairs,
        "leak": tables.leak(project, kinds, *bootstrap),
        "claims": tables.claims(project, ali, first),
        "corpus": tables.corpus(read_table(project.movements, "audio"), read_table(project.clips, "clips")),
        "balance": read_table(project.out("clips", "balance.csv"), "clips"),
        "splits": read_table(project.out("clips", "splits.csv"), "clips"),
        "rejected": read_table(project.out("audio", "rejected.csv"), "audio"),
        "left_out": read_table(project.out("clips", "left_out.csv"), "clips"),
        **tables.meaning(project),
    }
    with whole_folder(project.out("report")) as folder:
        for name, table in told.items():
            write_table(folder / f"{name}.csv", table)
        shown = pictures.gather(project, results, first[0], folder / "pictures")
        pictures.draw(told, folder / "pictures")
        pictures.compare(project, ali, first[0], folder / "pictures")
        pictures.sound(project, params, ali, first[0], folder / "sounds")
        text = page.render(project, params, found, told, shown, folder)
        with whole_file(folder / "index.html") as partial:
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
        f"mean of {first['draws']} drawn split{'' if first['draws'] == 1 else 's'}, about {first['clips']} test clips "
        f"of {first['works']} works each; the best on validation stands first"
    )
    return "\n".join(lines)


def _share(value: object) -> str:
    """A share in percent; nothing where there is none."""
    return f"{float(str(value)):.1%}" if str(value) not in ("", "nan") else ""
