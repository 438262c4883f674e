"""The HEAR interface: a trained embedding as the benchmark HEAR (https://hearbenchmark.com/hear-api.html) asks for it.

    model = load_model("models:/symphony2vec/3")
    vectors = get_scene_embeddings(audio, model)                    # one vector a sound
    vectors, times_ms = get_timestamp_embeddings(audio, model)      # one vector every 50 ms

B sounds, N samples, T timestamps, D dimensions. Audio is (B, N), mono, at `model.sample_rate`, in [-1, 1]. Each sound
is embedded on its own, levelled as recordings are: its vectors do not depend on what else is in the batch. A sound
shorter than 0.1 s is heard with silence after it, up to 0.1 s; silence has a vector, as any sound has.

Torch is imported at once: whoever imports this module comes with a tensor.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from symphony2vec.embedder import Embedder
from symphony2vec.errors import UserError

HOP_S = 0.05  # HEAR's longest: its tasks forgive an onset that is 50 ms away
SHORTEST_S = 0.1  # what an Embedder hears
RATES_HZ = (16000, 22050, 44100, 48000)  # HEAR's; its validator refuses any other


class Model(nn.Module):
    """An Embedder as HEAR sees one: a module that says the rate it hears at and the size of its vectors.

    The Embedder computes where it was loaded, on a GPU where there is one; the vectors go to the device of the audio.
    """

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.embedder = embedder
        self.sample_rate = min((rate for rate in RATES_HZ if rate >= embedder.sample_rate_hz), default=RATES_HZ[-1])
        self.scene_embedding_size = embedder.dimensions
        self.timestamp_embedding_size = embedder.dimensions

    def forward(self, audio: Tensor) -> Tensor:
        """(B, N) -> (B, D): see `get_scene_embeddings`."""
        return get_scene_embeddings(audio, self)

    def extra_repr(self) -> str:
        """What print(model) says of it."""
        return f"{self.embedder.name}, {self.embedder.source}"


def load_model(model_file_path: str = "") -> Model:
    """A trained embedding: whatever `Embedder.load` takes, as the folder of a logged model, a run, a registered model.

    Without a name: the champion of the project around the current folder.

    Raises UserError if there is no such model, or no champion.
    """
    return Model(Embedder.load(model_file_path or "champion"))


def get_scene_embeddings(audio: Tensor, model: Model) -> Tensor:
    """One vector a sound, the mean of its clips' vectors: (B, N) -> (B, D) float32, on the device of `audio`.

    Raises UserError if `audio` is not floating-point (B, N) of one sample or more.
    """
    found = [model.embedder.embed(wave, model.sample_rate, form="recording") for wave in _waves(audio, model)]
    return _stacked([one.vectors[0] for one in found], audio)


def get_timestamp_embeddings(audio: Tensor, model: Model) -> tuple[Tensor, Tensor]:
    """One vector every 50 ms, of the window centred there, and where: (B, N) -> (B, T, D) and (B, T) ms, float32.

    The device is that of `audio`. Raises UserError as `get_scene_embeddings` does.
    """
    rate_hz = model.sample_rate
    found = [model.embedder.embed(wave, rate_hz, form="timestamps", hop_s=HOP_S) for wave in _waves(audio, model)]
    times_ms = [500.0 * (one.starts_s + one.ends_s) for one in found]  # the middle of each window
    return _stacked([one.vectors for one in found], audio), _stacked(times_ms, audio)


def _waves(audio: Tensor, model: Model) -> list[np.ndarray]:
    """The sounds of a batch, each of 0.1 s or more; of an empty batch one of silence, for the shape of its vectors."""
    if audio.ndim != 2 or audio.shape[1] == 0 or not audio.is_floating_point():
        raise UserError(
            f"HEAR's audio is (sounds, samples) of floating-point numbers, one sample or more; "
            f"this is {tuple(audio.shape)} of {audio.dtype}"
        )
    waves = audio.detach().to("cpu", torch.float32).numpy()
    missing = max(0, math.ceil(SHORTEST_S * model.sample_rate) - waves.shape[1])
    return list(np.pad(waves, ((0, int(len(waves) == 0)), (0, missing))))


def _stacked(found: list[np.ndarray], audio: Tensor) -> Tensor:
    """What was found of each sound of a batch, float32 on the batch's device."""
    return torch.from_numpy(np.stack(found)[: len(audio)].astype(np.float32)).to(audio.device)
