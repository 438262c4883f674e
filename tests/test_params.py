from __future__ import annotations

import copy

import pytest

from symphony2vec import params
from symphony2vec.errors import UserError


def keys(values: object, before: str = "") -> set[str]:
    """Every dotted key of plain nested values."""
    inner = values.items() if isinstance(values, dict) else ()
    return {f"{before}{name}" for name, _ in inner} | {
        key for name, value in inner for key in keys(value, f"{before}{name}.")
    }


def test_the_committed_file_is_valid_and_holds_every_key_there_is(project, settings):
    assert params.read(project.params).model_dump() == settings
    named = {
        key for key in keys(settings) if not key.startswith("temporal.ablations.")
    }  # parts have names of their own
    assert named == set(params.names())


@pytest.mark.parametrize(
    ("section", "key", "hint"),
    [
        ("audio", "velocty", "audio.velocity"),
        ("clips", "durations", "clips.duration_s"),
        ("probe", "inverse_regularization", "probe.inverse_regularisation"),
        ("features", "mel_band", "features.mel_bands"),
        ("ali", "model", "ali.models"),
        ("ali", "probe_every_epoch", "ali.probe_every_epochs"),
        ("classifiers", "fair_cn", "classifiers.fair_cnn"),
        ("embeddings", "dimension", "embeddings.dimensions"),
        ("clips", "fall_back", "clips.fallback"),
        ("study", "trial", "study.trials"),
    ],
)
def test_an_unknown_key_names_itself_and_the_closest_right_one(settings, section, key, hint):
    values = copy.deepcopy(settings)
    values[section][key] = 1
    with pytest.raises(UserError, match=rf"unknown key '{section}\.{key}' \(did you mean '{hint}'\?\)"):
        params.check(values)


@pytest.mark.parametrize(
    ("section", "inner", "key", "hint"),
    [
        ("ali", "paper", "learning_rat", "ali.paper.learning_rate"),
        ("ali", "original", "beta", "ali.original.betas"),
        ("ali", "crop", "band", "ali.crop.bands"),
        ("ali", "encoder", "epoch", "ali.encoder.epochs"),
        ("classifiers", "ff", "weight_deca", "classifiers.ff.weight_decay"),
        ("classifiers", "lstm", "chunk_frame", "classifiers.lstm.chunk_frames"),
        ("embeddings", "cae", "contractions", "embeddings.cae.contraction"),
        ("ali", "paper", "discriminator_rate", "ali.paper.discriminator_learning_rate"),
        ("study", "ali", "latents", "study.ali.latent"),
        ("study", "temporal", "adversar", "study.temporal.adversarial_weight"),
    ],
)
def test_an_unknown_key_two_floors_down_names_itself_and_the_closest_one(settings, section, inner, key, hint):
    values = copy.deepcopy(settings)
    values[section][inner][key] = 1
    with pytest.raises(UserError, match=rf"unknown key '{section}\.{inner}\.{key}' \(did you mean '{hint}'\?\)"):
        params.check(values)


def test_a_key_that_one_network_alone_has_is_refused_elsewhere(settings):
    values = copy.deepcopy(settings)
    values["classifiers"]["cnn"]["chunk_frames"] = 36
    with pytest.raises(
        UserError, match=r"unknown key 'classifiers\.cnn\.chunk_frames' \(did you mean '.*chunk_frames'"
    ):
        params.check(values)


def test_a_key_in_the_wrong_section_is_found_in_the_right_one(settings):
    values = copy.deepcopy(settings)
    values["audio"]["hop_samples"] = 512
    with pytest.raises(UserError, match=r"did you mean 'features\.hop_samples'"):
        params.check(values)


def test_a_missing_key_and_a_missing_section_are_named(settings):
    values = copy.deepcopy(settings)
    del values["clips"]["fallback"]
    del values["probe"]
    with pytest.raises(UserError, match=r"missing key 'clips\.fallback'; missing key 'probe'"):
        params.check(values)


@pytest.mark.parametrize(
    ("section", "key", "value", "reason"),
    [
        ("audio", "velocity", "80", "'audio.velocity' is '80': input should be a valid integer"),
        ("audio", "orchestration", "brass", "'audio.orchestration' is 'brass': input should be 'score' or 'strings'"),
        ("clips", "overlap", 1.0, "'clips.overlap' is 1.0: input should be less than or equal to 0.99"),
        ("embeddings", "dimensions", 1, "'embeddings.dimensions' is 1: input should be greater than or equal to 2"),
        ("clips", "duration_s", float("inf"), "'clips.duration_s' is inf: input should be"),
        ("features", "mfcc_coefficients", 200, "'features.mfcc_coefficients' is 200: input should be"),
        ("probe", "inverse_regularisation", [], "probe.inverse_regularisation.*at least 1 item"),
        ("corpus", "name", "../elsewhere", "'corpus.name' is '../elsewhere': string should match"),
        ("features", "mel_bands", True, "'features.mel_bands' is True: input should be a valid integer"),
        ("clips", "fallback", "clip", "'clips.fallback' is 'clip': input should be 'movement' or 'none'"),
        ("ali", "models", ["paper-128", "paper-x"], "'ali.models.1' is 'paper-x': string should match .*paper"),
        ("ali", "models", ["paper-0"], "'ali.models.0' is 'paper-0': string should match"),
        ("ali", "models", ["papers-128"], "'ali.models.0' is 'papers-128': string should match"),
        ("ali", "models", [], "'ali.models' is .*at least 1 item"),
        ("study", "trials", 0, "'study.trials' is 0: input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_type_or_value_names_the_key_and_the_value(settings, section, key, value, reason):
    values = copy.deepcopy(settings)
    values[section][key] = value
    with pytest.raises(UserError, match=reason):
        params.check(values)


@pytest.mark.parametrize(
    ("section", "inner", "key", "value", "reason"),
    [
        ("ali", "paper", "betas", [0.5], "'ali.paper.betas' is .*at least 2 items"),
        ("ali", "paper", "betas", [0.5, 1.0], "'ali.paper.betas.1' is 1.0: input should be less than 1"),
        ("ali", "paper", "batch", 1, "'ali.paper.batch' is 1: input should be greater than or equal to 2"),
        ("ali", "public", "batch_norm", 1, "'ali.public.batch_norm' is 1: input should be a valid boolean"),
        ("ali", "crop", "bands", "middle", "'ali.crop.bands' is 'middle': input should be 'low', 'high' or 'random'"),
        ("classifiers", "cnn", "batch", 1, "'classifiers.cnn.batch' is 1: input should be greater than or equal to 2"),
        ("classifiers", "ff", "learning_rate", 0.0, "'classifiers.ff.learning_rate' is 0.0: input should be greater"),
        ("embeddings", "vae", "epochs", 0, "'embeddings.vae.epochs' is 0: input should be greater"),
        ("study", "ali", "base", "searched", "'study.ali.base' is 'searched': input should be 'paper', 'original'"),
        ("study", "ali", "latent", [], "'study.ali.latent' is .*at least 1 item"),
        ("study", "ali", "batch", [32, 32], "'study.ali.batch' is .*: a value is named twice"),
        ("study", "ali", "dropout", {"low": 0.0, "high": 1.0, "log": False}, "'study.ali.dropout.high' is 1.0: input"),
        ("study", "ali", "beta_1", {"low": 0.9, "high": 0.5, "log": False}, "low .0.9. must be below high .0.5."),
        ("study", "ali", "beta_2", {"low": 0.0, "high": 0.5, "log": True}, "a logarithmic scale has no 0"),
        ("study", "ali", "learning_rate", {"low": 0.0, "high": 0.5, "log": False}, "learning_rate.low' is 0.0: input"),
        ("study", "temporal", "mask_bins", [0, -1], "'study.temporal.mask_bins.1' is -1: input should be greater"),
        ("study", "temporal", "latent", [8, 8], "'study.temporal.latent' is .*: a value is named twice"),
        ("study", "temporal", "temperature", {"low": 0.0, "high": 1.0, "log": False}, "temperature.low' is 0.0: input"),
        ("study", "ali", "dropout", {"low": 0.0, "hi": 0.5, "log": False}, "unknown key 'study.ali.dropout.hi'"),
    ],
)
def test_a_wrong_value_two_floors_down_is_named_too(settings, section, inner, key, value, reason):
    values = copy.deepcopy(settings)
    values[section][inner][key] = value
    with pytest.raises(UserError, match=reason):
        params.check(values)


@pytest.mark.parametrize(
    ("folds", "reason"),
    [
        (2, r"'folds' is 2: folds are listed by name, such as \[work-0, work-1, work-2\]"),
        (1.5, r"'folds' is 1\.5: input should be a valid list"),
        ("work-0", "'folds' is 'work-0': input should be a valid list"),
        ([], "'folds' is .*at least 1 item"),
        (["work-0", "clip-0", "work-0"], "'folds' is .*: a value is named twice"),
        (["work-0", "composer-0"], r"'folds\.1' is 'composer-0': string should match .*work\|movement\|clip"),
        (["work"], r"'folds\.0' is 'work': string should match"),
        (["work-01"], r"'folds\.0' is 'work-01': string should match"),
        (["work--1"], r"'folds\.0' is 'work--1': string should match"),
    ],
)
def test_folds_is_a_list_of_names_without_repeats(settings, folds, reason):
    with pytest.raises(UserError, match=reason):
        params.check(copy.deepcopy(settings) | {"folds": folds})


@pytest.mark.parametrize(("key", "value"), [("group_by", ["work"]), ("leakage_folds", 1), ("first_seed", 0)])
def test_the_keys_that_defined_the_folds_in_earlier_versions_point_to_the_list(settings, key, value):
    values = copy.deepcopy(settings)
    values["clips"][key] = value
    with pytest.raises(UserError, match=rf"'clips\.{key}' is called 'folds' now"):
        params.check(values)


def test_a_whole_number_serves_where_a_fraction_is_meant(changed):
    assert changed(clips__duration_s=5).clips.duration_s == 5.0


def test_validation_and_test_must_leave_something_to_train_on(settings):
    values = copy.deepcopy(settings)
    values["clips"] |= {"validation": 0.5, "test": 0.5}
    with pytest.raises(UserError, match="leave no clip to train on"):
        params.check(values)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("clips: [unclosed", r"line \d+ is not valid YAML"),
        ("- a list", "must hold sections .* not list"),
        ("", "must hold sections"),
        ("a: 1\na: 2\n", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_one_clear_line(tmp_path, text, reason):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=reason):
        params.read(path)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"params\.yaml is missing; run the command inside the project"):
        params.read(tmp_path / "params.yaml")
