"""The learners of the temporal ALI: gradients by two passes, seeds, checkpoints, and what stays untouched."""

from __future__ import annotations

import copy
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from symphony2vec import params
from symphony2vec.models.temporal import learner as learners
from symphony2vec.models.temporal import losses, views
from symphony2vec.models.temporal.learner import SupervisedLearner, TemporalLearner
from symphony2vec.models.training import loop
from symphony2vec.models.training.source import Source
from symphony2vec.package import scaling
from symphony2vec.params import TemporalSetting

CLIPS, BINS, FRAMES, LATENT, BATCH = 32, 16, 70, 3, 8
TRAINING, HELD_OUT = np.arange(24), np.arange(24, 32)
MOVEMENTS = np.arange(CLIPS) // 2
COMPOSERS = np.arange(CLIPS) // 4 % 2
CPU = torch.device("cpu")
SMALL = {"width": 2, "step_latent": 2, "frames": 64, "batch": BATCH, "masked_bins": 3, "masked_frames": 9}
SMALL |= {"adversary": 0.5, "reconstruction": 1.0, "contrast": 0.5, "average": 0.9, "learning_rate": 0.002}
SMALL |= {"shifted_bins": 0}  # of these clips the bands tell who made them
GAME = {"discriminator_loss", "generator_loss", "mean_output_real", "mean_output_generated"}


def spectrograms() -> np.ndarray:
    """(32, 16, 70) in dB, each clip with a level of its own."""
    rng = np.random.default_rng(0)
    level = rng.uniform(-60.0, -20.0, (CLIPS, BINS, 1))
    return np.clip(level + rng.normal(0.0, 5.0, (CLIPS, BINS, FRAMES)), -80.0, 0.0).astype(np.float32)


def source(array: np.ndarray | None = None, kind: type[Source] = Source) -> Source:
    values = spectrograms() if array is None else array
    return kind(values, scaling.standard(values, TRAINING), CPU)


def setting(**changes: Any) -> TemporalSetting:
    """The committed setting `full`, small and with these changes."""
    committed = params.read(Path(__file__).resolve().parents[1] / "params.yaml").temporal.full
    return TemporalSetting.model_validate({**committed.model_dump(), **SMALL, **changes})


def learner(seed: int = 0, given: Source | None = None, **changes: Any) -> TemporalLearner:
    return TemporalLearner(given or source(), TRAINING, MOVEMENTS, LATENT, setting(**changes), seed)


def labels(seed: int = 0, given: Source | None = None, composers: np.ndarray = COMPOSERS) -> SupervisedLearner:
    return SupervisedLearner(given or source(), composers, LATENT, 2, setting(), seed)


def batches(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(1)
    return (rng.permutation(TRAINING)[:BATCH] for _ in range(count))


def taught(made: Any, updates: int = 3) -> Any:
    for rows in batches(updates):
        made.step(rows)
    return made


def flat(state: Any, name: str = "") -> dict[str, Any]:
    """All that is inside nested dicts and lists, by the way to it."""
    if isinstance(state, Mapping | list | tuple):
        pairs = state.items() if isinstance(state, Mapping) else enumerate(state)
        return {key: one for inner, value in pairs for key, one in flat(value, f"{name}/{inner}").items()}
    return {name: state}


def differing(one: Any, other: Any) -> set[str]:
    """The ways to all that is not the same to the bit in two states."""
    a, b = flat(one), flat(other)
    assert a.keys() == b.keys()
    same = {key: torch.equal(a[key], b[key]) if isinstance(a[key], Tensor) else a[key] == b[key] for key in a}
    return {key for key, equal in same.items() if not equal}


def networks_of(made: TemporalLearner) -> dict[str, Any]:
    return copy.deepcopy(dict(made.state()["networks"]))


# the gradients --------------------------------------------------------------------------------------------------------


class Doubled(Source):
    """Clips in double precision."""

    def batch(self, rows: np.ndarray) -> Tensor:
        return super().batch(rows).double()


@pytest.fixture
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def plainly(made: TemporalLearner, given: Source, own: TemporalSetting, rows: np.ndarray) -> dict[str, Any]:
    """The gradients of one step, by name of the network: of each side's whole loss by a backward pass of its own."""
    rng = made.rng
    positives = views.PositiveSampler(MOVEMENTS, TRAINING, own.positives)
    changes = views.Augmentation(own.masked_bins, own.masked_frames, own.shifted_bins, own.level)
    both = np.concatenate([rows, positives.sample(rows, rng)])
    x = views.shift(views.crop(given.batch(both), own.frames, rng, own.tempo), changes, rng)
    heard, count = views.time_frequency_mask(x, changes, rng), len(rows)
    codes = made.encoder(heard)
    makers_loss = own.contrast * losses.info_nce(
        made.projection(codes.c), torch.as_tensor(positives.groups(both)), own.temperature
    )
    c, z = (
        mean[:count] + log_sigma[:count].exp() * torch.randn(mean[:count].shape, generator=rng)
        for mean, log_sigma in ((codes.c, codes.c_log_sigma), (codes.z, codes.z_log_sigma))
    )
    makers_loss = makers_loss + own.reconstruction * l1_loss(made.generator(c, z), x[:count])
    prior_c, prior_z = (torch.randn(code.shape, generator=rng) for code in (c, z))
    x_hat = views.time_frequency_mask(made.generator(prior_c, prior_z), changes, rng)
    pairs = (torch.cat([heard[:count], x_hat]), torch.cat([c, prior_c]), torch.cat([z, prior_z]))
    logits = made.discriminator(*pairs).split(count)
    makers_loss = makers_loss + own.adversary * losses.generator_loss(*logits)
    found = {}
    sides = {
        losses.discriminator_loss(*logits): {"discriminator": made.discriminator},
        makers_loss: {
            "encoder": made.encoder,
            "generator": made.generator,
            "projection": made.projection,
        },
    }
    for loss, owners in sides.items():
        for name, network in owners.items():
            weights = [one for one in network.parameters() if one.numel()]
            found[name] = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"adversary": 3.0, "reconstruction": 0.1},
        {"contrast": 0.0, "reconstruction": 0.0},
        {"unary": False, "positives": "clip"},
        {"step_latent": 0},
        {"shifted_bins": 2, "level": 0.3, "tempo": 0.05},
    ],
    ids=str,
)
@pytest.mark.usefixtures("_double")
def test_a_step_has_the_gradients_of_two_plain_backward_passes(changes):
    given, rows = source(kind=Doubled), TRAINING[::3]
    made, other = (learner(given=given, **changes) for _ in range(2))
    expected = plainly(other, given, setting(**changes), rows)
    made.step(rows)
    owners = {
        "discriminator": made.discriminator, "encoder": made.encoder,
        "generator": made.generator, "projection": made.projection,
    }  # fmt: skip
    for name, network in owners.items():
        weights = {key: one for key, one in network.named_parameters() if one.numel()}
        for (key, weight), slope in zip(weights.items(), expected[name], strict=True):
            got = torch.zeros_like(weight) if weight.grad is None else weight.grad
            wanted = torch.zeros_like(weight) if slope is None else slope
            torch.testing.assert_close(
                got, wanted, rtol=1e-9, atol=1e-10, msg=lambda text, at=f"{name} {key}": at + text
            )
    largest = {name: max((float(one.abs().max()) for one in all_ if one is not None), default=0.0)
               for name, all_ in expected.items()}  # fmt: skip
    assert min(value for name, value in largest.items() if name != "projection") > 1e-4


# what a step tells and touches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("away", "untouched", "told"),
    [
        ((), set(), {"contrast", "reconstruction"} | GAME),
        (("adversary",), {"discriminator"}, {"contrast", "reconstruction"}),
        (("contrast",), {"projection"}, {"reconstruction"} | GAME),
        (("reconstruction",), set(), {"contrast"} | GAME),
        (("adversary", "reconstruction"), {"generator", "discriminator"}, {"contrast"}),
        (("adversary", "contrast"), {"discriminator", "projection"}, {"reconstruction"}),
    ],
)
def test_a_part_without_weight_leaves_its_network_as_it_was_and_tells_nothing(away, untouched, told):
    made = learner(**dict.fromkeys(away, 0.0))
    before = networks_of(made)
    for rows in batches(2):
        assert set(made.step(rows)) == told
    after = networks_of(made)
    assert {name for name in before if not differing(before[name], after[name])} == untouched
    assert made.trains_generator == ("generator" not in untouched)


def test_an_untrained_discriminator_cannot_tell():
    said = learner().step(TRAINING[:BATCH])
    assert float(said["discriminator_loss"]) == pytest.approx(2 * np.log(2), rel=0.1)
    for side in ("real", "generated"):
        assert float(said[f"mean_output_{side}"]) == pytest.approx(0.5, abs=0.1)


def test_contrast_and_reconstruction_are_learnt():
    made = learner(adversary=0.0, learning_rate=0.02)
    told = [made.step(TRAINING[index::3]) for _ in range(50) for index in range(3)]
    for name, share in (("contrast", 0.9), ("reconstruction", 0.95)):
        first, last = (sum(float(one[name]) for one in part) for part in (told[:12], told[-12:]))
        assert last < share * first, name


# seeds and checkpoints ------------------------------------------------------------------------------------------------

MAKERS = {"temporal": learner, "labels": labels}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_seed_decides_the_weights_to_the_bit(kind):
    make = MAKERS[kind]
    first = taught(make()).state()
    assert not differing(first, taught(make()).state())
    assert differing(first, taught(make(seed=1)).state())


@pytest.mark.parametrize("kind", MAKERS)
def test_what_was_restored_goes_on_to_the_same_bits(kind):
    make = MAKERS[kind]
    made, held = taught(make(), 2), io.BytesIO()
    torch.save({"state": made.state(), "generator": made.rng.get_state()}, held)
    held.seek(0)
    kept = torch.load(held, weights_only=True)
    other = taught(make(seed=5), 1)
    other.restore(kept["state"])
    other.rng.set_state(kept["generator"])
    assert not differing(made.state(), other.state())
    assert not differing(taught(made).state(), taught(other).state())
    assert differing(made.state(), kept["state"])


def fit(made: Any, kept: Path, every_s: float = 0.0) -> list[dict[str, float]]:
    """Three epochs of three updates."""
    schedule = loop.Schedule(3, BATCH, seed=0, evaluate_every=2)
    look = lambda epoch: made.evaluate(HELD_OUT)  # noqa: E731
    return loop.fit(made, TRAINING, schedule, "tiny", kept, look, lambda row: None, every_s)


def talk(folder: str) -> None:
    """What the killed process runs: a training that says each update and writes down what it found."""
    torch.set_num_threads(1)
    made = learner()
    step = made.step

    def slow(rows: np.ndarray) -> Mapping[str, Tensor]:
        print("update", flush=True)
        time.sleep(0.01)
        return step(rows)

    made.step = slow  # type: ignore[method-assign]
    curves = fit(made, Path(folder))
    torch.save({"state": made.state(), "curves": curves}, Path(folder, "found.pt"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_training_started_again_ends_in_the_same_bits(tmp_path):
    words = [sys.executable, "-c", f"import test_temporal_learner as t; t.talk({str(tmp_path / 'killed')!r})"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    begin = partial(subprocess.Popen, words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    (tmp_path / "killed").mkdir()
    with begin() as process:
        for _ in range(5):  # the fifth update has begun, in the middle of the second epoch
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "checkpoint.pt").is_file()
    with begin() as process:
        again = len(process.stdout.read().split())
    assert process.returncode == 0
    assert 4 <= again <= 6
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = learner()
    curves = fit(made, tmp_path, 60.0)
    torch.set_num_threads(threads)
    found = torch.load(tmp_path / "killed" / "found.pt", weights_only=True)
    assert found["curves"] == curves
    assert not differing(found["state"], made.state())


@pytest.mark.parametrize("kind", MAKERS)
def test_clips_that_are_held_out_do_not_reach_the_weights(kind, tmp_path):
    make, other = MAKERS[kind], spectrograms()
    other[HELD_OUT] = np.random.default_rng(9).uniform(-80.0, 0.0, (len(HELD_OUT), BINS, FRAMES))
    made, changed = (make(given=source(array)) for array in (None, other))
    for one, name in ((made, "a"), (changed, "b")):
        (tmp_path / name).mkdir()
        fit(one, tmp_path / name, 60.0)
    assert not differing(made.state(), changed.state())
    assert made.evaluate(HELD_OUT) != changed.evaluate(HELD_OUT)


def test_the_composers_of_held_out_clips_do_not_reach_the_yardstick():
    other = COMPOSERS.copy()
    other[HELD_OUT] = 1 - other[HELD_OUT]
    made, changed = taught(labels()), taught(labels(composers=other))
    assert not differing(made.state(), changed.state())
    assert made.evaluate(HELD_OUT) != changed.evaluate(HELD_OUT)


# what is asked afterwards ---------------------------------------------------------------------------------------------


def test_what_encodes_is_the_moving_average_of_the_encoder():
    made = learner(average=0.6)
    average: dict[str, Tensor] = {}
    for number, rows in enumerate(batches(4)):
        made.step(rows)
        now = {name: one.clone() for name, one in made.encoder.state_dict().items() if one.is_floating_point()}
        average = {name: 0.6 * average[name] + 0.4 * one if number else one for name, one in now.items()}
    network = made.clip_encoder()
    for name, value in average.items():
        torch.testing.assert_close(network.encoder.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    expected = network.encode(source().batch(HELD_OUT)).detach().numpy()
    np.testing.assert_allclose(made.encode(HELD_OUT), expected, atol=1e-6)
    learning = made.encoder.eval()(source().batch(HELD_OUT)[:, :, 3:67]).c.detach().numpy()
    assert np.abs(learning - expected).max() > 1e-4


def test_looking_at_a_learner_changes_nothing_of_it():
    one, other = taught(learner()), taught(learner())
    one.evaluate(HELD_OUT)
    one.reconstruct(HELD_OUT)
    one.generate(*one.sample_prior(4, 0))
    one.clip_encoder()
    assert not differing(taught(one).state(), taught(other).state())


def test_codes_are_of_whole_clips_and_of_each_clip_alone(monkeypatch):
    made = taught(learner())
    found = made.infer_codes(HELD_OUT)
    assert {name: one.shape for name, one in found.items()} == {"c": (8, 3), "z": (8, 4, 2), "pooled": (8, 32)}
    monkeypatch.setattr(learners, "EVALUATION_BATCH", 3)
    for name, one in made.infer_codes(HELD_OUT[::-1].copy()).items():
        np.testing.assert_allclose(one[::-1], found[name], atol=1e-5)
    np.testing.assert_array_equal(made.encode(HELD_OUT), made.infer_codes(HELD_OUT)["c"])


def test_the_error_of_held_out_clips_is_that_of_their_reconstructions(monkeypatch):
    made = taught(learner())
    copies = made.reconstruct(HELD_OUT)
    assert copies.shape == (8, BINS, 64)
    expected = np.abs(copies - source().batch(HELD_OUT).numpy()[:, :, 3:67]).mean()
    monkeypatch.setattr(learners, "EVALUATION_BATCH", 3)
    assert made.evaluate(HELD_OUT)["validation_reconstruction"] == pytest.approx(expected, rel=1e-5)
    assert set(learner(adversary=0.0, reconstruction=0.0).evaluate(HELD_OUT)) == {"validation_contrast"}
    assert set(learner(contrast=0.0).evaluate(HELD_OUT)) == {"validation_reconstruction"}


def test_the_contrast_of_held_out_clips_is_that_of_views_as_in_training(monkeypatch):
    made = taught(learner(masked_bins=0, masked_frames=0, positives="clip"))
    monkeypatch.setattr(views, "crop", lambda x, frames, _rng, _tempo: x[:, :, :frames])
    x = source().batch(HELD_OUT)[:, :, :64]
    with torch.inference_mode():
        found = made.projection.eval()(made.encoder.eval()(x).c)
        alike = (found @ found.T / made._setting.temperature).exp()
        others = 2.0 * alike.sum(dim=1) - alike.diag()  # every clip is there twice, a view does not look for itself
        expected = -(alike.diag() / others).log().mean()
    assert made.evaluate(HELD_OUT)["validation_contrast"] == pytest.approx(float(expected), rel=1e-4)
    changed = learner(positives="clip")
    assert changed.evaluate(HELD_OUT) == changed.evaluate(HELD_OUT)


def test_batches_of_held_out_clips_are_of_many_movements():
    seen: list[np.ndarray] = []
    made = learner(batch=4)
    drawn = made._source.batch
    made._source.batch = lambda rows: seen.append(rows) or drawn(rows)  # type: ignore[method-assign, func-returns-value]
    made._validation_contrast(np.arange(CLIPS))
    assert sorted(np.concatenate([rows[:4] for rows in seen])) == list(range(CLIPS))
    assert all((MOVEMENTS[rows[:4]] == MOVEMENTS[rows[4:]]).all() for rows in seen)
    assert np.mean([len(set(MOVEMENTS[rows[:4]])) for rows in seen]) > 3


@pytest.mark.parametrize("step", [0, 2])
def test_codes_of_nothing_are_standard_normal_and_as_long_as_a_clip(step, monkeypatch):
    made = learner(step_latent=step)
    c, z = made.sample_prior(500, 7)
    assert (c.shape, z.shape) == ((500, LATENT), (500, 4, step))
    assert c.dtype == z.dtype == np.float32
    assert abs(c.mean()) < 0.1
    assert c.std() == pytest.approx(1.0, abs=0.1)
    np.testing.assert_array_equal(c, made.sample_prior(500, 7)[0])
    assert (c != made.sample_prior(500, 8)[0]).any()
    invented = made.generate(c[:7], z[:7])
    assert invented.shape == (7, BINS, 64)
    monkeypatch.setattr(learners, "EVALUATION_BATCH", 2)
    np.testing.assert_allclose(made.generate(c[:7], z[:7]), invented, atol=1e-5)


def test_the_yardstick_learns_its_labels_and_is_asked_by_its_average():
    made = SupervisedLearner(source(), COMPOSERS, LATENT, 2, setting(learning_rate=0.02), 0)
    told = [float(made.step(TRAINING[index::3])["loss"]) for _ in range(30) for index in range(3)]
    assert sum(told[-6:]) < 0.7 * sum(told[:6])
    probabilities = made.probabilities(HELD_OUT)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    said = made.ema_network.module.eval().probabilities(source().batch(HELD_OUT)).detach()
    np.testing.assert_allclose(probabilities, said, atol=1e-6)
    likely = probabilities[np.arange(8), COMPOSERS[HELD_OUT]]
    right = (probabilities.argmax(axis=1) == COMPOSERS[HELD_OUT]).mean()
    assert made.evaluate(HELD_OUT) == {
        "validation_loss": pytest.approx(-np.log(likely).mean(), rel=1e-4),
        "validation_accuracy": right,
    }
