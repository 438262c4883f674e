"""A trained temporal model on disk, as the stage leaves it in the folder of a fold: encoder, generator, scaling.

B clips, F bins, S steps of `STRIDE` frames, D and Z dimensions; spectrograms in dB.
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
from symphony2vec.models.temporal.networks import Encoder, Generator, whole
from symphony2vec.package.scaling import Scaling
from symphony2vec.project import atomic_file

NETWORKS = "networks.safetensors"
TOLD = "symphony2vec"  # the one entry of the file's metadata


@dataclass(frozen=True)
class Kept:
    """Encoder and generator of one fold."""

    encoder: Encoder
    generator: Generator
    scaling: Scaling

    def codes(self, clips_db: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Clips (B, F, T) to the means of their codes, c (B, D) and z (B, S, Z)."""
        with torch.inference_mode():
            found = self.encoder(whole(torch.from_numpy(self.scaling.apply(clips_db))))
        return found.c.numpy(), found.z.numpy()

    def generate(self, c: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Codes c (B, D) and z (B, S, Z) to clips (B, F, S * STRIDE)."""
        with torch.inference_mode():
            made = self.generator(torch.from_numpy(np.float32(c)), torch.from_numpy(np.float32(z))).numpy()
        return self.scaling.undo(made)


def save(
    path: Path, encoder: Encoder, generator: Generator, shape: tuple[int, int, int, int], scaling: Scaling
) -> None:
    """Write both networks, and how they are made again: D, Z, width and F."""
    weights = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, network in (("encoder", encoder), ("generator", generator))
        for key, value in network.state_dict().items()
    }
    told = {"shape": shape, "scaling": scaling.as_plain()}
    with atomic_file(path) as partial:
        save_file(weights, partial, {TOLD: json.dumps(told)})  # in one piece: several come in an order of chance


def load(folder: Path) -> Kept:
    """What `save` wrote into the folder of a fold.

    Raises:
        UserError: there is nothing, or it is damaged.
    """
    path = folder / NETWORKS
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()[TOLD])
        shape, weights = told["shape"], load_file(path)
        encoder, generator = Encoder(*shape), Generator(*shape)
        for name, network in (("encoder", encoder), ("generator", generator)):
            own = {key.removeprefix(f"{name}."): one for key, one in weights.items() if key.startswith(f"{name}.")}
            network.load_state_dict(own)
        return Kept(encoder.eval(), generator.eval(), Scaling.from_plain(told["scaling"]))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; `dvc repro temporal` writes it") from None
    except (SafetensorError, RuntimeError, LookupError, TypeError, ValueError, OSError) as fault:
        line = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise UserError(f"{path} is damaged ({line}); `dvc repro -f temporal` writes it again") from None
