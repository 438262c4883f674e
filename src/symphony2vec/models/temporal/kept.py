"""Save and load a trained temporal ALI in the folder of its fold: encoder, generator and scaling.

Axes: B clips, F bins, T frames, S steps of `FRAMES_PER_STEP` frames, L and Z dimensions; spectrograms in dB.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from symphony2vec.errors import UserError
from symphony2vec.models.temporal.networks import Encoder, Generator, crop_to_steps
from symphony2vec.package.scaling import Scaling
from symphony2vec.project import atomic_file

NETWORKS = "networks.safetensors"
METADATA = "symphony2vec"  # the single key of the file's metadata


@dataclass(frozen=True)
class SavedModel:
    """Encoder and generator of one fold, with the scaling of their spectrograms."""

    encoder: Encoder
    generator: Generator
    scaling: Scaling

    def encode(self, clips_db: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the posterior means of c (B, L) and z (B, S, Z) of clips (B, F, T)."""
        with torch.inference_mode():
            codes = self.encoder(crop_to_steps(torch.from_numpy(self.scaling.apply(clips_db))))
        return codes.c_mean.numpy(), codes.z_mean.numpy()

    def generate(self, c: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Generate clips (B, F, S * FRAMES_PER_STEP) from codes c (B, L) and z (B, S, Z)."""
        with torch.inference_mode():
            x_hat = self.generator(torch.from_numpy(np.float32(c)), torch.from_numpy(np.float32(z))).numpy()
        return self.scaling.undo(x_hat)


def save(
    path: Path, encoder: Encoder, generator: Generator, shape: tuple[int, int, int, int], scaling: Scaling
) -> None:
    """Write both networks with the arguments that build them, `shape`: L, Z, width and F."""
    weights = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, network in (("encoder", encoder), ("generator", generator))
        for key, value in network.state_dict().items()
    }
    metadata = {"shape": shape, "scaling": scaling.as_plain()}
    with atomic_file(path) as partial:
        save_file(weights, partial, {METADATA: json.dumps(metadata)})  # one key: several have no fixed order


def load(folder: Path) -> SavedModel:
    """Load what `save` wrote into the folder of a fold.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = folder / NETWORKS
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()[METADATA])
        weights = load_file(path)
        encoder, generator = Encoder(*metadata["shape"]), Generator(*metadata["shape"])
        for name, network in (("encoder", encoder), ("generator", generator)):
            prefix = f"{name}."
            state = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            network.load_state_dict(state)
        return SavedModel(encoder.eval(), generator.eval(), Scaling.from_plain(metadata["scaling"]))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; `dvc repro temporal` writes it") from None
    except (SafetensorError, RuntimeError, LookupError, TypeError, ValueError, OSError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is damaged ({line}); `dvc repro -f temporal` writes it again") from None
