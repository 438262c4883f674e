"""The interface of the HEAR benchmark (https://hearbenchmark.com/hear-api.html) to a trained embedding.

    model = load_model("models:/symphony2vec/3")
    vectors = get_scene_embeddings(audio, model)                    # one vector per sound
    vectors, times_ms = get_timestamp_embeddings(audio, model)      # one vector every 50 ms

B sounds, N samples, T timestamps, D dimensions. Audio is (B, N), mono, at `model.sample_rate`, in [-1, 1]. Each sound
is embedded separately, with the level normalisation of recordings: its vectors do not depend on the rest of the batch.
A sound shorter than 0.1 s is padded with silence to 0.1 s; silence is embedded like any sound.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from symphony2vec.embedder import Embedder
from symphony2vec.errors import UserError

HOP_S = 0.05  # the longest that HEAR allows: its tasks tolerate onsets 50 ms off
SHORTEST_S = 0.1  # the shortest sound that an Embedder takes
RATES_HZ = (16000, 22050, 44100, 48000)  # the rates that HEAR's validator accepts


class Model(nn.Module):
    """An Embedder as HEAR expects one: a module with a sample rate and the sizes of its vectors.

    The Embedder computes on a GPU if there is one; vectors are moved to the device of the audio.
    """

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self.embedder = embedder
        self.sample_rate = min((rate for rate in RATES_HZ if rate >= embedder.sample_rate_hz), default=RATES_HZ[-1])
        self.scene_embedding_size = embedder.dimensions
        self.timestamp_embedding_size = embedder.dimensions

    def forward(self, audio: Tensor) -> Tensor:
        """Return vectors (B, D) of audio (B, N): see `get_scene_embeddings`."""
        return get_scene_embeddings(audio, self)

    def extra_repr(self) -> str:
        """Return the name and source shown by print(model)."""
        return f"{self.embedder.name}, {self.embedder.source}"


def load_model(model_file_path: str = "") -> Model:
    """Load a trained embedding.

    Args:
        model_file_path: anything `Embedder.load` takes: a package's folder, a run, a registered model. By default the
            champion of the project around the current folder.

    Raises:
        UserError: there is no such model, or no champion.
    """
    return Model(Embedder.load(model_file_path or "champion"))


def get_scene_embeddings(audio: Tensor, model: Model) -> Tensor:
    """Return one vector per sound, the mean over its clips.

    Args:
        audio: (B, N) floating point.
        model: from `load_model`.

    Returns:
        (B, D) float32, on the device of `audio`.

    Raises:
        UserError: `audio` is not floating point (B, N) of at least one sample.
    """
    waves = _waves(audio, model)
    vectors = [model.embedder.embed(wave, model.sample_rate, form="recording").vectors[0] for wave in waves]
    return _stack(vectors, audio)


def get_timestamp_embeddings(audio: Tensor, model: Model) -> tuple[Tensor, Tensor]:
    """Return one vector every 50 ms, of the window centred there, and its time.

    Args:
        audio: (B, N) floating point.
        model: from `load_model`.

    Returns:
        Vectors (B, T, D) and times (B, T) in ms, both float32 on the device of `audio`.

    Raises:
        UserError: as `get_scene_embeddings`.
    """
    waves, rate_hz = _waves(audio, model), model.sample_rate
    embeddings = [model.embedder.embed(wave, rate_hz, form="timestamps", hop_s=HOP_S) for wave in waves]
    times_ms = [500.0 * (embedding.starts_s + embedding.ends_s) for embedding in embeddings]  # centres of the windows
    return _stack([embedding.vectors for embedding in embeddings], audio), _stack(times_ms, audio)


def _waves(audio: Tensor, model: Model) -> list[np.ndarray]:
    """Return the sounds of a batch, padded to at least 0.1 s; one of silence if the batch is empty."""
    if audio.ndim != 2 or audio.shape[1] == 0 or not audio.is_floating_point():
        raise UserError(
            f"HEAR's audio is (sounds, samples) of floating-point numbers, at least one sample long; "
            f"got {tuple(audio.shape)} of {audio.dtype}"
        )
    waves = audio.detach().to("cpu", torch.float32).numpy()
    missing = max(0, math.ceil(SHORTEST_S * model.sample_rate) - waves.shape[1])
    return list(np.pad(waves, ((0, int(len(waves) == 0)), (0, missing))))


def _stack(arrays: list[np.ndarray], audio: Tensor) -> Tensor:
    """Return the arrays of the sounds of a batch as one tensor, float32, on the batch's device."""
    return torch.from_numpy(np.stack(arrays)[: len(audio)].astype(np.float32)).to(audio.device)
