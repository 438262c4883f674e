"""An update of ALI that is recorded once and then replayed: one launch on a GPU instead of several hundred.

At batch 100 the kernels of an update are so short that the GPU waits for Python to launch the next one. A CUDA graph
holds all of them, from the crop to the steps of the optimisers. It uses the same memory at every replay: the batch is
copied into a buffer first, and the losses are copied out of one afterwards. A replay advances the random generators as
the update itself does. The mathematics is that of the recorded update.

B clips of a batch, F bins, T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from symphony2vec.errors import UserError
from symphony2vec.models.ali.losses import Game

WARM_UP = 3  # updates before the recording, in which libraries choose kernels and optimisers allocate their state

Losses = dict[str, Tensor]


class Recorder(Protocol):
    """Records work on one kind of device."""

    def run(self, work: Callable[[], Losses]) -> Losses:
        """Run the work once, without recording it."""

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record the work, and return a function that replays it and returns its output, the same tensor every time."""


class RecordedUpdate:
    """An update on a batch (B, F, T) that returns losses: run during the warm-up, then recorded and replayed.

    A batch of another shape than the recorded one is run without a replay.
    """

    def __init__(self, update: Callable[[Tensor], Mapping[str, Tensor]], recorder: Recorder) -> None:
        self._update, self._recorder = update, recorder
        self.forget()

    def forget(self) -> None:
        """Discard the recording, whose tensors may have been replaced, and start with the warm-up again."""
        self._names: list[str] = []
        self._buffer: Tensor | None = None
        self._replay: Callable[[], Tensor] | None = None
        self._warm_up_updates = 0

    @property
    def is_recorded(self) -> bool:
        """Return whether the next batch of the same shape is replayed."""
        return self._replay is not None

    def __call__(self, batch: Tensor) -> Losses:
        """Make one update, and return its losses, which later updates do not change."""
        if self._replay is None and self._warm_up_updates == WARM_UP:
            self._buffer = batch.clone()
            self._replay = self._recorder.record(self._update_from_buffer)
        if self._replay is None or self._buffer is None or batch.shape != self._buffer.shape:
            self._warm_up_updates = min(self._warm_up_updates + 1, WARM_UP)
            return self._recorder.run(lambda: dict(self._update(batch)))
        self._buffer.copy_(batch)
        losses = self._replay().clone()
        return dict(zip(self._names, losses.unbind(), strict=True))

    def _update_from_buffer(self) -> Tensor:
        """Update on the batch in the buffer, and return the losses as one tensor."""
        assert self._buffer is not None
        losses = self._update(self._buffer)
        self._names = list(losses)
        return torch.stack([*losses.values()])


class CudaGraph:
    """Records the updates of a game on a GPU; `rngs` are the random generators they use besides torch's global one."""

    def __init__(self, game: Game, rngs: Sequence[torch.Generator]) -> None:
        self._game, self._rngs = game, rngs
        self._stream = torch.cuda.Stream()

    def run(self, work: Callable[[], Losses]) -> Losses:
        """Run the work on a side stream, which CUDA requires before a recording."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            losses = work()
        current.wait_stream(self._stream)
        return losses

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record the work as a graph, without computing anything yet; see `Recorder`.

        Raises:
            UserError: the work cannot be recorded.
        """
        graph = torch.cuda.CUDAGraph()
        for rng in self._rngs:
            graph.register_generator_state(rng)
        try:
            with self._game.recording(), torch.cuda.graph(graph):
                output = work()
        except RuntimeError as error:
            cause = error.__context__ or error  # ending a recording that failed raises another error
            line = (str(cause).splitlines() or [type(cause).__name__])[0]
            raise UserError(
                f"ALI's update cannot be recorded as a CUDA graph ({line}); set SYMPHONY2VEC_ALI_STEP=eager and run "
                "the same command again"
            ) from error

        def replay() -> Tensor:
            graph.replay()
            return output

        return replay
