from __future__ import annotations

import copy

import pytest

from symphony2vec import params
from symphony2vec.errors import UserError


def test_the_committed_file_is_valid_and_every_key_has_a_comment_or_a_plain_name(project):
    read = params.read(project.params)
    assert read.features.mel_bands == 64
    assert "embeddings.pca.batch_clips" in params.names()


@pytest.mark.parametrize(
    ("section", "key", "hint"),
    [
        ("audio", "velocty", "audio.velocity"),
        ("clips", "durations", "clips.duration_s"),
        ("probe", "strength", "probe.strengths"),
        ("features", "mel_band", "features.mel_bands"),
    ],
)
def test_an_unknown_key_names_itself_and_the_closest_right_one(settings, section, key, hint):
    values = copy.deepcopy(settings)
    values[section][key] = 1
    with pytest.raises(UserError, match=rf"unknown key '{section}\.{key}' \(did you mean '{hint}'\?\)"):
        params.check(values)


def test_a_key_in_the_wrong_section_is_found_in_the_right_one(settings):
    values = copy.deepcopy(settings)
    values["audio"]["hop_samples"] = 512
    with pytest.raises(UserError, match=r"did you mean 'features\.hop_samples'"):
        params.check(values)


def test_a_missing_key_and_a_missing_section_are_named(settings):
    values = copy.deepcopy(settings)
    del values["clips"]["seed"]
    del values["probe"]
    with pytest.raises(UserError, match=r"missing key 'clips\.seed'; missing key 'probe'"):
        params.check(values)


@pytest.mark.parametrize(
    ("section", "key", "value", "reason"),
    [
        ("clips", "seed", "0", "'clips.seed' is '0': input should be a valid integer"),
        ("audio", "orchestration", "brass", "'audio.orchestration' is 'brass': input should be 'score' or 'strings'"),
        ("clips", "overlap", 1.0, "'clips.overlap' is 1.0: input should be less than or equal to 0.99"),
        ("embeddings", "dimensions", 1, "'embeddings.dimensions' is 1: input should be greater than or equal to 2"),
        ("clips", "duration_s", float("inf"), "'clips.duration_s' is inf: input should be"),
        ("features", "mfcc_coefficients", 200, "'features.mfcc_coefficients' is 200: input should be"),
        ("probe", "strengths", [], "probe.strengths.*at least 1 item"),
        ("corpus", "name", "../elsewhere", "'corpus.name' is '../elsewhere': string should match"),
        ("features", "mel_bands", True, "'features.mel_bands' is True: input should be a valid integer"),
    ],
)
def test_a_wrong_type_or_value_names_the_key_and_the_value(settings, section, key, value, reason):
    values = copy.deepcopy(settings)
    values[section][key] = value
    with pytest.raises(UserError, match=reason):
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
