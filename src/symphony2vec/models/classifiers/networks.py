"""Networks that predict the composer: feed-forward network, CNN and LSTM of the paper (Table 3), and a fairer CNN.

B batch, F frequency bins from low to high, T frames, C chunks of a clip, S frames of a chunk, K composers.
Source: the slides "Feed Forward Architecture", "CNN Architecture", Table 2 and "LSTM Architecture".

Every network returns logits; the softmax of the paper is part of the cross-entropy. Sizes, kernels, strides and
paddings are (bins, frames), the only order in which all three columns of Table 2 are consistent. Packages store the
constructor arguments of `Classifier` and its method `probabilities`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from symphony2vec.errors import UserError

HIDDEN = (1024, 512, 256, 64)  # hidden layers of the feed-forward network
HEAD = (120, 84)  # the fully connected layers of the CNNs
FEW_BINS = 32  # with more bins the first convolution of `fair_cnn` halves their number

Size = tuple[int, int]


class Convolution(NamedTuple):
    """One row of Table 2: a convolution, and the max pooling after its batch norm."""

    channels: int
    kernel: Size
    stride: Size
    padding: Size
    pool: Size

    def output_size(self, size: Size) -> Size:
        """Return (bins, frames) after the convolution and its pooling; 0 or less if the kernel is larger than `size`.

        Examples:
            >>> TABLE_2["mel"][0].output_size((64, 431))
            (32, 108)
        """
        convolved = (
            (length + 2 * padding - kernel) // stride + 1
            for length, kernel, stride, padding in zip(size, self.kernel, self.stride, self.padding, strict=True)
        )
        bins, frames = (length // pool for length, pool in zip(convolved, self.pool, strict=True))
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
    """Return the feed-forward network of the paper.

    Each hidden layer is followed by ReLU and batch norm, so a training batch needs at least two clips.

    Args:
        shape: (F, T) of a clip.
        composers: K.

    Returns:
        A network from clips (B, F, T) to logits (B, K).

    Examples:
        >>> tuple(feed_forward((12, 20), composers=5)(torch.zeros(2, 12, 20)).shape)
        (2, 5)
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise((shape[0] * shape[1], *HIDDEN)):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.BatchNorm1d(after)]
    return nn.Sequential(*layers, nn.Linear(HIDDEN[-1], composers))


def cnn(representation: str, shape: Size, composers: int) -> nn.Sequential:
    """Return the CNN of Table 2 for one representation.

    Args:
        representation: mel, mfcc or chroma.
        shape: (F, T) of a clip.
        composers: K.

    Returns:
        A network from clips (B, F, T) to logits (B, K).

    Raises:
        UserError: the representation is another one, or the clips are too small for the kernels.

    Examples:
        >>> tuple(cnn("mel", (64, 431), composers=5)(torch.zeros(2, 64, 431)).shape)
        (2, 5)
    """
    if representation not in TABLE_2:
        raise UserError(f"Table 2 has no CNN for '{representation}'; expected one of {', '.join(TABLE_2)}")
    convolutions = TABLE_2[representation]
    bins, frames = _output_size(convolutions, shape)
    inputs = convolutions[-1].channels * bins * frames
    return nn.Sequential(*_convolution_layers(convolutions, shape), nn.Flatten(), *_head_layers(inputs, composers))


def fair_cnn(shape: Size, composers: int) -> nn.Sequential:
    """Return a CNN whose outputs depend on all of its input, for comparison with those of Table 2.

    On chroma and MFCC, most positions in the last layer of the CNNs of Table 2 see only padding. Here each padding is
    one row or column, and only strides and pooling reduce the size: frames to a 16th, bins to a quarter (an eighth
    above 32 bins). The remaining frames are averaged, but not the bins, which stand for registers or pitch classes.

    Args:
        shape: (F, T) of a clip.
        composers: K.

    Returns:
        A network from clips (B, F, T) to logits (B, K).

    Raises:
        UserError: fewer than 4 bins or 15 frames.

    Examples:
        >>> tuple(fair_cnn((12, 32), composers=5)(torch.zeros(2, 12, 32)).shape)
        (2, 5)
    """
    stride = (1, 2) if shape[0] <= FEW_BINS else (2, 2)
    convolutions = (
        Convolution(16, (3, 3), stride, (1, 1), (2, 2)),
        Convolution(32, (3, 3), (1, 1), (1, 1), (2, 4)),
        Convolution(64, (3, 3), (1, 1), (1, 1), (1, 1)),
    )
    bins, _ = _output_size(convolutions, shape)
    mean_over_frames = nn.AdaptiveAvgPool2d((bins, 1))
    inputs = convolutions[-1].channels * bins
    return nn.Sequential(
        *_convolution_layers(convolutions, shape), mean_over_frames, nn.Flatten(), *_head_layers(inputs, composers)
    )


def _convolution_layers(convolutions: tuple[Convolution, ...], shape: Size) -> list[nn.Module]:
    """Return layers from (B, F, T) to (B, channels, bins, frames); ReLU is after the pooling, where it is cheaper."""
    layers: list[nn.Module] = [nn.Unflatten(1, (1, shape[0]))]
    channels = 1
    for convolution in convolutions:
        layers += [
            nn.Conv2d(channels, convolution.channels, convolution.kernel, convolution.stride, convolution.padding),
            nn.BatchNorm2d(convolution.channels),
            nn.MaxPool2d(convolution.pool),
            nn.ReLU(),
        ]
        channels = convolution.channels
    return layers


def _head_layers(inputs: int, composers: int) -> list[nn.Module]:
    """Return the fully connected layers, from (B, inputs) to logits (B, K)."""
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *HEAD)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return [*layers, nn.Linear(HEAD[-1], composers)]


def _output_size(convolutions: tuple[Convolution, ...], shape: Size) -> Size:
    """Return (bins, frames) after the last pooling.

    Raises:
        UserError: the output of a convolution is empty.
    """
    size = shape
    for number, convolution in enumerate(convolutions, start=1):
        size = convolution.output_size(size)
        if min(size) < 1:
            raise UserError(
                f"{shape[0]} bins x {shape[1]} frames are too few for the CNN: the output of convolution {number} "
                "is empty; use longer clips or more bins"
            )
    return size


class LSTM(nn.Module):
    """The many-to-one LSTM of the paper, from one chunk of a clip to logits."""

    def __init__(self, bins: int, composers: int, hidden: int = 5, layers: int = 2) -> None:
        """`bins` F; `composers` K; `layers` recurrent layers with `hidden` features each."""
        super().__init__()
        self.recurrent = nn.LSTM(bins, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, composers)

    def forward(self, chunk: Tensor) -> Tensor:
        """Return logits (B, K) of chunks (B, S, F), from the last step of the last layer."""
        steps, _ = self.recurrent(chunk)
        logits: Tensor = self.output(steps[:, -1])
        return logits


def split_into_chunks(x: Tensor, frames: int) -> Tensor:
    """Split clips (B, F, T) into chunks in order of time, without a shorter rest: (B, T // frames, frames, F).

    Raises:
        UserError: a clip is shorter than a chunk.

    Examples:
        >>> tuple(split_into_chunks(torch.zeros(2, 64, 431), 36).shape)
        (2, 11, 36, 64)
    """
    count = x.shape[2] // frames
    if count == 0:
        raise UserError(
            f"clips of {x.shape[2]} frames are shorter than a chunk of {frames} frames; lower "
            "classifiers.lstm.chunk_frames in params.yaml"
        )
    return x[:, :, : count * frames].reshape(*x.shape[:2], count, frames).permute(0, 2, 3, 1)


def vote(probabilities: Tensor) -> Tensor:
    """Combine the probabilities of the chunks of a clip by a majority vote.

    Each chunk has one vote for its most probable composer (the first of equals), and the mean probabilities count as
    one more vote: (votes + mean) / (C + 1). The extra vote breaks ties but never outweighs a vote: means differ by a
    full vote only between a composer with all votes and one with none.

    Args:
        probabilities: (B, C, K).

    Returns:
        (B, K) float64; rows sum to 1.

    Examples:
        >>> vote(torch.tensor([[[0.0, 1.0], [0.75, 0.25], [0.75, 0.25]]])).tolist()
        [[0.625, 0.375]]
    """
    votes = one_hot(probabilities.argmax(dim=2), probabilities.shape[2]).sum(dim=1)
    mean = torch.mean(probabilities, dim=1, dtype=torch.float64)
    return (votes + mean) / (probabilities.shape[1] + 1)


class Classifier(nn.Module):
    """Any of the networks, from clips (B, F, T) to (B, C, K); C is 1 unless the network is an LSTM."""

    def __init__(self, kind: str, representation: str, shape: Size, composers: int, chunk_frames: int) -> None:
        """`kind` is ff, cnn, fair_cnn or lstm; `shape` (F, T); `chunk_frames` is 0 unless the network is an LSTM."""
        super().__init__()
        self.chunk_frames = chunk_frames
        factories: dict[str, Callable[[], nn.Module]] = {
            "ff": lambda: feed_forward(shape, composers),
            "cnn": lambda: cnn(representation, shape, composers),
            "fair_cnn": lambda: fair_cnn(shape, composers),
            "lstm": lambda: LSTM(shape[0], composers),
        }
        self.network = factories[kind]()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, C, K) of every clip or chunk."""
        parts = split_into_chunks(x, self.chunk_frames) if self.chunk_frames else x.unsqueeze(1)
        logits: Tensor = self.network(parts.flatten(0, 1))
        logits_by_clip: Tensor = logits.unflatten(0, parts.shape[:2])
        return logits_by_clip

    def probabilities(self, x: Tensor) -> Tensor:
        """Return the probabilities (B, K): the softmax, or the vote of the chunks."""
        chunks = self(x).softmax(dim=2)
        return vote(chunks).float() if self.chunk_frames else chunks[:, 0]
