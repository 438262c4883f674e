"""The alternatives of departures.py: which rows are made in another way, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony2vec.project import Project, read_array, read_table, write_array

if TYPE_CHECKING:
    import numpy as np

Replaced = Callable[[], Sequence[tuple[Any, str, Any]]]


@dataclass(frozen=True)
class Alternative:
    """Rows of the study, made in another way.

    says: the way, in words; rows: as "embeddings/pca-mel"; params: what to write into params.yaml, by dotted key;
    replaced: owner, name and replacement of what cannot be said there; features: changes the arrays of the clips in a
    folder of its own; sound: the music is made again and cut into clips again, works stay on their sides; folds: of how
    many splits; probe: the rows are not made again, their vectors are probed again.
    """

    says: str
    rows: tuple[str, ...]
    params: dict[str, Any] = field(default_factory=dict)
    replaced: Replaced = tuple
    features: Callable[[Project, Path], None] | None = None
    sound: bool = False
    folds: int = 5
    probe: bool = False


def one_scale() -> Sequence[tuple[Any, str, Any]]:
    """One mean and one deviation for all bands."""
    import numpy as np

    from symphony2vec.package import scaling

    def standard(array: np.ndarray, rows: np.ndarray) -> scaling.Scaling:
        mean, deviation = scaling.moments(array, rows)
        whole = np.sqrt((deviation.astype(np.float64) ** 2 + (mean - mean.mean()) ** 2).mean())
        return scaling.Scaling(np.full_like(mean, mean.mean()), np.full_like(deviation, whole))

    return [(scaling, "standard", standard)]


def normed_before_relu() -> Sequence[tuple[Any, str, Any]]:
    """Batch norm between the linear layer and the ReLU."""
    from torch import nn

    from symphony2vec.models.classifiers import networks

    plain = networks.feed_forward

    def feed_forward(shape: tuple[int, int], composers: int) -> nn.Sequential:
        layers = list(plain(shape, composers))
        for place in range(2, len(layers), 3):
            layers[place], layers[place + 1] = layers[place + 1], layers[place]
        return nn.Sequential(*layers)

    return [(networks, "feed_forward", feed_forward)]


def summed() -> Sequence[tuple[Any, str, Any]]:
    """The squared error summed over a clip's values."""
    from symphony2vec.models.embeddings import losses

    return [(losses, "mean_squared_error", losses.reconstruction)]


def last_layer() -> Sequence[tuple[Any, str, Any]]:
    """The Jacobian of the last layer alone, which is linear: the squared norm of its weights."""
    from symphony2vec.models.embeddings import losses

    return [(losses, "contractive", lambda encoder, _x, _generator: encoder[-1].weight.square().sum())]


def averaged_bound() -> Sequence[tuple[Any, str, Any]]:
    """The squared error averaged over a clip's values, not halved, beside a divergence summed over the code."""
    from symphony2vec.models.embeddings import losses

    def loss(x: Any, x_hat: Any, mean: Any, log_variance: Any) -> Any:
        return losses.mean_squared_error(x, x_hat) + losses.kl(mean, log_variance)

    return [(losses, "elbo_loss", loss)]


def saturating() -> Sequence[tuple[Any, str, Any]]:
    """The game as the paper prints it: encoder and generator raise the very loss that the discriminator lowers.

    The curve of the validation loss stays that of the shipped game.
    """
    from symphony2vec.models.ali import losses

    def loss(logit_q: Any, logit_p: Any) -> Any:
        return -losses.discriminator_loss(logit_q, logit_p)

    return [(losses, "generator_loss", loss), (losses.Game, "step", losses.Game.plain_step)]


def torch_start() -> Sequence[tuple[Any, str, Any]]:
    """Weights and biases as torch starts them."""
    import torch
    from torch import nn

    from symphony2vec.models.ali import learner

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
    from symphony2vec.models.ali.networks import Generator

    return [(Generator, "set_bias", lambda _self, _mean_image: None)]


def raw_levels(project: Project, folder: Path) -> None:
    """MFCC of the music without the gain that brings it to one level: the first coefficient moves with it."""
    import numpy as np

    from symphony2vec.features.representations import MFCC_MEL_BANDS

    gain_db = read_table(project.movements, "audio").set_index("file")["gain_db"]
    clips = read_table(project.clips, "clips")
    array = np.array(read_array(project.feature("mfcc"), "features"))
    array[:, 0] -= np.sqrt(MFCC_MEL_BANDS) * gain_db.loc[clips["file"]].to_numpy(np.float32)[:, None]
    write_array(folder / "mfcc.npy", array)


def of_mel_bands(project: Project, folder: Path) -> None:
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

ALTERNATIVES = {
    "tempo": Alternative("metronome marks as written", MADE_AGAIN, {"audio.tempo": "score"}, sound=True),
    "dynamics": Alternative("dynamics as written", MADE_AGAIN, {"audio.dynamics": "score"}, sound=True),
    "instruments": Alternative("the score's instruments", MADE_AGAIN, {"audio.orchestration": "score"}, sound=True),
    "levels": Alternative(
        "no loudness normalisation", ("embeddings/pca-mfcc", "classifiers/ff-mfcc"), features=raw_levels
    ),
    "mfcc-bands": Alternative(
        "MFCC of 64 mel bands", ("embeddings/pca-mfcc", "classifiers/ff-mfcc"), features=of_mel_bands
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
        {"probe.inverse_regularisation": [1.0]},
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
            "temporal.full.ema_decay": 0.9,
            "temporal.full.epochs": 10,
        },
    ),
    "ali-updates": Alternative(
        "440 epochs, 2,640 updates, near the paper's 2,650", ALI, {"ali.paper.epochs": 440}, folds=2
    ),
    "ali-start": Alternative("torch's start", ALI, replaced=torch_start, folds=3),
    "ali-game": Alternative("the saturating game, as printed", ALI, replaced=saturating, folds=3),
    "ali-public": Alternative(
        "batch norm in D, gate and instance noise of the public source",
        ("ali/original-128",),
        {"ali.original.batch_norm": True, "ali.original.gate": 3.5, "ali.original.instance_noise": 0.1},
        folds=3,
    ),
    "ali-high": Alternative("the upper 32 bands", ALI, {"ali.crop.bands": "high"}, folds=3),
    "ali-middle": Alternative("the middle frames, in training too", ALI, {"ali.crop.frames": "middle"}, folds=3),
    "ali-dropout": Alternative("no dropout", ALI, {"ali.paper.dropout": 0.0}, folds=3),
    "ali-bias": Alternative("an output bias that starts at 0", ALI, replaced=no_bias, folds=3),
}
