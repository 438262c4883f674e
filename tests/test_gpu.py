"""A GPU computes what the CPU computes. `pytest -m gpu` runs these tests; without a GPU they are skipped.

`SYMPHONY2VEC_GPU_TESTS=cpu` compares the CPU with itself, which tests only the tests.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import temporal_ranks as one_rank
from conftest import ROOT
from symphony2vec import params
from symphony2vec.models.ali import crops
from symphony2vec.models.ali import learner as ali
from symphony2vec.models.ali import networks as ali_networks
from symphony2vec.models.ali.losses import Game
from symphony2vec.models.classifiers import networks as classifiers
from symphony2vec.models.classifiers.learner import ClassifierLearner
from symphony2vec.models.embeddings import networks as autoencoders
from symphony2vec.models.embeddings import pca
from symphony2vec.models.embeddings.learner import AutoencoderLearner
from symphony2vec.models.temporal import devices, networks, ranks
from symphony2vec.models.temporal.devices import Devices
from symphony2vec.models.temporal.learner import TemporalLearner
from symphony2vec.models.temporal.supervised import SupervisedLearner
from symphony2vec.models.training import loop, precision
from symphony2vec.models.training.source import Source
from symphony2vec.package import contents, saving, scaling
from symphony2vec.package.model import Model
from symphony2vec.params import Crop, Params
from symphony2vec.tracking import RunIdentity

NAME = os.environ.get("SYMPHONY2VEC_GPU_TESTS", "cuda")
CPU, DEVICE = torch.device("cpu"), torch.device(NAME)
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(NAME == "cuda" and not torch.cuda.is_available(), reason="PyTorch sees no GPU"),
]
BATCH, BINS, FRAMES, LATENT, COMPOSERS = 8, 64, 431, 16, 3
FORWARD, GRADIENT = 1e-4, 1e-3  # relative errors in float32; TF32 alone makes some 3e-4
GOLDEN = 1e-4  # of a vector's norm
ROWS = np.arange(BATCH)
CODES = np.arange(BATCH) % COMPOSERS
MIDDLE = Crop(bands="low", frames="middle")
SHAPE = (LATENT, 4, 4, BINS)  # D, Z, width and F of the temporal networks


@pytest.fixture(autouse=True)
def _float32() -> Iterator[None]:
    """No TF32, and convolutions that add in a fixed order."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic
    cudnn.allow_tf32, cudnn.deterministic = False, True
    yield
    cudnn.allow_tf32, cudnn.deterministic = before


@pytest.fixture(scope="module")
def study_params() -> Params:
    return params.read(ROOT / "params.yaml")


def relative_error(result: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """The norm of the difference of two lists of tensors, divided by the norm of the second."""
    one, other = (torch.cat([part.detach().cpu().double().flatten() for part in parts]) for parts in (result, expected))
    assert torch.isfinite(one).all()
    return float((one - other).norm() / other.norm())


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def decibels(count: int = BATCH, frames: int = FRAMES) -> np.ndarray:
    """Mel spectrograms (clips, F, T) in dB, each clip with its own level."""
    rng = np.random.default_rng(0)
    level = rng.uniform(-60.0, -20.0, (count, BINS, 1))
    return np.clip(level + rng.normal(0.0, 5.0, (count, BINS, frames)), -80.0, 0.0).astype(np.float32)


def source(device: torch.device, kind: str = "unit") -> Source:
    array = decibels()
    scalings = {
        "unit": scaling.unit("mel", BINS, 80.0),
        "symmetric": scaling.symmetric("mel", array, ROWS, 80.0),
        "standard": scaling.standard(array, ROWS),
    }
    return Source(array, scalings[kind], device)


# forward passes -------------------------------------------------------------------------------------------------------

Case = tuple[nn.Module, tuple[Tensor, ...]]


def ali_case(network: nn.Module, *inputs: Tensor) -> Case:
    ali_networks.initialise(network, torch.Generator().manual_seed(0))
    return network, inputs


def classifier(kind: str, representation: str, bins: int) -> Case:
    chunk_frames = 36 if kind == "lstm" else 0
    network = classifiers.Classifier(kind, representation, (bins, FRAMES), COMPOSERS, chunk_frames)
    return network, (normal(BATCH, bins, FRAMES),)


def projection() -> Case:
    network = pca.Projection(200, LATENT)
    network.load_state_dict({"components": normal(LATENT, 200), "mean": normal(200, seed=1)})
    return network, (normal(BATCH, 200, seed=2),)


CROP, Z = torch.rand(BATCH, 1, 32, 32, generator=torch.Generator().manual_seed(1)), normal(BATCH, LATENT, seed=2)
VIEW, C, STEPS = normal(BATCH, BINS, 208), normal(BATCH, LATENT, seed=3), normal(BATCH, 13, 4, seed=4)
CASES: dict[str, Callable[[], Case]] = {
    "ALI's encoder": lambda: ali_case(ali_networks.Encoder(LATENT), CROP),
    "ALI's generator": lambda: ali_case(ali_networks.Generator(LATENT), Z),
    "ALI's discriminator": lambda: ali_case(ali_networks.Discriminator(LATENT, 0.0), CROP, Z),
    "ALI's discriminator with batch norm": lambda: ali_case(ali_networks.Discriminator(LATENT, 0.0, True), CROP, Z),
    "ALI's encoder as a classifier": lambda: ali_case(crops.EncoderClassifier(LATENT, "low", COMPOSERS), CROP),
    "temporal encoder": lambda: (networks.Encoder(*SHAPE), (VIEW,)),
    "temporal generator": lambda: (networks.Generator(*SHAPE), (C, STEPS)),
    "temporal discriminator": lambda: (networks.Discriminator(*SHAPE, True), (VIEW, C, STEPS)),
    "temporal projection": lambda: (networks.ProjectionHead(LATENT), (C,)),
    "temporal classifier": lambda: (networks.ClipClassifier(*SHAPE, COMPOSERS), (VIEW,)),
    "autoencoder": lambda: (autoencoders.Autoencoder(200, LATENT), (normal(BATCH, 200),)),
    "autoencoder's encoder": lambda: (autoencoders.Encoder(200, LATENT, True), (normal(BATCH, 200),)),
    **{
        f"{kind} of the {representation}": partial(classifier, kind, representation, bins)
        for kind in ("ff", "cnn", "fair_cnn", "lstm")
        for representation, bins in (("mel", 64), ("mfcc", 13), ("chroma", 12))
    },
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", CASES)
def test_a_forward_pass_is_that_of_the_cpu(name, training):
    torch.manual_seed(0)
    network, inputs = CASES[name]()
    other = copy.deepcopy(network).to(DEVICE)
    expected = network.train(training)(*inputs)
    result = other.train(training)(*(value.to(DEVICE) for value in inputs))
    parts = [one if isinstance(one, tuple) else (one,) for one in (result, expected)]
    assert parts[0][0].device.type == DEVICE.type
    assert relative_error(*parts) < FORWARD


def test_pca_is_that_of_the_cpu():
    network, (x,) = projection()
    assert relative_error([copy.deepcopy(network).to(DEVICE).encode(x.to(DEVICE))], [network.encode(x)]) < FORWARD


# steps ----------------------------------------------------------------------------------------------------------------


def gradients(*parts: nn.Module) -> list[Tensor]:
    return [parameter.grad for part in parts for parameter in part.parameters() if parameter.grad is not None]


def game_gradients(device: torch.device) -> list[Tensor]:
    parts = ali_networks.Encoder(LATENT), ali_networks.Generator(LATENT), ali_networks.Discriminator(LATENT, 0.0)
    for part in parts:
        ali_case(part)
        part.to(device)
    values = (value.to(device) for value in (CROP, Z, normal(BATCH, LATENT, seed=5)))
    Game(*parts, 1e-4, 1e-4, (0.5, 0.999)).step(*values)
    return [gradient for part in parts for gradient in normalise(gradients(part))]


def normalise(tensors: list[Tensor]) -> list[Tensor]:
    """Tensors of norm 1 together: the gradient of one network does not hide that of another."""
    norm = torch.cat([tensor.flatten() for tensor in tensors]).norm()
    assert norm > 0.0
    return [tensor / norm for tensor in tensors]


def ali_encoder_gradients(study_params: Params, device: torch.device) -> list[Tensor]:
    learner = ali.EncoderLearner(source(device), CODES, LATENT, COMPOSERS, study_params.ali.encoder, MIDDLE, 0)
    learner.step(ROWS)
    return gradients(learner.network)


def classifier_gradients(kind: str, study_params: Params, device: torch.device) -> list[Tensor]:
    identity, settings = RunIdentity("classifiers", kind, "mel", "work-0"), getattr(study_params.classifiers, kind)
    learner = ClassifierLearner(identity, source(device, "standard"), CODES, COMPOSERS, settings, 0)
    learner.step(ROWS)
    return gradients(learner.network)


def autoencoder_gradients(kind: str, study_params: Params, device: torch.device) -> list[Tensor]:
    settings = getattr(study_params.embeddings, kind)
    learner = AutoencoderLearner(kind, source(device, "symmetric"), LATENT, settings, 0)
    learner.rng = torch.Generator().manual_seed(0)  # the noise of both comes from the CPU
    learner.step(ROWS)
    return gradients(learner.network)


def labels_gradients(device: torch.device) -> list[Tensor]:
    clips_source = Source(one_rank.clips(), one_rank.SCALING, device)
    setting = one_rank.setting()
    codes = np.arange(one_rank.CLIPS) % COMPOSERS
    learner = SupervisedLearner(clips_source, codes, LATENT, COMPOSERS, setting, 5, Devices(0, 1, device))
    learner.step(one_rank.ROWS)
    return gradients(learner.network)


GRADIENTS: dict[str, Callable[[Params, torch.device], list[Tensor]]] = {
    "ALI": lambda study_params, device: game_gradients(device),
    "ALI's encoder with labels": ali_encoder_gradients,
    "temporal encoder with labels": lambda study_params, device: labels_gradients(device),
    **{kind: partial(classifier_gradients, kind) for kind in ("ff", "cnn", "fair_cnn", "lstm")},
    **{kind: partial(autoencoder_gradients, kind) for kind in ("ae", "cae", "vae")},
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_gradients_of_an_update_are_those_of_the_cpu(name, study_params):
    result, expected = (GRADIENTS[name](study_params, device) for device in (DEVICE, CPU))
    assert {gradient.device.type for gradient in result} == {DEVICE.type}
    assert relative_error(result, expected) < GRADIENT


def test_the_gradients_of_the_temporal_model_are_those_of_the_cpu_in_double_precision():
    by_device = []
    for device in (DEVICE, CPU):
        learner = one_rank.exact(Devices(0, 1, device))
        learner.step(one_rank.ROWS)
        by_device.append(one_rank.gradients(learner))
    assert by_device[0].keys() == by_device[1].keys()
    assert relative_error(by_device[0].values(), by_device[1].values()) < 1e-8


def temporal(devices_used: Devices) -> TemporalLearner:
    clips_source, setting = Source(one_rank.clips(), one_rank.SCALING, devices_used.device), one_rank.setting()
    learner = TemporalLearner(clips_source, one_rank.ROWS, np.arange(one_rank.CLIPS), LATENT, setting, 5, devices_used)
    rng = torch.Generator().manual_seed(9)
    learner._sample_noise = lambda shape: torch.randn(shape, generator=rng).to(devices_used.device)  # type: ignore[method-assign]
    return learner


# ALI's recorded update ------------------------------------------------------------------------------------------------


def ali_learner(study_params: Params, kind: str, monkeypatch: pytest.MonkeyPatch) -> ali.AliLearner:
    monkeypatch.setenv(ali.STEP_VARIABLE, kind)
    return ali.AliLearner(source(DEVICE), ROWS, LATENT, study_params.ali.original, study_params.ali.crop, 10, 0)


def test_a_recorded_update_is_the_update(study_params, monkeypatch):
    curves, learners, random_states = [], [], []
    for kind in ("eager", "recorded"):
        learner = ali_learner(study_params, kind, monkeypatch)
        torch.manual_seed(3)
        losses = [learner.step(np.random.default_rng(number).permutation(ROWS)) for number in range(20)]
        curves.append(torch.stack([torch.stack([*update.values()]) for update in losses]).cpu())
        learners.append(learner)
        random_states.append((torch.rand(4, device=DEVICE).cpu(), learner.rng.get_state()))
    eager, recorded = learners
    assert recorded.step_kind == ("recorded" if NAME == "cuda" else "eager")
    assert recorded._replay is None or recorded._replay.is_recorded
    for one, other in zip(*random_states, strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(curves[1], curves[0], rtol=0.0, atol=1e-3)
    assert len(curves[1].unique(dim=0)) == 20
    for name, network in recorded._networks.items():
        assert relative_error(network.state_dict().values(), eager._networks[name].state_dict().values()) < GRADIENT


# checkpoints ----------------------------------------------------------------------------------------------------------


def interrupt_at(learner: Any, update: int) -> Any:
    """The learner, whose training is interrupted before this update."""
    step, count = learner.step, iter(range(1, 999))

    def interrupt(rows: np.ndarray) -> Mapping[str, Tensor]:
        if next(count) == update:
            raise KeyboardInterrupt
        losses: Mapping[str, Tensor] = step(rows)
        return losses

    learner.step = interrupt
    return learner


def fit(learner: Any, folder: Path) -> list[dict[str, float]]:
    folder.mkdir(exist_ok=True)
    rows, schedule = np.arange(BATCH), loop.Schedule(6, 4, 0)  # two updates an epoch
    return loop.fit(learner, rows, schedule, "test", folder, lambda epoch: {}, lambda row: None, 0.0)


@pytest.mark.parametrize("name", ["ALI", "temporal"])
def test_a_training_that_was_stopped_goes_on_to_the_same_end(name, study_params, monkeypatch, tmp_path):
    def create() -> Any:
        if name == "ALI":
            return ali_learner(study_params, "recorded", monkeypatch)
        setting = one_rank.setting(batch=4, generator_batch=4, crop_frames=16, mask_bins=4, level_shift=0.1)
        clips_source = Source(one_rank.clips(), one_rank.SCALING, DEVICE)
        groups = np.arange(one_rank.CLIPS) // 3
        return TemporalLearner(clips_source, ROWS, groups, LATENT, setting, 5, Devices(0, 1, DEVICE))

    whole, resumed = create(), create()
    curves = fit(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(interrupt_at(create(), 8), tmp_path / "stopped")
    again = fit(resumed, tmp_path / "stopped")
    assert [row["update"] for row in again] == [row["update"] for row in curves]
    for row, expected in zip(again, curves, strict=True):
        assert row == {key: pytest.approx(value, rel=1e-2, abs=1e-2) for key, value in expected.items()}
    assert torch.equal(resumed.rng.get_state(), whole.rng.get_state())
    for key, network in resumed._networks.items():
        assert relative_error(network.state_dict().values(), whole._networks[key].state_dict().values()) < 1e-2


# packages -------------------------------------------------------------------------------------------------------------

TrainedNetwork = tuple[nn.Module, Mapping[str, Any], scaling.Scaling]


def train_ali(study_params: Params) -> TrainedNetwork:
    learner = ali.AliLearner(source(DEVICE), ROWS, LATENT, study_params.ali.original, study_params.ali.crop, 10, 0)
    for _ in range(5):
        learner.step(ROWS)
    network = crops.CropEncoder(LATENT, "low")
    network.encoder.load_state_dict(learner.encoder.state_dict())
    arguments = {"latent": LATENT, "bands": "low"}
    build = {"module": crops.__name__, "name": "CropEncoder", "arguments": arguments, "method": "encode_crops"}
    return network, build, scaling.unit("mel", BINS, 80.0)


def train_temporal(study_params: Params) -> TrainedNetwork:
    setting = study_params.temporal.full.model_copy(
        update={"width": 4, "step_latent": 4, "batch": BATCH, "generator_batch": 4}
    )
    clip_scaling = scaling.standard(decibels(), ROWS)
    clips_source = Source(decibels(), clip_scaling, DEVICE)
    learner = TemporalLearner(clips_source, ROWS, ROWS // 2, LATENT, setting, 0, Devices(0, 1, DEVICE))
    for _ in range(5):
        learner.step(ROWS)
    arguments = dict(zip(("latent", "step_latent", "width", "bins"), SHAPE, strict=True))
    build = {"module": networks.__name__, "name": "ClipEncoder", "arguments": arguments, "method": "encode"}
    return learner.build_clip_encoder(), build, clip_scaling


def train_vae(study_params: Params) -> TrainedNetwork:
    learner = AutoencoderLearner("vae", source(DEVICE, "symmetric"), LATENT, study_params.embeddings.vae, 0)
    learner.step(ROWS)
    return learner.network.encoder, learner.build, scaling.symmetric("mel", decibels(), ROWS, 80.0)


def train_lstm(study_params: Params) -> TrainedNetwork:
    identity, clip_scaling = RunIdentity("classifiers", "lstm", "mel", "work-0"), scaling.standard(decibels(), ROWS)
    learner = ClassifierLearner(
        identity, Source(decibels(), clip_scaling, DEVICE), CODES, 3, study_params.classifiers.lstm, 0
    )
    learner.step(ROWS)
    return learner.network, learner.build, clip_scaling


@pytest.mark.parametrize("train", [train_ali, train_temporal, train_vae, train_lstm])
def test_a_package_made_on_a_gpu_gives_the_vectors_of_the_network_on_the_gpu(train, study_params, tmp_path):
    network, build, clip_scaling = train(study_params)
    assert next(network.parameters()).device.type == DEVICE.type
    on_device = copy.deepcopy(network).eval()  # writing the package moves the network to the CPU
    subject = {"stage": "temporal", "model": "test", "representation": "mel", "fold": "work-0"}
    data = {"corpus": "made", "sides": {}, "composers": {}, "orchestration": "", "licences": []}
    frontend = saving.frontend_config(study_params, "mel")
    config = contents.Config(subject, "", build, clip_scaling.as_plain(), frontend, [], data)
    saving.write_files(tmp_path, network, config)

    def run_on_device(x: np.ndarray) -> np.ndarray:
        with precision.evaluation():
            return getattr(on_device, build["method"])(torch.from_numpy(x).to(DEVICE)).float().cpu().numpy()

    torch.backends.cudnn.allow_tf32 = True  # PyTorch's default, which an evaluation overrides
    expected = contents.read(tmp_path, Model, run_on_device).embed_file(tmp_path / contents.EXAMPLE).vectors
    vectors = contents.read(tmp_path, Model).embed_file(tmp_path / contents.EXAMPLE).vectors
    norms = np.linalg.norm(expected, axis=1)
    assert (norms > 0.0).all()
    for others in (np.load(tmp_path / contents.GOLDEN), vectors):
        assert others.shape == expected.shape
        assert (np.linalg.norm(others - expected, axis=1) < GOLDEN * norms).all()


# bfloat16 and compiled: last, since compiling takes a while ---------------------------------------------------------


def test_the_temporal_model_learns_in_bfloat16_and_compiled_what_it_learns_in_float32():
    plain, fast = temporal(Devices(0, 1, CPU)), temporal(devices.single_device(DEVICE))
    assert NAME == "cpu" or fast._devices.bf16 == torch.cuda.is_bf16_supported(including_emulation=False)
    for _ in range(3):
        losses, expected = fast.step(one_rank.ROWS), plain.step(one_rank.ROWS)
        for name, value in expected.items():
            assert float(losses[name]) == pytest.approx(float(value), rel=0.05, abs=0.02), name


# several GPUs ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="two ranks need two GPUs")
def test_two_gpus_make_the_gradients_that_one_makes(tmp_path):
    observe = partial(one_rank.observe, tmp_path)
    with ranks.launch(2, observe, "test") as first:
        observe(first)
    pair = [torch.load(tmp_path / f"{rank}.pt", map_location="cpu") for rank in range(2)]
    single = one_rank.observed(Devices(0, 1, DEVICE))
    for rank in pair:
        assert rank["gradients"].keys() == single["gradients"].keys()
        assert relative_error(rank["gradients"].values(), single["gradients"].values()) < 1e-8
        assert relative_error(rank["statistics"].values(), single["statistics"].values()) < 1e-8
    for one, other in zip(pair[0]["losses"], pair[1]["losses"], strict=True):
        assert {name: float(value) for name, value in one.items()} == {k: float(v) for k, v in other.items()}
