"""The networks that name a composer: the paper's feed-forward net, CNN and LSTM (Table 3), and one fairer CNN.

Axes: B batch, F frequency bins from low to high, T frames, C chunks of a clip, S frames of a chunk, K composers.
Source: the slides "Feed Forward Architecture", "CNN Architecture", Table 2 and "LSTM Architecture".

Every network gives logits; the paper's softmax is part of the cross-entropy. Sizes, kernels, strides and paddings are
(bins, frames), which is the reading of Table 2 in which all three columns fit together.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from symphony2vec.errors import UserError

HIDDEN = (1024, 512, 256, 64)  # feed-forward
HEAD = (120, 84)  # the fully connected layers of the CNNs
FEW_BINS = 32  # up to here the first convolution of `fair_cnn` keeps the bins, above it halves them

Size = tuple[int, int]


class Convolution(NamedTuple):
    """One row of Table 2: a convolution, and the max pooling that follows its batch normalisation."""

    channels: int
    kernel: Size
    stride: Size
    padding: Size
    pool: Size

    def size(self, before: Size) -> Size:
        """What is left of (bins, frames) after the convolution and its pooling; 0 or less if the kernel is larger."""
        filtered = (
            (length + 2 * padding - kernel) // stride + 1
            for length, kernel, stride, padding in zip(before, self.kernel, self.stride, self.padding, strict=True)
        )
        bins, frames = (length // pool for length, pool in zip(filtered, self.pool, strict=True))
        return bins, frames


TABLE_2 = {
    "chroma": (
        Convolution(5, (2, 5), (2, 1), (6, 1), (1, 2)),
        Convolution(10, (2, 4), (2, 2), (6, 2), (1, 2)),
        Convolution(10, (2, 4), (2, 2), (6, 1), (1, 1)),
    ),
    "mfcc": (
        Convolution(5, (4, 5), (1, 1), (1, 1), (1, 2)),
        Convolution(10, (2, 4), (2, 2), (6, 2), (1, 2)),
        Convolution(10, (2, 4), (2, 2), (6, 1), (1, 1)),
    ),
    "mel": (
        Convolution(5, (4, 3), (2, 2), (1, 1), (1, 2)),
        Convolution(10, (4, 4), (2, 2), (1, 1), (1, 2)),
        Convolution(10, (3, 4), (2, 2), (1, 1), (2, 2)),
    ),
}


def feed_forward(shape: Size, composers: int) -> nn.Sequential:
    """The paper's feed-forward net: (B, F, T) with (F, T) = `shape` to logits (B, K).

    Each hidden layer is linear, then ReLU, then normalised over the batch, so a training batch holds two clips or more.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise((shape[0] * shape[1], *HIDDEN)):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.BatchNorm1d(after)]
    return nn.Sequential(*layers, nn.Linear(HIDDEN[-1], composers))


def cnn(representation: str, shape: Size, composers: int) -> nn.Sequential:
    """The CNN of Table 2 for mel, mfcc or chroma: (B, F, T) with (F, T) = `shape` to logits (B, K).

    Raises UserError for another representation, or where the kernels do not fit the shape.
    """
    if representation not in TABLE_2:
        raise UserError(f"no CNN for '{representation}'; Table 2 has {', '.join(TABLE_2)}")
    convolutions = TABLE_2[representation]
    bins, frames = _last_size(convolutions, shape)
    inputs = convolutions[-1].channels * bins * frames
    return nn.Sequential(*_convolutional(convolutions, shape), nn.Flatten(), *_head(inputs, composers))


def fair_cnn(shape: Size, composers: int) -> nn.Sequential:
    """A CNN that sees all of its input, beside those of Table 2: (B, F, T) with (F, T) = `shape` to logits (B, K).

    On chroma and MFCC most of what the CNNs of Table 2 look at is their own padding. Here it is one row or column, and
    size goes by stride and pooling alone: frames to a 16th, bins to a quarter (an eighth above 32 bins). The mean is
    taken over the frames left, not over the bins: a register or a pitch class keeps its place, a moment does not.

    Raises UserError below 4 bins or 15 frames.
    """
    stride = (1, 2) if shape[0] <= FEW_BINS else (2, 2)
    convolutions = (
        Convolution(16, (3, 3), stride, (1, 1), (2, 2)),
        Convolution(32, (3, 3), (1, 1), (1, 1), (2, 4)),
        Convolution(64, (3, 3), (1, 1), (1, 1), (1, 1)),
    )
    bins, _ = _last_size(convolutions, shape)
    mean_over_frames = nn.AdaptiveAvgPool2d((bins, 1))
    inputs = convolutions[-1].channels * bins
    return nn.Sequential(
        *_convolutional(convolutions, shape), mean_over_frames, nn.Flatten(), *_head(inputs, composers)
    )


def _convolutional(convolutions: tuple[Convolution, ...], shape: Size) -> list[nn.Module]:
    """(B, F, T) to (B, channels, bins, frames); ReLU after the pooling, with which it commutes, as it costs less."""
    layers: list[nn.Module] = [nn.Unflatten(1, (1, shape[0]))]
    before = 1
    for now in convolutions:
        layers += [
            nn.Conv2d(before, now.channels, now.kernel, now.stride, now.padding),
            nn.BatchNorm2d(now.channels),
            nn.MaxPool2d(now.pool),
            nn.ReLU(),
        ]
        before = now.channels
    return layers


def _head(inputs: int, composers: int) -> list[nn.Module]:
    """The fully connected layers: (B, inputs) to logits (B, K)."""
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *HEAD)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return [*layers, nn.Linear(HEAD[-1], composers)]


def _last_size(convolutions: tuple[Convolution, ...], shape: Size) -> Size:
    """(bins, frames) after the last pooling; UserError if nothing is left somewhere on the way."""
    size = shape
    for number, convolution in enumerate(convolutions, start=1):
        size = convolution.size(size)
        if min(size) < 1:
            raise UserError(
                f"{shape[0]} bins x {shape[1]} frames are too few for the CNN: "
                f"nothing is left after convolution {number}; use longer clips or more bins"
            )
    return size


class LSTM(nn.Module):
    """The paper's many-to-one LSTM: one chunk of a clip in, logits out."""

    def __init__(self, bins: int, composers: int, hidden: int = 5, layers: int = 2) -> None:
        """`bins` = F, `composers` = K; `layers` recurrent layers with `hidden` features each."""
        super().__init__()
        self.recurrent = nn.LSTM(bins, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, composers)

    def forward(self, chunk: Tensor) -> Tensor:
        """(B, S, F) to logits (B, K), from the last step of the last layer."""
        steps, _ = self.recurrent(chunk)
        logits: Tensor = self.output(steps[:, -1])
        return logits


def chunks(x: Tensor, frames: int) -> Tensor:
    """Cut clips (B, F, T) into whole chunks in order of time: (B, T // frames, frames, F). A rest is left out.

    Raises UserError if a clip is shorter than one chunk.
    """
    count = x.shape[2] // frames
    if count == 0:
        raise UserError(f"a clip of {x.shape[2]} frames holds no chunk of {frames}; shorten the chunks")
    return x[:, :, : count * frames].reshape(*x.shape[:2], count, frames).permute(0, 2, 3, 1)


def vote(probabilities: np.ndarray) -> np.ndarray:
    """The chunks of a clip elect its composer: probabilities (B, C, K) to shares of the votes (B, K), float64.

    Every chunk gives one vote to its likeliest composer (the first of equals), and the mean probability is shared out
    as one vote more: (votes + mean) / (C + 1). Rows sum to 1. The extra vote breaks ties and never outweighs a vote:
    means differ by a whole vote only between a composer with all votes and one with none.
    """

    votes = np.eye(probabilities.shape[2])[probabilities.argmax(axis=2)].sum(axis=1)
    mean = probabilities.mean(axis=1, dtype=np.float64)
    shares: np.ndarray = (votes + mean) / (probabilities.shape[1] + 1)
    return shares


class Classifier(nn.Module):
    """Any of the networks, asked in one way: clips (B, F, T) in, (B, C, K) out; C is 1 but for the LSTM's chunks."""

    def __init__(self, kind: str, representation: str, shape: Size, composers: int, chunk_frames: int) -> None:
        """`kind` is ff, cnn, fair_cnn or lstm; `shape` (F, T); `chunk_frames` is 0 but for the LSTM."""
        super().__init__()
        self.chunk_frames = chunk_frames
        makers: dict[str, Callable[[], nn.Module]] = {
            "ff": lambda: feed_forward(shape, composers),
            "cnn": lambda: cnn(representation, shape, composers),
            "fair_cnn": lambda: fair_cnn(shape, composers),
            "lstm": lambda: LSTM(shape[0], composers),
        }
        self.network = makers[kind]()

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every clip, or of every chunk."""
        parts = chunks(x, self.chunk_frames) if self.chunk_frames else x.unsqueeze(1)
        logits: Tensor = self.network(parts.flatten(0, 1))
        by_clip: Tensor = logits.unflatten(0, parts.shape[:2])
        return by_clip

    def probabilities(self, x: Tensor) -> Tensor:
        """(B, K): the softmax, or the chunks' vote."""
        every = self(x).softmax(dim=2)
        return torch.from_numpy(vote(every.cpu().numpy())).float() if self.chunk_frames else every[:, 0]
