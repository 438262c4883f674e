"""The benchmark of what open choices change: its alternatives are real, and one that changes nothing shows nothing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML

from symphony2vec import params
from symphony2vec.errors import UserError
from symphony2vec.features.representations import MFCC_MEL_BANDS
from symphony2vec.models.ali import learner as ali_learner
from symphony2vec.models.ali import losses as ali_losses
from symphony2vec.models.ali.networks import Encoder
from symphony2vec.models.classifiers import networks as classifier_networks
from symphony2vec.models.embeddings import losses as embedding_losses
from symphony2vec.package import scaling
from symphony2vec.project import Project, read_table, write_table

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "departures.py"


def loaded(name: str) -> Any:
    """A script of benchmarks/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


loaded("paired")
alternatives, departures, untrained = (loaded(name) for name in ("alternatives", "departures", "untrained"))


@pytest.fixture(autouse=True)
def _in_its_own_database(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")


@pytest.mark.parametrize("name", departures.ALTERNATIVES)
def test_what_an_alternative_changes_is_there_to_be_changed(name):
    own = departures.ALTERNATIVES[name]
    values = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for key, value in own.params.items():
        *above, last = key.split(".")
        owner = values
        for part in above:
            owner = owner[part]
        assert owner[last] != value, key
        owner[last] = value
    params.check(values)
    for owner, attribute, _ in own.replaced():
        assert callable(getattr(owner, attribute))
    assert own.params or own.replaced() or own.features
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert {row.partition("/")[0] for row in own.rows} <= set(stages)


def test_the_ledgers_table_is_what_its_counts_say():
    own, shipped = (
        read_table(ROOT / "docs" / "results" / f"{name}.csv", "counts") for name in ("departures", "starter")
    )
    table = departures.table(own, shipped, params.read(ROOT / "params.yaml").probe)
    assert table in (ROOT / "docs" / "departures.md").read_text(encoding="utf-8")
    assert set(own["alternative"]) <= set(departures.ALTERNATIVES)


def published(corpus: str) -> Any:
    """The counts of one corpus."""
    return read_table(ROOT / untrained.CORPORA[corpus], "report")


def test_what_training_is_worth_is_told_as_the_counts_say():
    settings = params.read(ROOT / "params.yaml").probe
    found = {corpus: untrained.worth(published(corpus), settings) for corpus in untrained.CORPORA}
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    section = text.split("## Effect of training")[1].split("    python")[0]
    head, _, *models = [line for line in section.splitlines() if line.startswith("|")]
    table = untrained.table(found).splitlines()
    assert head == table[0]
    assert len(models) == 9
    assert set(models) <= set(table)
    assert [len(own) for own in found.values()] == [len(untrained.ENCODERS)] * 2
    assert [axes.get_title() for axes in untrained.picture(found).axes] == list(found)


def test_the_full_tables_have_the_accuracies_of_the_counts():
    results = ROOT / "docs" / "results"
    tables, splits = (pd.read_csv(results / f"{name}.csv") for name in ("tables", "splits"))
    for corpus, leaks in (("strings", 8), ("orchestra", 50)):  # models under splits by movement and by clip
        counts = published(corpus)
        names = (counts["model"] + " " + counts["readout"]).str.strip().rename("name")
        sums = counts.groupby([names, "fold"])[["right", "clips"]].sum()
        accuracy = (100.0 * sums["right"] / sums["clips"]).unstack()
        by_work = accuracy.filter(like="work-").mean(axis=1)
        for shown, expected, fewest in (
            (tables[tables["corpus"] == corpus].set_index("model")["accuracy"], by_work, 50),
            (splits[splits["corpus"] == corpus].set_index("model")["work"], by_work, leaks),
            (splits[splits["corpus"] == corpus].set_index("model")["movement"], accuracy["movement-0"], leaks),
            (splits[splits["corpus"] == corpus].set_index("model")["clip"], accuracy["clip-0"], leaks),
        ):
            assert len(shown) >= fewest
            assert shown.to_numpy() == pytest.approx(expected[shown.index].to_numpy(), abs=0.051)


def test_the_starts_are_the_counts_of_the_untrained_alternatives():
    own, shipped = read_table(ROOT / "docs" / "results" / "departures-openscore.csv", "counts"), published("orchestra")
    again = departures.with_starts(shipped, own)
    assert again.to_numpy().tolist() == shipped.to_numpy().tolist()
    assert set(departures.STARTS.values()) <= set(shipped["model"])
    none = shipped[~shipped["model"].str.startswith("untrained")]
    assert departures.with_starts(none, own).to_numpy().tolist() == shipped.to_numpy().tolist()


def test_a_row_is_held_against_its_own_start_on_its_own_draws():
    settings = params.read(ROOT / "params.yaml").probe
    counts = published("strings")
    full = counts[(counts["model"] == "full-40") & (counts["readout"] == "")]
    start = full.assign(model="untrained-40", right=0)
    other = full.assign(model="untrained-mel", stage="embeddings")
    (only,) = untrained.worth(pd.concat([full, start, other]), settings)
    assert only.row == "full-40"
    assert only.untrained == 0.0
    assert only.difference == only.trained == pytest.approx(100.0 * accuracy(full))
    assert untrained.worth(full, settings) == []
    with pytest.raises(UserError, match="no row full-40 to compare on work-4"):
        untrained.worth(pd.concat([full[full["fold"] != "work-4"], start]), settings)


def accuracy(rows: Any) -> float:
    """Mean over the folds by work."""
    own = rows[rows["fold"].str.startswith("work-")].groupby("fold")[["right", "clips"]].sum()
    return float((own["right"] / own["clips"]).mean())


def test_an_alternative_that_changes_nothing_gives_the_shipped_counts(trained, tmp_path, monkeypatch):
    same = alternatives.Alternative("as shipped", ("embeddings/pca-mel",), folds=1)
    monkeypatch.setitem(departures.ALTERNATIVES, "same", same)
    found = departures.made("same", trained.project, tmp_path)
    own = departures.counts(trained.project, trained.params, "embeddings/pca-mel")
    for column in ("stage", "model", "readout", "fold", "work", "clips", "right"):
        assert list(found[column]) == list(own[column])
    settings = trained.params.probe
    assert "| as shipped | pca-mel | 1 |" in departures.table(found, own, settings)
    assert "+0.0 [0.0, 0.0]" in departures.table(found, own, settings)
    with pytest.raises(UserError, match="no row pca-mel to compare on work-0"):
        departures.table(found, own[own["model"] != "pca-mel"], settings)
    with pytest.raises(UserError, match="remove the folder"):
        departures.linked(tmp_path, tmp_path / "same" / "out" / "clips")


def test_what_was_probed_is_kept_and_other_parameters_need_another_folder(trained, tmp_path, monkeypatch):
    same = alternatives.Alternative("as shipped", ("embeddings/pca-mel",), folds=1)
    monkeypatch.setitem(departures.ALTERNATIVES, "same", same)
    before = departures.made("same", trained.project, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("symphony2vec.models.embeddings.stage.run", lambda *_: pytest.fail("trained again"))
        pd.testing.assert_frame_equal(departures.made("same", trained.project, tmp_path), before)
    (tmp_path / "same" / "out" / "probe" / "work-0" / "embeddings" / "pca-mel" / "works.csv").unlink()
    vectors = tmp_path / "same" / "out" / "embeddings" / "work-0" / "pca-mel" / "vectors.npy"
    vectors.unlink()
    pd.testing.assert_frame_equal(departures.made("same", trained.project, tmp_path), before)
    assert vectors.is_file()
    monkeypatch.setitem(departures.ALTERNATIVES, "same", replace(same, params={"embeddings.dimensions": 3}))
    with pytest.raises(UserError, match="trained with other parameters; remove it"):
        departures.made("same", trained.project, tmp_path)


def test_other_vectors_of_other_features_are_other_counts_and_the_source_stays(trained, tmp_path):
    before = np.load(trained.project.feature("mfcc"))
    project, _ = departures.prepared(replace(departures.ALTERNATIVES["levels"], folds=1), trained.project, tmp_path)
    moved = np.load(project.feature("mfcc"))
    np.testing.assert_array_equal(np.load(trained.project.feature("mfcc")), before)
    np.testing.assert_array_equal(moved[:, 1:], before[:, 1:])
    gain_db = read_table(trained.project.movements, "audio").set_index("file")["gain_db"]
    files = read_table(trained.project.clips, "clips")["file"]
    expected = np.sqrt(128.0) * gain_db.loc[files].to_numpy()
    np.testing.assert_allclose((before - moved)[:, 0, 0], expected, rtol=1e-3)
    np.testing.assert_array_equal(np.load(project.feature("mel")), np.load(trained.project.feature("mel")))


def test_mfcc_of_as_many_bands_as_the_shipped_ones_are_the_shipped_ones(trained, tmp_path):
    values = YAML(typ="safe").load(trained.project.params.read_text(encoding="utf-8"))
    values["features"]["mel_bands"] = MFCC_MEL_BANDS
    project = Project(tmp_path)
    YAML().dump(values, project.params)
    departures.linked(trained.project.root / "out", tmp_path / "out")
    (tmp_path / "made").mkdir()
    alternatives.of_mel_bands(project, tmp_path / "made")
    np.testing.assert_allclose(np.load(tmp_path / "made" / "mfcc.npy"), np.load(project.feature("mfcc")), atol=1e-3)


def test_music_that_is_made_again_keeps_its_works_on_their_sides(trained, tmp_path):
    longer = replace(departures.ALTERNATIVES["tempo"], params={"clips.overlap": 0.5}, folds=1)
    project, chosen = departures.prepared(longer, trained.project, tmp_path)
    before, after = (read_table(one.out("clips", "folds", "work-0.csv"), "clips") for one in (trained.project, project))
    assert len(after) > len(before)
    assert len(np.load(project.feature("mel"))) == len(after)
    assert dict(zip(after["group"], after["split"], strict=True)) == dict(
        zip(before["group"], before["split"], strict=True)
    )
    short = before[before["group"] != before["group"].iloc[0]]
    changed = Project(tmp_path / "other")
    write_table(changed.out("clips", "folds", "work-0.csv"), short)
    departures.sounded(project, chosen, changed)
    on_none = read_table(project.out("clips", "folds", "work-0.csv"), "clips").query("split == ''")
    assert set(on_none["group"]) == {before["group"].iloc[0]}


def test_a_project_of_too_few_splits_is_one_line(trained, tmp_path):
    command = [sys.executable, str(SCRIPT), "pca", "--project", str(trained.project.root), "--scratch", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1].endswith("params.yaml lists work-0; needed are 5 folds by work")
    assert "Traceback" not in ended.stderr


def test_a_table_of_counts_keeps_the_others_and_replaces_its_own(tmp_path):
    def of(alternative: str, right: int) -> pd.DataFrame:
        line = [alternative, "embeddings", "pca-mel", "", "work-0", "Bach / 1", 3, right]
        return pd.DataFrame([line], columns=[*departures.KEYS, "work", "clips", "right"])

    path = tmp_path / "counts.csv"
    for alternative, right in (("pca", 1), ("batch", 2), ("pca", 3)):
        departures.added(path, of(alternative, right))
    known = read_table(path, "counts")
    assert dict(zip(known["alternative"], known["right"], strict=True)) == {"batch": 2, "pca": 3}


def test_one_scale_brings_all_bands_together_to_mean_0_and_deviation_1():
    rng = np.random.default_rng(0)
    array = (rng.normal(0.0, 1.0, (20, 6, 30)) * np.arange(1, 7)[:, None] + 10.0 * np.arange(6)[:, None]).astype("f4")
    with mock.patch.object(*alternatives.one_scale()[0]):
        scaled = scaling.standard(array, np.arange(15)).apply(array[:15])
    assert scaled.mean() == pytest.approx(0.0, abs=1e-5)
    assert scaled.std() == pytest.approx(1.0, rel=1e-4)
    assert np.ptp(scaled.mean(axis=(0, 2))) > 1.0


def test_the_norm_stands_between_the_linear_layer_and_the_relu():
    with mock.patch.object(*alternatives.normed_before_relu()[0]):
        layers = classifier_networks.feed_forward((4, 5), 3)
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["Flatten", *["Linear", "BatchNorm1d", "ReLU"] * 4, "Linear"]


def test_torchs_start_is_seeded_and_leaves_torchs_own_numbers_alone():
    networks, drawn = [Encoder(4), Encoder(4)], []
    state = torch.random.get_rng_state()
    with mock.patch.object(*alternatives.torch_start()[0]):
        for network in networks:
            ali_learner.initialise(network, torch.Generator().manual_seed(0))
            drawn.append(network.state_dict())
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in drawn[0].items():
        torch.testing.assert_close(value, drawn[1][name], rtol=0, atol=0)
    weight = drawn[0]["layers.convolutions.5.weight"]
    assert weight.std().item() == pytest.approx(1.0 / np.sqrt(3.0 * 512.0), rel=0.02)  # uniform within 1/sqrt(fan in)


def test_the_losses_are_those_of_the_alternatives():
    x, x_hat = torch.rand(4, 30), torch.rand(4, 30)
    mean, log_variance = torch.rand(4, 3), torch.rand(4, 3)
    with mock.patch.object(*alternatives.summed()[0]):
        assert embedding_losses.mean_squared_error(x, x_hat).item() == pytest.approx(
            4.0 * 30.0 / 4.0 * float(((x - x_hat) ** 2).mean())
        )
    with mock.patch.object(*alternatives.averaged_bound()[0]):
        found = embedding_losses.elbo_loss(x, x_hat, mean, log_variance)
        expected = ((x - x_hat) ** 2).mean() + embedding_losses.kl(mean, log_variance)
        torch.testing.assert_close(found, expected)
    encoder = torch.nn.Sequential(torch.nn.Linear(30, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    with mock.patch.object(*alternatives.last_layer()[0]):
        found = embedding_losses.contractive(encoder, x, torch.Generator())
        jacobian = torch.func.jacrev(encoder[-1])(torch.rand(5))
        torch.testing.assert_close(found, jacobian.square().sum())


def test_in_the_saturating_game_encoder_and_generator_raise_what_the_discriminator_lowers():
    from symphony2vec.models.ali import networks

    torch.manual_seed(0)
    made = networks.Encoder(4), networks.Generator(4), networks.Discriminator(4, 0.0)
    game = ali_losses.Game(*(one.train() for one in made), 0.0, 0.0, (0.9, 0.999))
    x, z, noise = torch.rand(3, 1, 32, 32), torch.randn(3, 4), torch.randn(3, 4)
    with ExitStack() as stack:
        for one in alternatives.saturating():
            stack.enter_context(mock.patch.object(*one))
        game.step(x, z, noise)
    found = [weight.grad.clone() for weight in game.generator.parameters()]
    logit_q, logit_p = game._logits(x, z, game.generator(z), z, 0.0)
    expected = torch.autograd.grad(ali_losses.discriminator_loss(logit_q, logit_p), [*game.generator.parameters()])
    assert sum(float(one.abs().sum()) for one in found) > 0.0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, -other, rtol=1e-3, atol=1e-7)


def test_without_its_bias_the_generator_starts_from_grey():
    from symphony2vec.models.ali.networks import Generator

    with mock.patch.object(*alternatives.no_bias()[0]):
        generator = Generator(4)
        generator.set_bias(torch.rand(1, 32, 32))
        assert not generator.bias.any()
    generator.set_bias(torch.full((1, 32, 32), 0.9))
    assert generator.bias.min() > 2.0


def test_help_names_every_alternative():
    told = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True).stdout
    assert all(f"  {name} " in told for name in departures.ALTERNATIVES)
