"""Everything found, on one page that opens from disk; the tables also as CSV, the figures also as PNG.

Reads   out/audio, out/clips, out/features, out/embeddings, out/probe, params.yaml
Writes  out/report/index.html; results.csv, corpus.csv, balance.csv, splits.csv, rejected.csv, left_out.csv; PNGs
"""

from __future__ import annotations

import base64
import json
import shutil
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony2vec import __version__, tracking
from symphony2vec.artifacts import Project, read_table, whole_file, whole_folder, write_table
from symphony2vec.errors import UserError
from symphony2vec.params import Params

if TYPE_CHECKING:
    import pandas as pd

RESULT_COLUMNS = (
    "model stage accuracy accuracy_low accuracy_high macro_f1 macro_f1_low macro_f1_high validation_accuracy "
    "train_accuracy majority clips works strength"
).split()
REASONS_SHOWN = 50


def run(project: Project, params: Params) -> None:
    """The stage `report`."""
    from symphony2vec import figures

    scores = _scores(project)
    tables = {
        "results": results(scores),
        "corpus": corpus(read_table(project.movements, "audio"), read_table(project.clips, "clips")),
        "balance": read_table(project.out("clips", "balance.csv"), "clips"),
        "splits": read_table(project.out("clips", "splits.csv"), "clips"),
        "rejected": read_table(project.out("audio", "rejected.csv"), "audio"),
        "left_out": read_table(project.out("clips", "left_out.csv"), "clips"),
    }
    with whole_folder(project.out("report")) as folder:
        for name, table in tables.items():
            write_table(folder / f"{name}.csv", table)
        majority = float(tables["results"]["majority"].iloc[0])
        figures.save(folder / "results.png", figures.accuracies(tables["results"], majority))
        pictures = _pictures(project, scores, folder)
        page = _page(project, params, scores, tables, pictures)
        with whole_file(folder / "index.html") as partial:
            partial.write_text(page, encoding="utf-8")


def results(scores: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a model, the best on *validation* first: the test clips choose nothing, not even the order of a table."""
    import pandas as pd

    rows = [
        {
            "model": one["model"],
            "stage": one["stage"],
            "accuracy": one["test_accuracy"],
            "accuracy_low": one["test_accuracy_low"],
            "accuracy_high": one["test_accuracy_high"],
            "macro_f1": one["test_macro_f1"],
            "macro_f1_low": one["test_macro_f1_low"],
            "macro_f1_high": one["test_macro_f1_high"],
            "validation_accuracy": one["validation_accuracy"],
            "train_accuracy": one["train_accuracy"],
            "majority": one["majority_accuracy"],
            "clips": one["clips"]["test"],
            "works": one["test_works"],
            "strength": one["strength"],
        }
        for one in scores
    ]
    table = pd.DataFrame(rows, columns=RESULT_COLUMNS)
    return table.sort_values(["validation_accuracy", "model"], ascending=[False, True]).round(4)


def corpus(movements: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """One row a composer of the corpus: works, movements, minutes, clips, kinds and licences."""
    import pandas as pd

    rows = []
    for composer, own in movements.groupby("composer", sort=True):
        rows.append(
            {
                "composer": composer,
                "works": own["work"].nunique(),
                "movements": len(own),
                "minutes": round(float(own["duration_s"].sum()) / 60.0, 1),
                "clips": int((clips["composer"] == composer).sum()),
                "kind": ", ".join(sorted(own["kind"].unique())),
                "licence": "; ".join(sorted(own["licence"].unique())),
            }
        )
    return pd.DataFrame(rows)


def printed(project: Project) -> str:
    """The table of results for a terminal, with what the numbers rest on."""
    path = project.out("report", "results.csv")
    table = read_table(path, "report")
    lines = [f"{'model':<16}{'accuracy':>9}  {'interval':<16}{'macro-F1':>9}{'majority':>10}"]
    for row in table.to_dict("records"):
        interval = f"[{row['accuracy_low']:.1%}, {row['accuracy_high']:.1%}]"
        lines.append(
            f"{row['model']:<16}{row['accuracy']:>9.1%}  {interval:<16}{row['macro_f1']:>9.2f}{row['majority']:>10.1%}"
        )
    first = table.iloc[0]
    lines.append(f"test split: {first['clips']} clips of {first['works']} works; the best on validation stands first")
    return "\n".join(lines)


def _scores(project: Project) -> list[dict[str, Any]]:
    found = sorted(project.out("probe").glob("[!.]*/[!.]*/scores.json"))
    if not found:
        raise UserError(f"no scores below {project.out('probe')}; `dvc repro probe` writes them")
    return [json.loads(path.read_text(encoding="utf-8")) for path in found]


def _pictures(project: Project, scores: list[dict[str, Any]], folder: Path) -> dict[str, str]:
    """Copy every figure into the report's folder; returns them as data URIs by name."""
    wanted = {
        "audio": project.out("audio", "overview.png"),
        "balance": project.out("clips", "balance.png"),
        "split": project.out("clips", "split.png"),
        **{name: project.out("features", f"{name}.png") for name in ("chroma", "mfcc", "mel")},
    }
    for one in scores:
        wanted[f"scatter-{one['model']}"] = project.out(one["stage"], one["model"], "scatter.png")
        wanted[f"confusion-{one['model']}"] = project.out("probe", one["stage"], one["model"], "confusion.png")
    for name, path in wanted.items():
        if path.is_file():
            shutil.copyfile(path, folder / f"{name}.png")
    return {
        path.stem: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
        for path in sorted(folder.glob("*.png"))
    }


def _page(
    project: Project,
    params: Params,
    scores: list[dict[str, Any]],
    tables: dict[str, pd.DataFrame],
    pictures: dict[str, str],
) -> str:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda share: f"{float(share):.1%}"
    template = resources.files("symphony2vec").joinpath("report.html").read_text(encoding="utf-8")
    best = tables["results"].iloc[0].to_dict()
    by_movement = tables["splits"].loc[tables["splits"]["split_by"] == "movement", "composer"].tolist()
    return environment.from_string(template).render(
        params=params,
        settings=project.params.read_text(encoding="utf-8"),
        tables={name: table.to_dict("records") for name, table in tables.items()},
        pictures=pictures,
        models=list(tables["results"]["model"]),
        unconverged=[one["model"] for one in scores if not one["converged"]],
        best=best,
        confidence=scores[0]["confidence"],
        majority_composer=scores[0]["majority_composer"],
        few_works=scores[0]["few_test_works"],
        by_movement=by_movement if params.clips.split_by == "work" else [],
        commit=tracking.commit(project),
        version=__version__,
        reasons_shown=REASONS_SHOWN,
    )
