"""What a choice that the paper leaves open changes: rows of the study made in another way, against those as shipped.

Each alternative trains its rows on the same drawn splits, with the same seeds, with parameters or a function replaced,
in a folder of its own; what is done is kept (so remove the folder of an alternative whose function was edited), what
was stopped goes on. How many clips of each work they name rightly is added to a table of counts, and `--table` tells
from that table and the study's own, by the same paired bootstrap over works as the report, how far the alternatives
lie above. It needs a project of five drawn splits that `dvc repro` has been through as far as the stage `features`
(for `probe`, all rows that it probes again).
`python benchmarks/departures.py --help` lists the alternatives.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from symphony2vec.artifacts import Draw, Project, read_array, read_table, write_array, write_table
from symphony2vec.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from symphony2vec.params import Params

KEYS = ["alternative", "stage", "model", "reading", "draw"]
Replaced = Callable[[], Sequence[tuple[Any, str, Any]]]


@dataclass(frozen=True)
class Alternative:
    """Rows of the study, made in another way.

    says: the way, in words; rows: as "embeddings/pca-mel"; params: what to write into params.yaml, by dotted key;
    replaced: owner, name and replacement of what cannot be said there; features: changes the arrays of the clips in a
    folder of its own; sound: the music is made again and cut into clips again, works stay on their sides; draws: of how
    many splits;
    probe: the rows are not made again, their vectors are probed again.
    """

    says: str
    rows: tuple[str, ...]
    params: dict[str, Any] = field(default_factory=dict)
    replaced: Replaced = tuple
    features: Callable[[Project, Path], None] | None = None
    sound: bool = False
    draws: int = 5
    probe: bool = False


def one_scale() -> Sequence[tuple[Any, str, Any]]:
    """One mean and one deviation for all bands."""
    import numpy as np

    from symphony2vec import scaling

    def standard(array: np.ndarray, rows: np.ndarray) -> scaling.Scaling:
        mean, deviation = scaling.moments(array, rows)
        whole = np.sqrt((deviation.astype(np.float64) ** 2 + (mean - mean.mean()) ** 2).mean())
        return scaling.Scaling(np.full_like(mean, mean.mean()), np.full_like(deviation, whole))

    return [(scaling, "standard", standard)]


def normed_before_relu() -> Sequence[tuple[Any, str, Any]]:
    """Batch norm between the linear layer and the ReLU."""
    from torch import nn

    from symphony2vec.classifiers import networks

    plain = networks.feed_forward

    def feed_forward(shape: tuple[int, int], composers: int) -> nn.Sequential:
        layers = list(plain(shape, composers))
        for place in range(2, len(layers), 3):
            layers[place], layers[place + 1] = layers[place + 1], layers[place]
        return nn.Sequential(*layers)

    return [(networks, "feed_forward", feed_forward)]


def summed() -> Sequence[tuple[Any, str, Any]]:
    """The squared error summed over a clip's values."""
    from symphony2vec.embeddings import losses

    return [(losses, "mean_squared_error", losses.reconstruction)]


def last_layer() -> Sequence[tuple[Any, str, Any]]:
    """The Jacobian of the last layer alone, which is linear: the squared norm of its weights."""
    from symphony2vec.embeddings import losses

    return [(losses, "contractive", lambda encoder, _x, _generator: encoder[-1].weight.square().sum())]


def averaged_bound() -> Sequence[tuple[Any, str, Any]]:
    """The squared error averaged over a clip's values, not halved, beside a divergence summed over the code."""
    from symphony2vec.embeddings import losses

    def loss(x: Any, x_hat: Any, mean: Any, log_variance: Any) -> Any:
        return losses.mean_squared_error(x, x_hat) + losses.kl(mean, log_variance)

    return [(losses, "elbo_loss", loss)]


def saturating() -> Sequence[tuple[Any, str, Any]]:
    """The game as the paper prints it: encoder and generator raise the very loss that the discriminator lowers.

    The curve of the validation loss stays that of the shipped game.
    """
    from symphony2vec.ali import losses

    def loss(logit_q: Any, logit_p: Any) -> Any:
        return -losses.discriminator_loss(logit_q, logit_p)

    return [(losses, "generator_loss", loss), (losses.Game, "step", losses.Game.plain_step)]


def torch_start() -> Sequence[tuple[Any, str, Any]]:
    """Weights and biases as torch starts them."""
    import torch
    from torch import nn

    from symphony2vec.ali import learner

    def initialise(network: nn.Module, generator: torch.Generator) -> None:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for part in network.modules():
                if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
                    part.reset_parameters()

    return [(learner, "initialise", initialise)]


def no_bias() -> Sequence[tuple[Any, str, Any]]:
    """The generator's output bias starts at 0, a grey picture."""
    from symphony2vec.ali.networks import Generator

    return [(Generator, "set_bias", lambda _self, _mean_image: None)]


def raw_levels(project: Project, folder: Path) -> None:
    """MFCC of the music without the gain that brings it to one level: the first coefficient moves with it."""
    import numpy as np

    from symphony2vec.features import MFCC_MEL_BANDS

    gain_db = read_table(project.movements, "audio").set_index("file")["gain_db"]
    clips = read_table(project.clips, "clips")
    array = np.array(read_array(project.feature("mfcc"), "features"))
    array[:, 0] -= np.sqrt(MFCC_MEL_BANDS) * gain_db.loc[clips["file"]].to_numpy(np.float32)[:, None]
    write_array(folder / "mfcc.npy", array)


def of_64_bands(project: Project, folder: Path) -> None:
    """MFCC of as many mel bands as the mel spectrogram has, in dB as the shipped ones."""
    import librosa
    import numpy as np
    import soundfile

    from symphony2vec import params as read

    own = read.read(project.params)
    rate_hz, kind = own.audio.sample_rate_hz, own.features
    clips, shipped = read_table(project.clips, "clips"), read_array(project.feature("mfcc"), "features")
    array = np.empty(shipped.shape, np.float32)
    for row, file, start_s in zip(clips["clip"], clips["file"], clips["start_s"], strict=True):
        first, count = round(start_s * rate_hz), round(own.clips.duration_s * rate_hz)
        wave, _ = soundfile.read(project.out("audio", file), count, first, dtype="float32", fill_value=0.0)
        array[row] = librosa.feature.mfcc(
            y=wave,
            sr=rate_hz,
            n_mfcc=shipped.shape[1],
            n_mels=kind.mel_bands,
            n_fft=kind.fft_samples,
            hop_length=kind.hop_samples,
        )
    write_array(folder / "mfcc.npy", array)


BASELINES = tuple(f"embeddings/pca-{name}" for name in ("mel", "mfcc", "chroma"))
MADE_AGAIN = (*BASELINES, "classifiers/ff-mel", "classifiers/ff-mfcc")
ALI = ("ali/paper-128",)
UNTRAINED = {"learning_rate": 1e-12, "epochs": 1}
STARTS = {
    ("ali-untrained", "paper-128"): "untrained-128",
    ("temporal-untrained", "full-40"): "untrained-40",
    **{("untrained", f"vae-{name}"): f"untrained-{name}" for name in ("mel", "mfcc", "chroma")},
}

ALTERNATIVES = {
    "tempo": Alternative("metronome marks as written", MADE_AGAIN, {"audio.tempo": "score"}, sound=True),
    "dynamics": Alternative("dynamics as written", MADE_AGAIN, {"audio.dynamics": "score"}, sound=True),
    "instruments": Alternative("the score's instruments", MADE_AGAIN, {"audio.orchestration": "score"}, sound=True),
    "levels": Alternative(
        "no loudness normalisation", ("embeddings/pca-mfcc", "classifiers/ff-mfcc"), features=raw_levels
    ),
    "mfcc-bands": Alternative(
        "MFCC of 64 mel bands", ("embeddings/pca-mfcc", "classifiers/ff-mfcc"), features=of_64_bands
    ),
    "scale": Alternative(
        "one mean and deviation for all bands",
        ("classifiers/ff-mel", "classifiers/ff-mfcc", "embeddings/pca-mel", "embeddings/pca-mfcc"),
        replaced=one_scale,
    ),
    "batch": Alternative(
        "batches of 128 clips",
        ("classifiers/ff-mel", "classifiers/cnn-mel", "classifiers/fair_cnn-mel"),
        {f"classifiers.{model}.batch": 128 for model in ("ff", "cnn", "fair_cnn")},
    ),
    "weight-decay": Alternative(
        "weight decay 1e-5",
        ("classifiers/ff-mel", "classifiers/cnn-mel", "classifiers/fair_cnn-mel"),
        {f"classifiers.{model}.weight_decay": 1e-5 for model in ("ff", "cnn", "fair_cnn")},
    ),
    "ae-decay": Alternative(
        "no weight decay", ("embeddings/ae-mel", "embeddings/ae-mfcc"), {"embeddings.ae.weight_decay": 0.0}
    ),
    "norm": Alternative(
        "batch norm before the ReLU",
        ("classifiers/ff-mel", "classifiers/ff-mfcc", "classifiers/ff-chroma"),
        replaced=normed_before_relu,
    ),
    "ae-sum": Alternative(
        "squared error summed over values",
        ("embeddings/ae-mel", "embeddings/ae-mfcc", "embeddings/ae-chroma"),
        replaced=summed,
    ),
    "cae-last": Alternative(
        "the Jacobian of the last layer alone",
        ("embeddings/cae-mel", "embeddings/cae-mfcc"),
        replaced=last_layer,
    ),
    "vae-mean": Alternative("squared error averaged over values", ("embeddings/vae-mfcc",), replaced=averaged_bound),
    "pca": Alternative("all training clips at once", BASELINES, {"embeddings.pca.batch_clips": 100_000}),
    "probe": Alternative(
        "C = 1, not chosen",
        (*BASELINES, *(f"embeddings/{model}-mel" for model in ("ae", "cae", "vae")), *ALI, "ali/long-128"),
        {"probe.strengths": [1.0]},
        probe=True,
    ),
    "untrained": Alternative(
        "no training (a rate of 1e-12)",
        tuple(f"embeddings/{model}-{name}" for model in ("ae", "vae") for name in ("mel", "mfcc", "chroma")),
        {f"embeddings.{model}.{name}": value for model in ("ae", "vae") for name, value in UNTRAINED.items()},
    ),
    "ali-untrained": Alternative(
        "no training (48 updates for batch norm's statistics, at a rate of 1e-12)",
        ALI,
        {"ali.paper.learning_rate": 1e-12, "ali.paper.discriminator_learning_rate": 1e-12, "ali.paper.epochs": 8},
    ),
    "temporal-untrained": Alternative(
        "no training (190 updates for batch norm's statistics, at a rate of 1e-12)",
        ("temporal/full-40",),
        {
            "temporal.full.learning_rate": 1e-12,
            "temporal.full.discriminator_learning_rate": 1e-12,
            "temporal.full.average": 0.9,
            "temporal.full.epochs": 10,
        },
    ),
    "ali-updates": Alternative(
        "440 epochs, 2,640 updates, near the paper's 2,650", ALI, {"ali.paper.epochs": 440}, draws=2
    ),
    "ali-start": Alternative("torch's start", ALI, replaced=torch_start, draws=3),
    "ali-game": Alternative("the saturating game, as printed", ALI, replaced=saturating, draws=3),
    "ali-public": Alternative(
        "batch norm in D, gate and instance noise of the public source",
        ("ali/original-128",),
        {"ali.original.batch_norm": True, "ali.original.gate": 3.5, "ali.original.instance_noise": 0.1},
        draws=3,
    ),
    "ali-high": Alternative("the upper 32 bands", ALI, {"ali.crop.bands": "high"}, draws=3),
    "ali-middle": Alternative("the middle frames, in training too", ALI, {"ali.crop.frames": "middle"}, draws=3),
    "ali-dropout": Alternative("no dropout", ALI, {"ali.paper.dropout": 0.0}, draws=3),
    "ali-bias": Alternative("an output bias that starts at 0", ALI, replaced=no_bias, draws=3),
}


def made(name: str, source: Project, scratch: Path) -> pd.DataFrame:
    """Train and probe the rows of one alternative: COLUMNS of the report's counts, after the alternative's name."""
    import pandas as pd

    from symphony2vec import probe

    alternative = ALTERNATIVES[name]
    project, params = prepared(alternative, source, scratch / name)
    if alternative.probe:
        found = [probed(source, params, row) for row in alternative.rows]
        return pd.concat(found).assign(alternative=name)
    with ExitStack() as stack:
        for owner, attribute, replacement in alternative.replaced():
            stack.enter_context(mock.patch.object(owner, attribute, replacement))
        for row in alternative.rows:
            stage, _, model = row.partition("/")
            trained(project, params, stage, model)
            probe.run(project, params, stage, model)
    return pd.concat([counts(project, params, row).assign(alternative=name) for row in alternative.rows])


def prepared(alternative: Alternative, source: Project, root: Path) -> tuple[Project, Params]:
    """A project of its own in `root`, with what the alternative leaves as it is taken from `source`."""
    from ruamel.yaml import YAML

    from symphony2vec import params as read

    read.read(source.params)  # says so where it is missing or faulty
    values = YAML(typ="safe").load((source.root / "params.yaml").read_text(encoding="utf-8"))
    if values["seeds"] < alternative.draws:
        raise UserError(f"{source.params} has seeds: {values['seeds']}; needed are {alternative.draws} drawn splits")
    values["seeds"] = alternative.draws
    values["clips"]["splits"] = ["work"]
    for key, value in alternative.params.items():
        *above, last = key.split(".")
        owner = values
        for part in above:
            owner = owner[part]
        owner[last] = value
    project = Project(root)
    root.mkdir(parents=True, exist_ok=True)
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(values, file)
    (root / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    params = read.read(root / "params.yaml")
    linked(source.root / "data", root / "data")
    if alternative.sound:
        sounded(project, params, source)
        return project, params
    linked(source.out("audio"), project.out("audio"))
    linked(source.out("clips"), project.out("clips"))
    folder = project.out("features")
    folder.mkdir(parents=True, exist_ok=True)
    if alternative.features is not None:
        alternative.features(source, folder)
    for array in sorted(source.out("features").glob("*.npy")):
        linked(array, folder / array.name)
    return project, params


def linked(target: Path, link: Path) -> None:
    """A link, unless there is an array of the alternative's own.

    Raises UserError where the link leads elsewhere: the folder holds what was trained of another project.
    """
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        if link.resolve() != target.resolve():
            raise UserError(
                f"{link} leads to {link.resolve()}, not to {target}; remove the folder, or name another --scratch"
            )
    elif not link.exists():
        link.symlink_to(target.resolve())


def sounded(project: Project, params: Params, source: Project) -> None:
    """The music, its clips and their representations, made anew unless that is done; works stay on their sides."""
    from symphony2vec import audio, clips, features

    if not project.feature("mel").is_file():
        audio.run(project, params)
        clips.run(project, params)
        features.run(project, params)
    for draw in clips.draws(params):
        sides = read_table(source.draw(draw), "clips").drop_duplicates("group").set_index("group")["split"]
        table = read_table(project.draw(draw), "clips")
        write_table(project.draw(draw), table.assign(split=table["group"].map(sides).fillna("")))


def trained(project: Project, params: Params, stage: str, model: str) -> None:
    """One row on every draw."""
    from symphony2vec import ali, classifiers, embeddings, temporal

    if stage in ("ali", "temporal"):
        {"ali": ali, "temporal": temporal}[stage].run(project, params, model)
        return
    kind, _, representation = model.rpartition("-")
    {"classifiers": classifiers, "embeddings": embeddings}[stage].run(project, params, kind, representation)


def counts(project: Project, params: Params, row: str) -> pd.DataFrame:
    """Of a row that was probed: reading, draw, work, clips, right."""
    import pandas as pd

    stage, _, model = row.partition("/")
    draws = [Draw("work", params.clips.seed + number).name for number in range(params.seeds)]
    found = [
        read_table(project.out("probe", stage, model, draw, "works.csv"), "probe").assign(draw=draw) for draw in draws
    ]
    return pd.concat(found).assign(stage=stage, model=model)


def probed(source: Project, params: Params, row: str) -> pd.DataFrame:
    """As `counts`, of the vectors that `source` has of a row, probed with other parameters."""
    import pandas as pd

    from symphony2vec import probe

    stage, _, model = row.partition("/")
    found = []
    for number in range(params.seeds):
        draw = Draw("work", params.clips.seed + number)
        clips = read_table(source.draw(draw), "clips")
        for path in sorted(source.out(stage, model, draw.name).glob("vectors*.npy")):
            works = probe.by_work(probe.fit(read_array(path, stage), clips, params.probe), clips)
            reading = path.stem.partition("-")[2]
            found.append(works.assign(stage=stage, model=model, reading=reading, draw=draw.name))
    if not found:
        raise UserError(f"{source.out(stage, model)} holds no vectors; `dvc repro {stage}@{model}` makes them")
    return pd.concat(found)


def added(path: Path, found: pd.DataFrame) -> None:
    """Into the table at `path`, in place of what it had of the same alternatives."""
    import pandas as pd

    kept = read_table(path, "counts") if path.is_file() else found.iloc[:0]
    kept = kept[~kept["alternative"].isin(found["alternative"])]
    whole = pd.concat([kept, found])[[*KEYS, "work", "clips", "right"]].sort_values([*KEYS, "work"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, whole.reset_index(drop=True))


def table(own: pd.DataFrame, shipped: pd.DataFrame, settings: Any) -> str:
    """Markdown: each alternative's rows and readings, as shipped and otherwise, with the interval of the difference."""
    from symphony2vec.report import comparison

    lines = ["| instead | row | draws | shipped | instead | difference |", "|---|---|---|---|---|---|"]
    for name, alternative in ALTERNATIVES.items():
        for of, rows in own[own["alternative"] == name].groupby(KEYS[1:4], sort=False):
            draws = sorted(set(rows["draw"]))
            before = shipped[(shipped[KEYS[1:4]] == list(of)).all(axis=1)]
            lacking = sorted(set(draws) - set(before["draw"]))
            if lacking:
                raise UserError(f"the study's counts have no row {' '.join(map(str, of[1:])).strip()} on {lacking[0]}")
            sides = [[side[side["draw"] == draw] for draw in draws] for side in (before, rows)]
            found = comparison.counts(sides)
            drawn = comparison.resampled(found, settings.bootstrap_draws, settings.seed)
            low, high = (100.0 * end[1, 0] for end in comparison.differences(drawn, settings.confidence))
            mean = 100.0 * found.accuracy().mean(axis=1)
            sure = "**" if comparison.side(low, high, len(draws)) else ""
            difference = f"{sure}{mean[1] - mean[0]:+.1f} [{low:.1f}, {high:.1f}]{sure}"
            words = [
                alternative.says,
                " ".join(map(str, of[1:])).strip(),
                len(draws),
                f"{mean[0]:.1f}",
                f"{mean[1]:.1f}",
            ]
            lines.append(f"| {' | '.join(map(str, words))} | {difference} |")
    return "\n".join(lines)


def with_starts(shipped: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """The study's counts with those of the untrained alternatives, under the names of STARTS."""
    import pandas as pd

    kept = shipped[~shipped["model"].isin(STARTS.values())]
    parts = [
        own[(own["alternative"] == alternative) & (own["model"] == model)].assign(model=start)
        for (alternative, model), start in STARTS.items()
    ]
    columns = list(shipped.columns)
    return pd.concat([kept, *parts])[columns].sort_values(columns[:5], kind="stable", ignore_index=True)


def main() -> None:
    """Train the alternatives that are named, or tell what was found."""
    lines = [f"  {name:<20}{one.says}: {', '.join(one.rows)}" for name, one in ALTERNATIVES.items()]
    parser = argparse.ArgumentParser(
        description="What a choice that the paper leaves open changes.",
        epilog="alternatives:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("alternatives", nargs="*", choices=[*ALTERNATIVES, []], metavar="alternative")
    parser.add_argument("--project", type=Path, default=Path(), help="whose clips and features are used")
    parser.add_argument("--scratch", type=Path, help="where they are trained; by default out/departures of the project")
    parser.add_argument("--counts", type=Path, help="where they are told; by default its docs/results/departures.csv")
    parser.add_argument("--shipped", type=Path, help="counts of the study; by default its docs/results/starter.csv")
    parser.add_argument("--table", action="store_true", help="print what is known, as Markdown")
    parser.add_argument("--starts", action="store_true", help="write the untrained rows into the counts of the study")
    options = parser.parse_args()
    try:
        told(options)
    except UserError as fault:
        parser.exit(1, f"{fault}\n")


def told(options: argparse.Namespace) -> None:
    """Do as the options say; raises UserError."""
    from symphony2vec import params

    project = Project(options.project.resolve())
    counts = options.counts or project.root / "docs" / "results" / "departures.csv"
    shipped = options.shipped or project.root / "docs" / "results" / "starter.csv"
    for name in options.alternatives:
        added(counts, made(name, project, options.scratch or project.out("departures")))
    if options.starts:
        write_table(shipped, with_starts(read_table(shipped, "report"), read_table(counts, "counts")))
    if options.table or not (options.alternatives or options.starts):
        settings = params.read(project.params).probe
        print(table(read_table(counts, "counts"), read_table(shipped, "report"), settings))


if __name__ == "__main__":
    main()
