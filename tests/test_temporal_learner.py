"""The learners of the temporal ALI: gradients, seeds, checkpoints, independence of held-out clips, evaluation."""

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
from symphony2vec.models.temporal.learner import TemporalLearner
from symphony2vec.models.temporal.supervised import SupervisedLearner
from symphony2vec.models.training import loop
from symphony2vec.models.training.source import Source
from symphony2vec.package import scaling
from symphony2vec.params import TemporalSetting

CLIPS, BINS, FRAMES, LATENT, BATCH = 32, 16, 70, 3, 8
TRAINING, HELD_OUT = np.arange(24), np.arange(24, 32)
MOVEMENTS = np.arange(CLIPS) // 2
COMPOSERS = np.arange(CLIPS) // 4 % 2
CPU = torch.device("cpu")
SMALL = {"width": 2, "step_latent": 2, "crop_frames": 64, "batch": BATCH, "mask_bins": 3, "mask_frames": 9}
SMALL |= {
    "adversarial_weight": 0.5,
    "reconstruction_weight": 1.0,
    "contrastive_weight": 0.5,
    "ema_decay": 0.9,
    "learning_rate": 0.002,
}
SMALL |= {"shift_bins": 0}  # the level of the bands identifies these clips
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


def learner(seed: int = 0, data: Source | None = None, **changes: Any) -> TemporalLearner:
    return TemporalLearner(data or source(), TRAINING, MOVEMENTS, LATENT, setting(**changes), seed)


def wide_learner(seed: int = 0, data: Source | None = None, latent: int = 4, **changes: Any) -> TemporalLearner:
    """A learner with room for an equivariant part."""
    return TemporalLearner(data or source(), TRAINING, MOVEMENTS, latent, setting(**changes), seed)


def equivariant(seed: int = 0) -> TemporalLearner:
    return wide_learner(seed, equivariant_weight=0.5)


def supervised(seed: int = 0, data: Source | None = None, composers: np.ndarray = COMPOSERS) -> SupervisedLearner:
    return SupervisedLearner(data or source(), composers, LATENT, 2, setting(), seed)


def batches(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(1)
    return (rng.permutation(TRAINING)[:BATCH] for _ in range(count))


def train(model: Any, updates: int = 3) -> Any:
    for rows in batches(updates):
        model.step(rows)
    return model


def flatten(state: Any, name: str = "") -> dict[str, Any]:
    """Return the leaves of nested dicts and lists, by their path."""
    if isinstance(state, Mapping | list | tuple):
        pairs = state.items() if isinstance(state, Mapping) else enumerate(state)
        return {key: leaf for inner, value in pairs for key, leaf in flatten(value, f"{name}/{inner}").items()}
    return {name: state}


def differing_keys(state: Any, other_state: Any) -> set[str]:
    """Return the paths at which two states are not equal bit for bit."""
    values, other_values = flatten(state), flatten(other_state)
    assert values.keys() == other_values.keys()
    same = {
        key: torch.equal(values[key], other_values[key])
        if isinstance(values[key], Tensor)
        else values[key] == other_values[key]
        for key in values
    }
    return {key for key, equal in same.items() if not equal}


def copy_networks(model: TemporalLearner) -> dict[str, Any]:
    return copy.deepcopy(dict(model.state_dict()["networks"]))


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


def two_pass_gradients(
    model: TemporalLearner, data: Source, options: TemporalSetting, rows: np.ndarray
) -> dict[str, Any]:
    """Return the gradients of one step, by name of the network, with one backward pass for each of the two losses."""
    rng = model.rng
    positives = views.PositiveSampler(MOVEMENTS, TRAINING, options.positives)
    augmentation = views.Augmentation(options.mask_bins, options.mask_frames, options.shift_bins, options.level_shift)
    pairs = np.concatenate([rows, positives.sample(rows, rng)])
    x = views.shift(views.crop(data.batch(pairs), options.crop_frames, rng, options.time_stretch), augmentation, rng)
    view, count = views.time_frequency_mask(x, augmentation, rng), len(rows)
    codes = model.encoder(view)
    generator_loss = options.contrastive_weight * losses.info_nce(
        model.projection(codes.c_mean), torch.as_tensor(positives.groups(pairs)), options.temperature
    )
    c, z = (
        mean[:count] + log_sigma[:count].exp() * torch.randn(mean[:count].shape, generator=rng)
        for mean, log_sigma in ((codes.c_mean, codes.c_log_sigma), (codes.z_mean, codes.z_log_sigma))
    )
    generator_loss = generator_loss + options.reconstruction_weight * l1_loss(model.generator(c, z), x[:count])
    prior_c, prior_z = (torch.randn(code.shape, generator=rng) for code in (c, z))
    x_hat = views.time_frequency_mask(model.generator(prior_c, prior_z), augmentation, rng)
    discriminator_inputs = (torch.cat([view[:count], x_hat]), torch.cat([c, prior_c]), torch.cat([z, prior_z]))
    logits = model.discriminator(*discriminator_inputs).split(count)
    generator_loss = generator_loss + options.adversarial_weight * losses.generator_loss(*logits)
    gradients = {}
    networks_by_loss = {
        losses.discriminator_loss(*logits): {"discriminator": model.discriminator},
        generator_loss: {
            "encoder": model.encoder,
            "generator": model.generator,
            "projection": model.projection,
        },
    }
    for loss, networks in networks_by_loss.items():
        for name, network in networks.items():
            weights = [weight for weight in network.parameters() if weight.numel()]
            gradients[name] = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    return gradients


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"adversarial_weight": 3.0, "reconstruction_weight": 0.1},
        {"contrastive_weight": 0.0, "reconstruction_weight": 0.0},
        {"unary": False, "positives": "clip"},
        {"step_latent": 0},
        {"shift_bins": 2, "level_shift": 0.3, "time_stretch": 0.05},
    ],
    ids=str,
)
@pytest.mark.usefixtures("_double")
def test_a_step_has_the_gradients_of_one_backward_pass_per_loss(changes):
    data, rows = source(kind=Doubled), TRAINING[::3]
    model, other = (learner(data=data, **changes) for _ in range(2))
    expected = two_pass_gradients(other, data, setting(**changes), rows)
    model.step(rows)
    networks = {
        "discriminator": model.discriminator, "encoder": model.encoder,
        "generator": model.generator, "projection": model.projection,
    }  # fmt: skip
    for name, network in networks.items():
        weights = {key: value for key, value in network.named_parameters() if value.numel()}
        for (key, weight), plain_gradient in zip(weights.items(), expected[name], strict=True):
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            expected_gradient = torch.zeros_like(weight) if plain_gradient is None else plain_gradient
            torch.testing.assert_close(
                gradient, expected_gradient, rtol=1e-9, atol=1e-10, msg=lambda text, at=f"{name} {key}": at + text
            )
    largest = {name: max((float(value.abs().max()) for value in gradients if value is not None), default=0.0)
               for name, gradients in expected.items()}  # fmt: skip
    assert min(value for name, value in largest.items() if name != "projection") > 1e-4


# losses and networks of a step ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("without", "untouched", "names"),
    [
        ((), set(), {"contrastive_loss", "reconstruction_loss"} | GAME),
        (("adversarial_weight",), {"discriminator"}, {"contrastive_loss", "reconstruction_loss"}),
        (("contrastive_weight",), {"projection"}, {"reconstruction_loss"} | GAME),
        (("reconstruction_weight",), set(), {"contrastive_loss"} | GAME),
        (("adversarial_weight", "reconstruction_weight"), {"generator", "discriminator"}, {"contrastive_loss"}),
        (("adversarial_weight", "contrastive_weight"), {"discriminator", "projection"}, {"reconstruction_loss"}),
    ],
)
def test_a_loss_without_weight_is_not_logged_and_leaves_its_network_unchanged(without, untouched, names):
    model = learner(**dict.fromkeys(without, 0.0))
    before = copy_networks(model)
    for rows in batches(2):
        assert set(model.step(rows)) == names
    after = copy_networks(model)
    assert {name for name in before if not differing_keys(before[name], after[name])} == untouched
    assert model.trains_generator == ("generator" not in untouched)


EQUIVARIANT = {"adversarial_weight": 0.0, "reconstruction_weight": 0.0, "equivariant_weight": 0.3}


def test_each_contrast_reaches_only_its_own_part_of_the_code():
    for weights, part in (
        ({"contrastive_weight": 0.0}, slice(3, 4)),
        ({"equivariant_weight": 1e-30}, slice(0, 3)),
    ):
        model = wide_learner(**EQUIVARIANT | weights)
        metrics = model.step(TRAINING[:BATCH])
        assert "equivariant_loss" in metrics
        gradient = model.encoder.clip_head.weight.grad[:4].abs().sum(dim=1)
        reached = torch.zeros(4, dtype=torch.bool)
        reached[part] = True
        assert torch.equal(gradient > 1e-12, reached)


def test_the_positives_of_the_equivariant_part_are_crops_of_one_clip_moved_alike(monkeypatch):
    model, calls = wide_learner(**EQUIVARIANT | {"shift_bins": 2}), []
    info_nce = losses.info_nce
    monkeypatch.setattr(losses, "info_nce", lambda *arguments: calls.append(arguments[1:]) or info_nce(*arguments))
    read = []
    batch = model._source.batch
    monkeypatch.setattr(model._source, "batch", lambda rows: read.append(rows) or batch(rows))
    rows = TRAINING[:BATCH]
    model.step(rows)
    (sampled,) = read
    np.testing.assert_array_equal(sampled[:BATCH], rows)
    np.testing.assert_array_equal(sampled[2 * BATCH :], rows)
    (groups, _), (clips, _, queries) = calls
    assert groups.tolist() == MOVEMENTS[sampled].tolist()
    assert clips[:BATCH].tolist() == clips[2 * BATCH :].tolist()
    assert len(set(clips.tolist())) == 2 * BATCH
    assert queries.tolist() == [*range(BATCH), *range(2 * BATCH, 3 * BATCH)]


def test_the_equivariant_part_learns_to_tell_a_clip_from_the_same_clip_moved_in_pitch():
    rng = np.random.default_rng(0)
    peaks = rng.normal(-60.0, 3.0, (CLIPS, BINS, FRAMES)).astype(np.float32)
    for movement in range(CLIPS // 2):
        peaks[2 * movement : 2 * movement + 2, rng.choice(np.arange(4, 12), 2, replace=False)] += 50.0
    changes = EQUIVARIANT | {"shift_bins": 2, "width": 4, "learning_rate": 0.01, "mask_bins": 0}
    model = wide_learner(data=(data := source(peaks)), latent=16, **changes)
    for _ in range(30):
        train(model)
    x = data.batch(TRAINING)
    moved = x.roll(2, dims=1)
    encoder, projection = model.encoder.eval(), model.pitch_projection.eval()
    with torch.no_grad():
        early, late, other = (
            projection(encoder(view).c_mean[:, -4:]) for view in (x[..., :64], x[..., -64:], moved[..., :64])
        )
    assert float((early * late).sum(dim=1).mean()) > 0.3 + float((early * other).sum(dim=1).mean())


def test_an_untrained_discriminator_is_at_chance_level():
    metrics = learner().step(TRAINING[:BATCH])
    assert float(metrics["discriminator_loss"]) == pytest.approx(2 * np.log(2), rel=0.1)
    for side in ("real", "generated"):
        assert float(metrics[f"mean_output_{side}"]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
def test_contrastive_and_reconstruction_loss_decrease():
    model = learner(adversarial_weight=0.0, learning_rate=0.02)
    history = [model.step(TRAINING[index::3]) for _ in range(50) for index in range(3)]
    for name, share in (("contrastive_loss", 0.9), ("reconstruction_loss", 0.95)):
        first, last = (sum(float(metrics[name]) for metrics in part) for part in (history[:12], history[-12:]))
        assert last < share * first, name


# seeds and checkpoints ------------------------------------------------------------------------------------------------

LEARNERS = {"temporal": learner, "equivariant": equivariant, "labels": supervised}


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_seed_determines_the_weights_bit_for_bit(kind):
    create = LEARNERS[kind]
    first = train(create()).state_dict()
    assert not differing_keys(first, train(create()).state_dict())
    assert differing_keys(first, train(create(seed=1)).state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("kind", LEARNERS)
def test_a_restored_learner_continues_bit_for_bit(kind):
    create = LEARNERS[kind]
    model, file = train(create(), 2), io.BytesIO()
    torch.save({"state": model.state_dict(), "generator": model.rng.get_state()}, file)
    file.seek(0)
    checkpoint = torch.load(file, weights_only=True)
    other = train(create(seed=5), 1)
    other.load_state_dict(checkpoint["state"])
    other.rng.set_state(checkpoint["generator"])
    assert not differing_keys(model.state_dict(), other.state_dict())
    assert not differing_keys(train(model).state_dict(), train(other).state_dict())
    assert differing_keys(model.state_dict(), checkpoint["state"])


def fit(model: Any, folder: Path, every_s: float = 0.0) -> list[dict[str, float]]:
    """Three epochs of three updates."""
    schedule = loop.Schedule(3, BATCH, seed=0, evaluate_every=2)
    look = lambda epoch: model.evaluate(HELD_OUT)  # noqa: E731
    return loop.fit(model, TRAINING, schedule, "tiny", folder, look, lambda row: None, every_s)


def train_verbosely(folder: str) -> None:
    """Run a training that prints each update and writes its results: the process that is killed."""
    torch.set_num_threads(1)
    model = learner()
    step = model.step

    def slow(rows: np.ndarray) -> Mapping[str, Tensor]:
        print("update", flush=True)
        time.sleep(0.01)
        return step(rows)

    model.step = slow  # type: ignore[method-assign]
    curves = fit(model, Path(folder))
    torch.save({"state": model.state_dict(), "curves": curves}, Path(folder, "found.pt"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_training_that_is_resumed_ends_bit_for_bit_as_an_uninterrupted_one(tmp_path):
    command = [
        sys.executable,
        "-c",
        f"import test_temporal_learner as t; t.train_verbosely({str(tmp_path / 'killed')!r})",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    start = partial(subprocess.Popen, command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    (tmp_path / "killed").mkdir()
    with start() as process:
        for _ in range(5):  # the fifth update has begun, in the middle of the second epoch
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "checkpoint.pt").is_file()
    with start() as process:
        updates = len(process.stdout.read().split())
    assert process.returncode == 0
    assert 4 <= updates <= 6
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = learner()
    curves = fit(model, tmp_path, 60.0)
    torch.set_num_threads(threads)
    results = torch.load(tmp_path / "killed" / "found.pt", weights_only=True)
    assert results["curves"] == curves
    assert not differing_keys(results["state"], model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("kind", LEARNERS)
def test_held_out_clips_do_not_affect_the_weights(kind, tmp_path):
    create, changed_clips = LEARNERS[kind], spectrograms()
    changed_clips[HELD_OUT] = np.random.default_rng(9).uniform(-80.0, 0.0, (len(HELD_OUT), BINS, FRAMES))
    model, other_model = (create(data=source(array)) for array in (None, changed_clips))
    for learner_, name in ((model, "a"), (other_model, "b")):
        (tmp_path / name).mkdir()
        fit(learner_, tmp_path / name, 60.0)
    assert not differing_keys(model.state_dict(), other_model.state_dict())
    assert model.evaluate(HELD_OUT) != other_model.evaluate(HELD_OUT)


def test_composers_of_held_out_clips_do_not_affect_the_supervised_reference():
    other = COMPOSERS.copy()
    other[HELD_OUT] = 1 - other[HELD_OUT]
    model, changed = train(supervised()), train(supervised(composers=other))
    assert not differing_keys(model.state_dict(), changed.state_dict())
    assert model.evaluate(HELD_OUT) != changed.evaluate(HELD_OUT)


# evaluation ---------------------------------------------------------------------------------------------


def test_vectors_come_from_the_moving_average_of_the_encoder():
    model = learner(ema_decay=0.6)
    average: dict[str, Tensor] = {}
    for number, rows in enumerate(batches(4)):
        model.step(rows)
        now = {name: value.clone() for name, value in model.encoder.state_dict().items() if value.is_floating_point()}
        average = {name: 0.6 * average[name] + 0.4 * value if number else value for name, value in now.items()}
    network = model.build_clip_encoder()
    for name, value in average.items():
        torch.testing.assert_close(network.encoder.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    expected = network.encode(source().batch(HELD_OUT)).detach().numpy()
    np.testing.assert_allclose(model.encode(HELD_OUT), expected, atol=1e-6)
    learning = model.encoder.eval()(source().batch(HELD_OUT)[:, :, 3:67]).c_mean.detach().numpy()
    assert np.abs(learning - expected).max() > 1e-4


@pytest.mark.slow
def test_evaluation_does_not_change_the_learner():
    model, other = train(learner()), train(learner())
    model.evaluate(HELD_OUT)
    model.reconstruct(HELD_OUT)
    model.generate(*model.sample_prior(4, 0))
    model.build_clip_encoder()
    assert not differing_keys(train(model).state_dict(), train(other).state_dict())


def test_codes_are_of_whole_clips_and_independent_of_the_batch(monkeypatch):
    model = train(learner())
    codes = model.infer_codes(HELD_OUT)
    assert {name: value.shape for name, value in codes.items()} == {"c": (8, 3), "z": (8, 4, 2), "pooled": (8, 32)}
    monkeypatch.setattr(learners, "EVALUATION_BATCH", 3)
    for name, value in model.infer_codes(HELD_OUT[::-1].copy()).items():
        np.testing.assert_allclose(value[::-1], codes[name], atol=1e-5)
    np.testing.assert_array_equal(model.encode(HELD_OUT), model.infer_codes(HELD_OUT)["c"])


def test_the_validation_error_is_that_of_the_reconstructions(monkeypatch):
    model = train(learner())
    copies = model.reconstruct(HELD_OUT)
    assert copies.shape == (8, BINS, 64)
    expected = np.abs(copies - source().batch(HELD_OUT).numpy()[:, :, 3:67]).mean()
    monkeypatch.setattr(learners, "EVALUATION_BATCH", 3)
    assert model.evaluate(HELD_OUT)["validation_reconstruction_loss"] == pytest.approx(expected, rel=1e-5)
    assert set(learner(adversarial_weight=0.0, reconstruction_weight=0.0).evaluate(HELD_OUT)) == {
        "validation_contrastive_loss"
    }
    assert set(learner(contrastive_weight=0.0).evaluate(HELD_OUT)) == {"validation_reconstruction_loss"}


def test_the_validation_contrast_uses_views_as_in_training(monkeypatch):
    model = train(learner(mask_bins=0, mask_frames=0, positives="clip"))
    monkeypatch.setattr(views, "crop", lambda x, frames, _rng, _tempo: x[:, :, :frames])
    x = source().batch(HELD_OUT)[:, :, :64]
    with torch.inference_mode():
        projected = model.projection.eval()(model.encoder.eval()(x).c_mean)
        similarity = (projected @ projected.T / model._setting.temperature).exp()
        others = (
            2.0 * similarity.sum(dim=1) - similarity.diag()
        )  # every clip is there twice, a view does not look for itself
        expected = -(similarity.diag() / others).log().mean()
    assert model.evaluate(HELD_OUT)["validation_contrastive_loss"] == pytest.approx(float(expected), rel=1e-4)
    changed = learner(positives="clip")
    assert changed.evaluate(HELD_OUT) == changed.evaluate(HELD_OUT)


def test_validation_batches_mix_movements():
    batches_read: list[np.ndarray] = []
    model = learner(batch=4)
    read_batch = model._source.batch
    model._source.batch = lambda rows: batches_read.append(rows) or read_batch(rows)  # type: ignore[method-assign, func-returns-value]
    model._validation_contrastive_loss(np.arange(CLIPS))
    assert sorted(np.concatenate([rows[:4] for rows in batches_read])) == list(range(CLIPS))
    assert all((MOVEMENTS[rows[:4]] == MOVEMENTS[rows[4:]]).all() for rows in batches_read)
    assert np.mean([len(set(MOVEMENTS[rows[:4]])) for rows in batches_read]) > 3


@pytest.mark.parametrize("step", [0, 2])
def test_prior_codes_are_standard_normal_and_as_long_as_a_clip(step, monkeypatch):
    model = learner(step_latent=step)
    c, z = model.sample_prior(500, 7)
    assert (c.shape, z.shape) == ((500, LATENT), (500, 4, step))
    assert c.dtype == z.dtype == np.float32
    assert abs(c.mean()) < 0.1
    assert c.std() == pytest.approx(1.0, abs=0.1)
    np.testing.assert_array_equal(c, model.sample_prior(500, 7)[0])
    assert (c != model.sample_prior(500, 8)[0]).any()
    generated = model.generate(c[:7], z[:7])
    assert generated.shape == (7, BINS, 64)
    monkeypatch.setattr(learners, "EVALUATION_BATCH", 2)
    np.testing.assert_allclose(model.generate(c[:7], z[:7]), generated, atol=1e-5)


@pytest.mark.slow
def test_the_supervised_reference_learns_and_predicts_with_its_moving_average():
    model = SupervisedLearner(source(), COMPOSERS, LATENT, 2, setting(learning_rate=0.02), 0)
    losses_of_steps = [float(model.step(TRAINING[index::3])["loss"]) for _ in range(30) for index in range(3)]
    assert sum(losses_of_steps[-6:]) < 0.7 * sum(losses_of_steps[:6])
    probabilities = model.probabilities(HELD_OUT)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    expected = model.ema_network.module.eval().probabilities(source().batch(HELD_OUT)).detach()
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    likely = probabilities[np.arange(8), COMPOSERS[HELD_OUT]]
    right = (probabilities.argmax(axis=1) == COMPOSERS[HELD_OUT]).mean()
    assert model.evaluate(HELD_OUT) == {
        "validation_loss": pytest.approx(-np.log(likely).mean(), rel=1e-4),
        "validation_accuracy": right,
    }
