"""HEAR's interface: shapes, types and times; a sound's vectors are its own, whatever lies beside it in the batch."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import random_packages
from conftest import client
from symphony2vec import hear, registry, tracking
from symphony2vec.embedder import Embedder, Embedding
from symphony2vec.errors import UserError
from symphony2vec.features.recipe import Recipe
from symphony2vec.models.embeddings.networks import Encoder
from symphony2vec.package import contents, scaling
from symphony2vec.params import Features
from symphony2vec.project import Project

ROOT = Path(__file__).resolve().parents[1]
VALIDATOR = ROOT / ".venv-hear" / "bin" / "hear-validator"
RATE_HZ, WINDOW_S, DIMENSIONS = 16000, 1.0, 6


@pytest.fixture(scope="module")
def package(tmp_path_factory, settings) -> Path:
    """What a run logs of an untrained encoder that hears one second, without what MLflow needs to serve it."""
    features = settings["features"] | {"mel_bands": 16}
    bands, frames = Recipe(RATE_HZ, WINDOW_S, Features(**features)).shapes["mel"]
    torch.manual_seed(0)
    arguments = {"values": bands * frames, "dimensions": DIMENSIONS}
    network = Encoder(**arguments)
    level = {"loudness_lufs": -23.0, "peak_dbfs": -1.0, "silence_db": 60.0}
    config = contents.Config(
        subject={"stage": "embeddings", "model": "ae", "representation": "mel", "fold": "work-0"},
        readout="",
        build={
            "module": Encoder.__module__, "name": "Encoder", "arguments": arguments, "method": "encode", "flatten": True
        },
        scaling=scaling.unit("mel", bands, 80.0).as_plain(),
        frontend={
            "representation": "mel", "sample_rate_hz": RATE_HZ, "duration_s": WINDOW_S, "minimum_fill": 0.5,
            "level": level, "features": features,
        },
        composers=[],
        data={},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("package")
    (folder / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    return random_packages.write(folder, network, config)


@pytest.fixture(scope="module")
def model(package: Path) -> hear.Model:
    return hear.load_model(str(package))


def noise(sounds: int, seconds: float) -> torch.Tensor:
    return 2.0 * torch.rand((sounds, round(seconds * RATE_HZ)), generator=torch.Generator().manual_seed(0)) - 1.0


def both(audio: torch.Tensor, model: hear.Model) -> torch.Tensor:
    """(B, 1 + T, D): the scene's vector and those of the timestamps."""
    scene, (timed, _) = hear.get_scene_embeddings(audio, model), hear.get_timestamp_embeddings(audio, model)
    return torch.cat([scene[:, None], timed], dim=1)


def test_a_model_is_a_torch_module_that_says_rate_and_sizes(model, package):
    assert isinstance(model, torch.nn.Module)
    assert model.sample_rate == RATE_HZ
    assert type(model.scene_embedding_size) is type(model.timestamp_embedding_size) is int
    assert model.scene_embedding_size == model.timestamp_embedding_size == DIMENSIONS
    assert repr(model) == f"Model(ae-mel work-0, {package})"


@pytest.mark.parametrize(
    ("own_hz", "hear_hz"), [(8000, 16000), (22050, 22050), (24000, 44100), (44100, 44100), (96000, 48000)]
)
def test_a_model_of_any_rate_asks_for_one_that_hear_has(own_hz, hear_hz):
    assert hear.Model(SimpleNamespace(sample_rate_hz=own_hz, dimensions=4)).sample_rate == hear_hz


def test_the_vectors_are_those_of_the_embedder(model, package):
    audio, embedder = noise(2, 2.3), Embedder.load(package)
    scene, (timed, times_ms) = hear.get_scene_embeddings(audio, model), hear.get_timestamp_embeddings(audio, model)
    for index, wave in enumerate(audio.numpy()):
        whole = embedder.embed(wave, RATE_HZ, form="recording")
        pieces = embedder.embed(wave, RATE_HZ, form="timestamps", hop_s=0.05)
        assert np.array_equal(scene[index], whole.vectors[0])
        assert np.array_equal(timed[index], pieces.vectors)
        assert times_ms[index].numpy() == pytest.approx(1000.0 * (pieces.starts_s + pieces.ends_s) / 2.0)


def test_a_scene_has_one_vector(model):
    vectors = hear.get_scene_embeddings(noise(3, 2.5), model)
    assert vectors.shape == (3, DIMENSIONS)
    assert vectors.dtype == torch.float32
    assert not vectors.requires_grad
    assert torch.equal(model(noise(3, 2.5)), vectors)


def test_timestamps_are_the_middles_of_fifty_milliseconds_each(model):
    vectors, times_ms = hear.get_timestamp_embeddings(noise(2, 2.0), model)
    assert vectors.shape == (2, 40, DIMENSIONS)
    assert vectors.dtype == times_ms.dtype == torch.float32
    assert not vectors.requires_grad
    assert times_ms.tolist() == [[25.0 + 50.0 * step for step in range(40)]] * 2


def test_timestamps_stay_exact_to_the_end_of_twenty_minutes():
    starts_s = 0.05 * np.arange(24000)
    found = Embedding(np.zeros((24000, 4), np.float32), starts_s, starts_s + 0.05)
    embedder = SimpleNamespace(sample_rate_hz=RATE_HZ, dimensions=4, embed=lambda *args, **options: found)
    _, times_ms = hear.get_timestamp_embeddings(noise(1, 0.2), hear.Model(embedder))
    assert torch.equal(times_ms.diff(), torch.full((1, 23999), 50.0))


def test_a_click_is_heard_at_its_own_time(model):
    audio = torch.zeros(1, 5 * RATE_HZ)
    audio[0, 3 * RATE_HZ] = 1.0
    vectors, times_ms = hear.get_timestamp_embeddings(audio, model)
    silent = torch.isclose(vectors, vectors[:, :1]).all(dim=2)
    heard_ms = times_ms[~silent]
    assert heard_ms.min() == pytest.approx(2500.0, abs=80.0)
    assert heard_ms.max() == pytest.approx(3500.0, abs=80.0)


def test_a_sound_has_the_same_vectors_whatever_lies_beside_it(model):
    audio = noise(4, 1.3)
    audio[1] *= 1e-3
    audio[2] = 0.0
    together = both(audio, model)
    for index in range(4):
        assert torch.equal(both(audio[index : index + 1], model)[0], together[index])
    assert torch.equal(both(audio.flip(0), model), together.flip(0))
    assert len({tuple(row) for row in together[:, 0].tolist()}) == 4


def test_a_louder_sound_has_the_same_vectors(model):
    audio = noise(2, 1.3)
    torch.testing.assert_close(both(0.01 * audio, model), both(audio, model), rtol=0.0, atol=1e-4)


def test_silence_has_a_vector_the_same_at_every_time(model):
    found = both(torch.zeros(2, 2 * RATE_HZ), model)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, found[:1, :1].expand_as(found))


@pytest.mark.parametrize("samples", [1, 100, 1599])
def test_a_sound_too_short_to_hear_is_heard_with_silence_after_it(model, samples):
    audio = noise(2, 1.0)[:, :samples]
    whole = torch.nn.functional.pad(audio, (0, 1600 - samples))
    assert torch.equal(both(audio, model), both(whole, model))
    assert hear.get_timestamp_embeddings(audio, model)[1].tolist() == [[25.0, 75.0]] * 2


def test_no_sounds_have_no_vectors_of_the_right_shape(model):
    audio = noise(0, 1.0)
    assert hear.get_scene_embeddings(audio, model).shape == (0, DIMENSIONS)
    vectors, times_ms = hear.get_timestamp_embeddings(audio, model)
    assert (vectors.shape, times_ms.shape) == ((0, 20, DIMENSIONS), (0, 20))


def test_audio_that_learns_or_of_other_floats_or_strides_is_taken(model):
    audio = noise(2, 1.0)
    wanted = both(audio, model)
    assert torch.equal(both(audio.clone().requires_grad_(), model), wanted)
    assert torch.equal(both(audio.double(), model), wanted)
    assert torch.equal(both(audio.T.contiguous().T, model), wanted)


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (torch.zeros(RATE_HZ), r"got \(16000,\) of torch.float32"),
        (torch.zeros(1, 2, RATE_HZ), r"got \(1, 2, 16000\) of torch.float32"),
        (torch.zeros(2, 0), r"got \(2, 0\) of torch.float32"),
        (torch.zeros(2, RATE_HZ, dtype=torch.int16), r"of torch.int16"),
    ],
)
def test_anything_but_sounds_of_samples_is_refused(model, audio, reason):
    for wanted in (hear.get_scene_embeddings, hear.get_timestamp_embeddings):
        with pytest.raises(UserError, match=rf"^HEAR's audio is \(sounds, samples\).*{reason}"):
            wanted(audio, model)


def test_samples_that_are_no_numbers_are_refused(model):
    audio = noise(2, 1.0)
    audio[1, 7] = torch.nan
    with pytest.raises(UserError, match="not numbers"):
        hear.get_scene_embeddings(audio, model)


@pytest.fixture
def inside(tracked: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project, and the current folder is in it."""
    monkeypatch.chdir(tracked.root)
    return tracked


def test_without_a_name_it_is_the_champion_of_the_project(inside, package):
    with tracking.start_run(
        inside, tracking.RunIdentity("embeddings", "ae", "mel", "work-0"), {}, inside.params
    ) as opened:
        opened.log_model(package, "model")
    known = client(inside)
    known.create_registered_model(registry.MODEL)
    made = known.create_model_version(registry.MODEL, f"runs:/{opened.run_id}/model", opened.run_id)
    known.set_registered_model_alias(registry.MODEL, registry.CHAMPION, made.version)
    for asked in ((), ("",)):
        assert hear.load_model(*asked).embedder.source == "models:/symphony2vec/1"
    scene = hear.get_scene_embeddings(noise(2, 1.3), hear.load_model())
    assert torch.equal(scene, hear.get_scene_embeddings(noise(2, 1.3), hear.load_model(str(package))))


@pytest.mark.usefixtures("inside")
def test_a_project_without_champion_says_how_to_make_one():
    with pytest.raises(
        UserError, match=r"^no version of 'symphony2vec' in MLflow has the alias champion .*2vec promote"
    ):
        hear.load_model()


@pytest.mark.skipif(not VALIDATOR.is_file(), reason="the HEAR validator is not installed; `make hear` installs it")
def test_the_public_validator_finds_no_fault(package):
    words = [VALIDATOR, "symphony2vec.hear", "--model", package, "--device", "cpu"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Looks good!"
    assert "interval between timestamps less than" not in done.stderr
