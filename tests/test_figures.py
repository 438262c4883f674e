"""Figures: what is drawn, for one row and for many, the same bytes each time, and nothing left in pyplot."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from symphony2vec import figures
from symphony2vec.figures import canvas, curves, results, spectrograms, studies

FRAME_S = 512 / 22050
LIMITS = (-80.0, 0.0)
COMPOSERS = ["Bach", "Beethoven", "Brahms", "Haydn", "Mozart", "Tchaikovsky"]


def mel(count: int, bins: int = 32, frames: int = 32) -> np.ndarray:
    return np.random.default_rng(0).uniform(-80.0, 0.0, (count, bins, frames)).astype(np.float32)


def clips(count: int) -> pd.DataFrame:
    rows = range(count)
    return pd.DataFrame(
        {
            "composer": [COMPOSERS[row % 6] for row in rows],
            "split": [("train", "validation", "test")[row % 3] for row in rows],
            "group": [row // 2 for row in rows],
            "file": [f"{row}.flac" for row in rows],
            "duration_s": 100.0,
            "loudness_lufs": [-20.0 - row for row in rows],
        }
    )


KEYS = [f"{tonic} {mode}" for mode in ("major", "minor") for tonic in "CDEFGAB"]
FAMILIES = ("strings", "brass", "voices")


def labelled(count: int) -> pd.DataFrame:
    """Clips of which every fourth has no score."""
    rng, known = np.random.default_rng(0), np.arange(count) % 4 < 3
    measured = {name: rng.uniform(0.0, 9.0, count) for name in ("loudness_db", "centroid_hz")}
    scores = {name: np.where(known, rng.uniform(0.0, 1.0, count), np.nan) for name in ("notes_per_s", *FAMILIES)}
    keys = [KEYS[row % len(KEYS)] if known[row] else "" for row in range(count)]
    instruments = pd.array([row if known[row] else None for row in range(count)], dtype="Int64")
    modes = {"key": keys, "mode": [key.partition(" ")[2] for key in keys], "instruments": instruments}
    return pd.DataFrame({"composer": [f"composer {row}" for row in range(count)], **measured, **scores, **modes})


def curve(count: int) -> pd.DataFrame:
    folds = np.random.default_rng(0).uniform(0.1, 0.9, (count, 5))
    names = ["train_loss", "validation_loss", "train_kl", "mean_output_real", "mean_output_generated"]
    table = pd.DataFrame(folds, columns=names).assign(epoch=range(1, count + 1), update=range(10, 10 * count + 1, 10))
    return table.assign(discriminator_loss=table["train_loss"], generator_loss=table["validation_loss"])


def several_runs(count: int) -> dict[str, pd.DataFrame]:
    return {f"run {row}": curve(3) for row in range(count)}


def accuracies(count: int) -> pd.DataFrame:
    mean = np.linspace(0.3, 0.6, count)
    stages = ["classifiers" if row < count / 2 else "embeddings" for row in range(count)]
    models = [f"model-{row}-mel" for row in range(count)]
    spread = [0.02 if row % 2 else np.nan for row in range(count)]
    paper = [0.35 if row % 3 else np.nan for row in range(count)]
    return pd.DataFrame(
        {"stage": stages, "model": models, "mean": mean, "low": mean - 0.1, "high": mean + 0.1, "spread": spread}
    ).assign(paper=paper)


def grouped(count: int) -> pd.DataFrame:
    """Rows under two headings, of which the first counts."""
    table = accuracies(count)[["stage", "model", "mean", "low", "high"]]
    return table.rename(columns={"stage": "group", "model": "label"}).assign(own=[row == 0 for row in range(count)])


def leaks(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"model": f"model-{row}", "split": split, "mean": mean, "low": mean - 0.05, "high": mean + 0.05}
            for row in range(count)
            for split, mean in (("work", 0.4), ("movement", 0.5), ("clip", 0.8))
        ]
    )


def differences(count: int) -> Figure:
    level = np.random.default_rng(0).normal(0.0, 10.0, count)
    gaps = level[:, None] - level
    return figures.pairs_matrix([f"model-{row}" for row in range(count)], gaps, gaps - 8.0, gaps + 8.0)


def scored(count: int) -> pd.DataFrame:
    table = accuracies(count)
    return table.rename(columns={"mean": "accuracy", "low": "accuracy_low", "high": "accuracy_high"})


SPACE = ("learning_rate", "dropout", "latent")


def searched(count: int) -> pd.DataFrame:
    """Trials of which every third but the first is pruned."""
    rng, rows = np.random.default_rng(0), range(count)
    states = ["pruned" if row % 3 == 2 else "complete" for row in rows]
    drawn = {"learning_rate": 10.0 ** rng.uniform(-5.0, -3.0, count), "dropout": rng.uniform(0.0, 0.5, count)}
    latent = [[64, 128, 256][row % 3] for row in rows]
    return pd.DataFrame(
        {"trial": rows, "state": states, "value": rng.uniform(0.2, 0.5, count), **drawn, "latent": latent}
    )


def shares(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        1.0 / 3, index=["train", "validation", "test"], columns=[f"composer {row}" for row in range(count)]
    )


def crossing(folds: int) -> pd.DataFrame:
    """Shares of near-duplicate clips of as many folds, between every two splits."""
    between = [("validation", "train"), ("test", "train"), ("test", "validation")]
    rows = [(f"work-{fold}", *sides, 0.01 * fold) for fold in range(folds) for sides in between]
    return pd.DataFrame(rows, columns=["fold", "split", "other_split", "share"])


FIGURES: dict[str, Callable[[int], Figure]] = {
    "audio_overview": lambda n: figures.audio_overview(clips(n)),
    "class_balance": lambda n: figures.class_balance(shares(n)),
    "labels_overview": lambda n: figures.labels_overview(labelled(n), KEYS, FAMILIES),
    "split_map": lambda n: figures.split_map(clips(n)),
    "examples": lambda n: figures.examples(
        {f"name {row}": array for row, array in enumerate(mel(n))}, "Mel", "dB", "mel band", FRAME_S, LIMITS
    ),
    "pairs": lambda n: figures.pairs(mel(n), mel(n), [f"{row}" for row in range(n)], "VAE", "dB", FRAME_S, LIMITS),
    "grid": lambda n: figures.grid(mel(n), [f"{row}" for row in range(n)], "A walk", "dB", FRAME_S, LIMITS),
    "losses": lambda n: figures.losses(curve(n), ["train_loss", "validation_loss"], "VAE"),
    "game": lambda n: figures.game(curve(n), "ALI"),
    "learning_curves": lambda n: figures.learning_curves(
        {f"run {row}": curve(3) for row in range(n)}, "train_loss", "ALI"
    ),
    "scatter": lambda n: figures.scatter(np.eye(n, 2), [COMPOSERS[row % 6] for row in range(n)], "PCA", [0.3, 0.1]),
    "confusion": lambda n: figures.confusion(np.eye(n, dtype=int), [f"c{row}" for row in range(n)], "PCA"),
    "accuracies": lambda n: figures.accuracies(scored(n), 0.3),
    "correlation": lambda n: figures.correlation(np.arange(n), np.arange(n), "ALI", "loudness (LUFS)", 0.5, 0.4, 0.6),
    "table": lambda n: figures.table(accuracies(n), 0.3),
    "comparison": lambda n: figures.comparison(grouped(n), 0.3),
    "profile": lambda n: figures.profile(grouped(n).assign(baseline=0.1, value=0.4, model="PCA"), "Linear probes"),
    "attributes": lambda n: figures.attributes(
        np.array([0.0, 10.0, 20.0]),
        np.array([10.0, 20.0, 27.5]),
        [
            *((f"a{row}", np.full((3, 1), 0.5), 0.0, 1.0) for row in range(n)),
            ("pitch", np.full((3, 12), 0.1), 0.0, 1.0),
        ],
        [f"pitch {number}" for number in range(12)],
        "a.flac, by base",
    ),
    "timeline": lambda n: figures.timeline(told(n), [f"c{row}" for row in range(n)], "a.flac, by PCA"),
    "leakage": lambda n: figures.leakage(leaks(n)),
    "levels": lambda n: figures.levels(leaks(n).rename(columns={"split": "level"})),
    "near_duplicates": lambda n: figures.near_duplicates(crossing(n)),
    "pairs_matrix": differences,
    "history": lambda n: figures.history(searched(n), "Study"),
    "importances": lambda n: figures.importances({f"parameter {row}": row / n for row in range(n)}, "Study"),
    "slices": lambda n: figures.slices(searched(n), SPACE, SPACE[:1], "Study"),
    "parallel": lambda n: figures.parallel(searched(n), SPACE, SPACE[:1], "Study"),
}


def told(composers: int) -> pd.DataFrame:
    """Three passages of ten seconds, each composer as likely as the others."""
    table = pd.DataFrame(1.0 / composers, index=range(3), columns=[f"c{row}" for row in range(composers)])
    return table.assign(start_s=[0.0, 10.0, 20.0], end_s=[10.0, 20.0, 27.5])


def words(figure: Figure) -> set[str]:
    """Every text of a figure."""
    return {text.get_text() for text in figure.findobj(matplotlib.text.Text)}


def test_every_figure_is_tested():
    drawing = {name for name in figures.__all__ if name not in ("save", "image")}
    assert drawing == set(FIGURES)
    assert all(getattr(figures, name).__doc__ for name in figures.__all__)


def test_every_public_function_is_within_reach_of_the_package():
    for module in (results, spectrograms, curves, studies, figures.corpus, figures.labels):
        own = {
            name
            for name, function in inspect.getmembers(module, inspect.isfunction)
            if function.__module__ == module.__name__ and not name.startswith("_")
        }
        assert own <= set(figures.__all__)


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_with_one_row_and_with_several_and_leaves_pyplot_alone(name, count, tmp_path):
    from matplotlib import pyplot

    settings = dict(matplotlib.rcParams)
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    figures.save(first, FIGURES[name](count))
    figures.save(second, FIGURES[name](count))
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(b"\x89PNG")
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == settings


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(FIGURES) - {"examples", "pairs", "grid"}))
def test_a_figure_is_drawn_with_forty_rows(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what does not fit, matplotlib says
        figures.save(tmp_path / "figure.png", FIGURES[name](40))
    assert (tmp_path / "figure.png").stat().st_size > 1000


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_title_and_every_axis_a_name(name):
    figure = FIGURES[name](5)
    assert figure.get_suptitle() or any(axes.get_title() for axes in figure.axes)
    named = [axes for axes in figure.axes if axes.get_xlabel() or axes.get_ylabel()]
    assert named or name == "pairs_matrix"


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 12, 40])
@pytest.mark.parametrize(
    "name",
    ["table", "timeline", "leakage", "levels", "game", "losses", "learning_curves", "pairs_matrix", "correlation",
     "history", "importances", "slices", "parallel"],
)  # fmt: skip
def test_no_title_tick_or_legend_leaves_the_figure(name, count):
    figure = FIGURES[name](count)
    figure.draw_without_rendering()
    within = figure.bbox.padded(1.0)
    for part in (*figure.axes, *figure.legends):
        box = part.get_tightbbox()
        assert box is not None
        assert within.containsx(box.x0)
        assert within.containsx(box.x1)
        assert within.containsy(box.y0)
        assert within.containsy(box.y1)


def test_the_best_so_far_is_of_complete_trials_and_never_falls():
    table = searched(30).assign(value=lambda table: table["value"] + (table["state"] == "pruned"))
    (line,) = figures.history(table, "Study").axes[0].lines
    best = line.get_ydata()
    assert best[-1] == table.loc[table["state"] == "complete", "value"].max() < table["value"].max()
    assert (np.diff(best) >= 0).all()


def test_slices_have_a_place_for_a_choice_of_nothing():
    """0 has none on a logarithmic scale."""
    table = searched(12).assign(latent=[[0, 4, 8, 16][row % 4] for row in range(12)])
    places = figures.slices(table, SPACE, SPACE[:1], "Study").axes[2]
    low, high = places.get_xlim()
    assert low < 0 < high
    assert [text.get_text() for text in places.get_xticklabels()] == ["0", "4", "8", "16"]


def test_parallel_lines_join_what_each_complete_trial_had_drawn():
    table = searched(9)
    lines = [
        line for line in figures.parallel(table, SPACE, SPACE[:1], "Study").axes[0].lines if len(line.get_ydata()) == 3
    ]
    complete = table[table["state"] == "complete"].sort_values("value")
    assert len(lines) == len(complete)
    heights = np.array([line.get_ydata() for line in lines])
    rates = np.log(complete["learning_rate"].to_numpy())
    np.testing.assert_allclose(heights[:, 0], (rates - rates.min()) / np.ptp(rates))
    assert set(heights[complete["latent"] == 128, 2]) <= {1.0, 0.5}


def test_pairs_stand_above_each_other_on_one_scale():
    figure = figures.pairs(mel(3), mel(3) / 2, list("abc"), "VAE", "dB", FRAME_S, LIMITS, ("original", "generated"))
    images = [axes.images[0] for axes in figure.axes[:6]]
    assert len(figure.axes) == 7
    assert {image.get_clim() for image in images} == {LIMITS}
    np.testing.assert_array_equal(images[4].get_array(), mel(3)[1] / 2)
    assert images[0].get_extent()[1] == pytest.approx(32 * FRAME_S)
    assert {"a", "b", "c", "original\nbin", "generated\nbin", "dB", "s", "VAE"} <= words(figure)


def test_pairs_of_unequal_number_are_refused():
    with pytest.raises(ValueError):
        figures.pairs(mel(3), mel(2), list("abc"), "VAE", "dB", FRAME_S, LIMITS)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (3, 3), (4, 2), (8, 4), (9, 5), (11, 4), (16, 6)])
def test_a_grid_has_a_title_a_panel_and_names_its_lowest_panels(count, columns):
    titles = [f"{value:.2f}" for value in np.linspace(0.0, 1.0, count)]
    figure = figures.grid(mel(count), titles, "A walk", "dB", FRAME_S, LIMITS)
    panels = [axes for axes in figure.axes[:-1] if axes.axison]
    assert [axes.get_title() for axes in panels] == titles
    assert [bool(axes.get_xlabel()) for axes in panels] == [place >= count - columns for place in range(count)]


def test_an_image_holds_low_bins_at_the_bottom_and_white_gaps():
    ramp = np.tile(np.linspace(0.0, 1.0, 32)[:, None], (3, 1, 32))
    picture = figures.image(ramp)
    assert picture.dtype == np.uint8
    assert picture.shape == (128, 3 * 128 + 2 * spectrograms.GAP_PIXELS, 3)
    assert picture[0, 0].sum() > picture[-1, 0].sum()
    assert (picture[:, 128:130] == spectrograms.WHITE).all()
    assert picture[-1, 0].tolist() == [0, 0, 3]


@pytest.mark.parametrize(("shape", "height"), [((1, 32, 32), 128), ((1, 64, 431), 64), ((1, 12, 16), 96)])
def test_an_image_enlarges_small_spectrograms_by_a_whole_factor(shape, height):
    picture = figures.image(np.zeros(shape))
    assert picture.shape == (height, height * shape[2] // shape[1], 3)


def test_an_image_takes_values_beyond_its_range_for_the_ends():
    inside, beyond = figures.image(np.array([[[0.0, 1.0]]])), figures.image(np.array([[[-3.0, 7.0]]]))
    np.testing.assert_array_equal(inside, beyond)


def test_losses_draw_training_solid_and_validation_dashed_in_one_colour():
    figure = figures.losses(curve(9), ["train_loss", "validation_loss", "train_kl"], "VAE")
    training, validation, other = figure.axes[0].lines
    assert [line.get_linestyle() for line in (training, validation, other)] == ["-", "--", "-"]
    assert training.get_color() == validation.get_color() != other.get_color()
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "train loss",
        "validation loss",
        "train kl",
    ]


def test_losses_average_an_epoch_and_bridge_gaps():
    table = pd.DataFrame({"epoch": [1, 1, 2, 3], "update": [1, 2, 3, 4], "loss": [1.0, 3.0, np.nan, 5.0]})
    (line,) = figures.losses(table, ["loss"], "VAE").axes[0].lines
    assert line.get_xydata().tolist() == [[1.0, 2.0], [3.0, 5.0]]
    (line,) = figures.losses(table, ["loss"], "VAE", by="update").axes[0].lines
    assert line.get_xydata().tolist() == [[1.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


def test_a_game_shows_both_equilibria():
    left, right = figures.game(curve(40), "ALI").axes
    assert left.lines[0].get_ydata()[0] == pytest.approx(2 * np.log(2))
    assert right.lines[0].get_ydata()[0] == 0.5
    assert [line.get_linestyle() for line in (left.lines[0], right.lines[0])] == [":", ":"]
    named = [text.get_text() for text in left.get_legend().get_texts()]
    assert named == ["equilibrium, 2 ln 2", "discriminator loss", "generator loss"]
    assert len(right.lines) == 3


def test_losses_that_hardly_move_are_drawn_flat_and_others_as_they_are():
    still = curve(40).assign(discriminator_loss=2 * np.log(2) + 1e-4, generator_loss=2 * np.log(2))
    low, high = figures.game(still, "ALI").axes[0].get_ylim()
    assert high - low == pytest.approx(0.1)
    assert (low + high) / 2 == pytest.approx(2 * np.log(2), abs=1e-3)
    moving = curve(40).assign(discriminator_loss=np.linspace(0.5, 1.5, 40), generator_loss=np.linspace(2.5, 1.0, 40))
    low, high = figures.game(moving, "ALI").axes[0].get_ylim()
    assert (low, high) == pytest.approx((0.4, 2.6), abs=0.01)


def test_runs_that_coincide_differ_in_their_dashes():
    first, second = figures.learning_curves({"one": curve(3), "two": curve(3)}, "train_loss", "ALI").axes[0].lines
    assert first.get_linestyle() != second.get_linestyle()


def test_a_long_game_is_drawn_smooth_with_its_values_pale_behind():
    left, _ = figures.game(curve(2000), "ALI").axes
    assert len(left.lines) == 5
    pale, smooth = left.lines[1:3]
    assert pale.get_alpha() < 1.0
    assert np.std(smooth.get_ydata()) < 0.5 * np.std(pale.get_ydata())
    assert np.mean(smooth.get_ydata()) == pytest.approx(np.mean(pale.get_ydata()), abs=0.01)


@pytest.mark.parametrize(
    ("updates", "scale"),
    [([10, 100, 200], "linear"), ([10, 100, 201], "log"), ([0, 10, 300], "symlog"), ([5], "linear")],
)
def test_runs_are_compared_on_a_logarithmic_scale_where_they_are_long(updates, scale):
    run = pd.DataFrame({"update": updates, "probe_accuracy": 0.4})
    figure = figures.learning_curves({"one": run, "two": run[:1]}, "probe_accuracy", "ALI")
    axes = figure.axes[0]
    assert axes.get_xscale() == scale
    assert axes.get_ylabel() == "probe accuracy"
    assert [line.get_label() for line in axes.lines] == ["one", "two"]


def test_runs_beyond_the_colours_differ_in_style():
    count = len(canvas.COLOURS) + 3
    lines = figures.learning_curves(several_runs(count), "train_loss", "ALI").axes[0].lines
    assert len({(to_hex(line.get_color()), line.get_linestyle()) for line in lines}) == count


def test_a_correlation_names_its_interval_and_unit():
    axes = figures.correlation(np.arange(9), np.arange(9), "ALI", "loudness (LUFS)", -0.5, -0.61, -0.4).axes[0]
    assert axes.get_title() == "ALI\nρ = -0.50, from -0.61 to -0.40"
    assert axes.get_ylabel() == "loudness (LUFS)"
    assert len(axes.collections[0].get_offsets()) == 9


def test_a_table_names_stages_and_models_and_draws_only_what_is_known():
    figure = figures.table(accuracies(6), 0.31, "the paper, five composers")
    axes = figure.axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["classifiers", *(f"model-{row}-mel" for row in range(3)), "embeddings"] + [
        f"model-{row}-mel" for row in range(3, 6)
    ]
    bold = [text.get_text() for text in axes.get_yticklabels() if text.get_fontweight() == "bold"]
    assert bold == ["classifiers", "embeddings"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "majority class",
        "interval over works",
        "mean",
        "spread over folds",
        "the paper, five composers",
    ]
    diamonds = [line for line in axes.lines if line.get_marker() == "D"]
    assert sum(len(line.get_xdata()) for line in diamonds) == 4


def test_a_table_without_seeds_or_paper_does_not_speak_of_them():
    figure = figures.table(accuracies(3).assign(spread=np.nan, paper=np.nan), 0.31)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "majority class",
        "interval over works",
        "mean",
    ]


def test_a_table_grows_with_its_rows():
    few, many = (figures.table(accuracies(count), 0.3) for count in (4, 40))
    assert many.get_figheight() > few.get_figheight() + 36 * 0.25


def test_a_leak_joins_three_splits_a_model():
    figure = figures.leakage(leaks(4))
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [f"model-{row}" for row in range(4)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["by work", "by movement", "by clip"]
    joined = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert [list(line.get_xdata()) for line in joined] == [[0.4, 0.5, 0.8]] * 4


def test_a_matrix_is_pale_where_the_interval_holds_zero():
    gaps = np.array([[0.0, 12.0, 3.0], [-12.0, 0.0, -9.0], [-3.0, 9.0, 0.0]])
    figure = figures.pairs_matrix(["a", "b", "c"], gaps, gaps - 5.0, gaps + 5.0)
    (image,) = figure.axes[0].images
    sure = np.array([[1.0, 1.0, results.PALE], [1.0, 1.0, 1.0], [results.PALE, 1.0, 1.0]])
    np.testing.assert_array_equal(image.get_alpha(), sure)
    assert image.get_clim() == (-12.0, 12.0)
    assert {text.get_text() for text in figure.axes[0].texts} == {"+12", "+3", "-12", "-9", "-3", "+9"}


@pytest.mark.parametrize(("count", "written"), [(15, 15 * 14), (16, 0)])
def test_a_large_matrix_has_no_numbers(count, written):
    assert len(differences(count).axes[0].texts) == written


def test_colours_are_all_different_and_splits_use_them():
    assert len(set(canvas.COLOURS)) == len(canvas.COLOURS)
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in canvas.COLOURS)
    assert {style.colour for style in results.STYLES.values()} <= set(canvas.COLOURS)


def test_a_figure_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"before")

    def fails(self, *arguments, **options):
        raise RuntimeError("interrupted")

    monkeypatch.setattr(Figure, "savefig", fails)
    with pytest.raises(RuntimeError, match="interrupted"):
        figures.save(path, FIGURES["leakage"](1))
    assert path.read_bytes() == b"before"
