"""ALI's recorded update computes the same numbers as the update itself; a stand-in records it on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from symphony2vec import params
from symphony2vec.errors import UserError
from symphony2vec.models.ali import learner as learners
from symphony2vec.models.ali import networks
from symphony2vec.models.ali.learner import AliLearner
from symphony2vec.models.ali.losses import Game
from symphony2vec.models.ali.recorded import WARM_UP, CudaGraph, Losses, RecordedUpdate
from symphony2vec.models.training.source import Source
from symphony2vec.package.scaling import unit
from test_ali import reduced, spectrograms

UPDATES = WARM_UP + 4
LATENT = 8
TRAINING = np.arange(24)


class Repeated:
    """A recorder for the CPU: each replay runs the recorded work again and copies its output into the same tensor."""

    def __init__(self) -> None:
        self.runs, self.recordings = 0, 0

    def run(self, work: Callable[[], Losses]) -> Losses:
        self.runs += 1
        return work()

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        self.recordings += 1
        output: list[Tensor] = []

        def replay() -> Tensor:
            values = work()
            if not output:
                output.append(torch.empty_like(values))
            return output[0].copy_(values)

        return replay


@pytest.fixture(scope="module")
def small(settings: dict[str, Any]) -> params.Params:
    return reduced(settings)


@pytest.fixture(scope="module")
def source() -> Source:
    return Source(spectrograms(), unit("mel", 64, 80.0), torch.device("cpu"))


def learner(small: params.Params, source: Source, recorder: Repeated | None = None, seed: int = 0) -> AliLearner:
    ali_learner = AliLearner(source, TRAINING, LATENT, small.ali.original, small.ali.crop, 3, seed)
    if recorder is not None:
        ali_learner._replay = RecordedUpdate(ali_learner._update, recorder)
    return ali_learner


def updates(ali_learner: AliLearner, batches: list[np.ndarray], seed: int = 7) -> list[dict[str, float]]:
    """Train on these batches; the losses are read at the end, as the training loop does."""
    torch.manual_seed(seed)
    losses = [ali_learner.step(rows) for rows in batches]
    return [{name: value.item() for name, value in update.items()} for update in losses]


def batches(count: int, clips: int = 8) -> list[np.ndarray]:
    return [np.random.default_rng(number).permutation(TRAINING)[:clips] for number in range(count)]


def assert_equal(one: Any, other: Any) -> None:
    """Bit for bit."""
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    else:
        assert one == other


def test_replayed_updates_are_the_updates_bit_for_bit(small, source):
    recorder = Repeated()
    plain, recorded = learner(small, source), learner(small, source, recorder)
    losses = updates(plain, batches(UPDATES))
    assert updates(recorded, batches(UPDATES)) == losses
    assert len({update["discriminator_loss"] for update in losses}) == UPDATES
    assert_equal(recorded.state_dict(), plain.state_dict())
    assert torch.equal(recorded.rng.get_state(), plain.rng.get_state())
    assert (recorder.runs, recorder.recordings) == (WARM_UP, 1)


def test_a_batch_of_another_shape_is_not_replayed(small, source):
    recorder = Repeated()
    plain, recorded = learner(small, source), learner(small, source, recorder)
    uneven = [*batches(WARM_UP + 1), *batches(1, clips=5), *batches(2)]
    assert updates(recorded, uneven) == updates(plain, uneven)
    assert_equal(recorded.state_dict(), plain.state_dict())
    assert (recorder.runs, recorder.recordings) == (WARM_UP + 1, 1)


def test_a_restored_learner_warms_up_again_and_goes_on_alike(small, source):
    recorder = Repeated()
    plain, recorded = learner(small, source, seed=1), learner(small, source, recorder, seed=2)
    updates(recorded, batches(UPDATES))
    recorded.load_state_dict(copy.deepcopy(plain.state_dict()))
    assert not recorded._replay.is_recorded
    recorded.rng.set_state(plain.rng.get_state())
    assert updates(recorded, batches(UPDATES)) == updates(plain, batches(UPDATES))
    assert_equal(recorded.state_dict(), plain.state_dict())
    assert (recorder.runs, recorder.recordings) == (2 * WARM_UP, 2)


def test_looking_at_the_networks_between_updates_does_not_change_what_is_replayed(small, source):
    plain, recorded = learner(small, source), learner(small, source, Repeated())
    for ali_learner in (plain, recorded):
        updates(ali_learner, batches(WARM_UP + 1))
        ali_learner.encode(TRAINING[:4])  # leaves the networks as they are for evaluation
    assert updates(recorded, batches(2)) == updates(plain, batches(2))
    assert_equal(recorded.state_dict(), plain.state_dict())


# the kind of step -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "on_gpu"), [(None, "recorded"), ("", "recorded"), ("eager", "eager"), ("compiled", "compiled")]
)
def test_a_gpu_replays_unless_the_variable_says_otherwise_and_a_cpu_never_does(value, on_gpu, monkeypatch):
    monkeypatch.delenv(learners.STEP_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(learners.STEP_VARIABLE, value)
    assert learners.choose_step_kind(torch.device("cuda")) == on_gpu
    assert learners.choose_step_kind(torch.device("cpu")) == "eager"


def test_an_unknown_kind_of_step_is_one_clear_error(monkeypatch):
    monkeypatch.setenv(learners.STEP_VARIABLE, "fast")
    with pytest.raises(UserError, match="SYMPHONY2VEC_ALI_STEP is 'fast'; it must be one of eager, recorded, compiled"):
        learners.choose_step_kind(torch.device("cuda"))


@pytest.mark.parametrize(
    ("setting", "change", "kind"),
    [
        ("original", {}, "recorded"),
        ("public", {}, "eager"),
        ("original", {"gate": 3.5}, "eager"),
        ("original", {"instance_noise": 0.1}, "eager"),
        ("original", {"batch_norm": True}, "eager"),
    ],
)
def test_only_an_update_that_does_the_same_work_every_time_is_recorded(
    setting, change, kind, small, source, monkeypatch
):
    monkeypatch.setattr(learners, "choose_step_kind", lambda device: "recorded")
    monkeypatch.setattr(learners, "CudaGraph", lambda game, rngs: Repeated())
    own = getattr(small.ali, setting).model_copy(update=change)
    ali_learner = AliLearner(source, TRAINING, LATENT, own, small.ali.crop, 3, 0)
    assert ali_learner.step_kind == kind
    assert (ali_learner._replay is not None) == (kind == "recorded")


# compiled networks ----------------------------------------------------------------------------------------------------


def game(compiler: str = "") -> Game:
    parts = networks.Encoder(LATENT), networks.Generator(LATENT), networks.Discriminator(LATENT)
    for part in parts:
        networks.initialise(part, torch.Generator().manual_seed(0))
    return Game(*parts, 1e-4, 1e-4, (0.5, 0.999), compiler=compiler)


def test_the_networks_that_learn_are_those_that_are_compiled(monkeypatch):
    calls: list[str] = []

    def compile_network(network: torch.nn.Module, backend: str, dynamic: bool) -> Callable[..., Any]:
        def forward(*inputs: Tensor) -> Any:
            calls.append(f"{type(network).__name__} {backend}")
            return network(*inputs)

        return forward

    monkeypatch.setattr(torch, "compile", compile_network)
    plain, other = game(), game("inductor")
    x, z, noise = torch.rand(2, 1, 32, 32), *torch.randn(2, 2, LATENT)
    for played in (plain, other):
        torch.manual_seed(0)
        played.step(x, z, noise)
    assert sorted(calls) == ["Discriminator inductor", "Encoder inductor", "Generator inductor"]
    for name in ("encoder", "generator", "discriminator"):
        assert_equal(getattr(other, name).state_dict(), getattr(plain, name).state_dict())


def test_compiled_dropout_keeps_the_mean_and_drops_at_its_rate(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.manual_seed(0)
    dropped = networks.apply_dropout(torch.ones(20, 50, 10, 10), 0.2)
    assert dropped.unique().tolist() == [0.0, 1.25]
    assert (dropped == 0).double().mean().item() == pytest.approx(0.2, abs=0.006)


# the recorder of a GPU, without one -----------------------------------------------------------------------------------


class Graph:
    """A CUDA graph that only counts."""

    def __init__(self) -> None:
        self.generators: list[torch.Generator] = []
        self.replays = 0

    def register_generator_state(self, generator: torch.Generator) -> None:
        self.generators.append(generator)

    def replay(self) -> None:
        self.replays += 1


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The graphs in the order in which they are created."""
    created_graphs: list[Graph] = []

    def create() -> Graph:
        graph = Graph()
        created_graphs.append(graph)
        return graph

    @contextmanager
    def recording(current: Graph) -> Iterator[None]:
        assert current.generators  # torch refuses random numbers of a generator that is registered later
        try:
            yield
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904 - as torch does

    monkeypatch.setattr(torch.cuda, "Stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", create)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    return created_graphs


def capturable(played: Game) -> set[bool]:
    optimisers = (played.discriminator_optimiser, played.generator_optimiser)
    return {group["capturable"] for optimiser in optimisers for group in optimiser.param_groups}


def test_the_optimisers_are_capturable_while_a_graph_records_them_and_in_no_checkpoint(graphs):
    played, generator, flags = game(), torch.Generator(), []

    def work() -> Tensor:
        flags.append(capturable(played))
        return torch.ones(4)

    replay = CudaGraph(played, [generator]).record(work)
    assert flags == [{True}]
    assert capturable(played) == {False}
    assert graphs[0].generators == [generator]
    assert graphs[0].replays == 0
    assert replay() is replay()
    assert graphs[0].replays == 2
    assert len(flags) == 1


def test_what_cannot_be_recorded_is_one_clear_error_with_the_way_out(graphs):
    played = game()

    def work() -> Tensor:
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be ...")

    with pytest.raises(UserError, match=r"stream is capturing\); set SYMPHONY2VEC_ALI_STEP=eager and run the same"):
        CudaGraph(played, [torch.Generator()]).record(work)
    assert capturable(played) == {False}
