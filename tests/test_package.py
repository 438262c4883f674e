"""Packages: every kind of model hears elsewhere what its stage wrote; nothing pickled; damage and other versions.

Networks in ONNX are tested in test_package_onnx.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import random_packages
from conftest import COMPOSERS, Trained, client, logged_names
from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.evaluation.probe import stage as probe
from symphony2vec.models.ali import stage as ali
from symphony2vec.models.classifiers import stage as classifiers
from symphony2vec.package import contents, example, exporting, head
from symphony2vec.package.head import Head
from symphony2vec.package.model import Model
from symphony2vec.project import read_json

# Stage, model, the package's folder in its run, the file of the stage that its answers equal
PACKAGES = {
    "pca-mel": ("embeddings", "pca-mel", "model", "vectors"),
    "pca-mfcc": ("embeddings", "pca-mfcc", "model", "vectors"),
    "vae-mel": ("embeddings", "vae-mel", "model", "vectors"),
    "ali": ("ali", "paper-8", "model", "vectors"),
    "ali crops": ("ali", "paper-8", "model-crops", "vectors-crops"),
    "ff-crop": ("classifiers", "ff-crop", "model", "probabilities"),
    "lstm-mel": ("classifiers", "lstm-mel", "model", "probabilities"),
    "encoder": ("ali", "encoder-8", "model", "probabilities"),
    "encoder crops": ("ali", "encoder-8", "model-crops", "probabilities-crops"),
}
ASKED = """
import json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[2:]:
            raise ModuleNotFoundError(f"no {name}")
sys.meta_path.insert(0, Absent())
import mlflow, pandas
asked = json.loads(sys.stdin.read())
said = {}
for name, folder in asked["folders"].items():
    loaded = mlflow.pyfunc.load_model(folder)
    said[name] = [loaded.predict(pandas.DataFrame([row]))[0] for row in asked["rows"]]
import symphony2vec
json.dump({"said": said, "code": symphony2vec.__file__}, open(sys.argv[1], "w"))
"""
# Of what the pipeline imports, all that a package does not name
ABSENT = (
    "accelerate dvc lxml matplotlib midirenderer music21 mutagen onnx optuna partitura pretty_midi safetensors torch"
).split()


@pytest.fixture(scope="module")
def packages(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package of every kind of model, copied out of its run to a folder elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(tracking.TRACKING_URI_VARIABLE, raising=False)
        patch.setattr("symphony2vec.models.ali.latent.RESAMPLES", 100)
        for model in ("ff-crop", "lstm-mel"):
            classifiers.run(trained.project, trained.params, *model.split("-"))
        for model in ("paper-8", "encoder-8"):
            ali.run(trained.project, trained.params, model)
        probe.run(trained.project, trained.params, "ali", "paper-8")
    home = tmp_path_factory.mktemp("elsewhere")
    for name, (stage, model, folder, _) in PACKAGES.items():
        shutil.copytree(trained.package(stage, model, folder), home / name)
    return {name: home / name for name in PACKAGES}


@pytest.fixture(scope="module")
def answered(packages: dict[str, Path], trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What all packages say of two recordings, in a process elsewhere in which other libraries cannot be imported."""
    sounds = sorted(trained.rows_of())[:2]
    rows = [{"audio": base64.b64encode(path.read_bytes()).decode()} for path in sounds]
    place = tmp_path_factory.mktemp("another")
    words = [sys.executable, "-c", ASKED, "said.json", *ABSENT]
    asked = json.dumps({"folders": {name: str(folder) for name, folder in packages.items()}, "rows": rows})
    done = subprocess.run(words, cwd=place, input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return SimpleNamespace(**read_json(place / "said.json", ""), sounds=sounds)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_hears_elsewhere_what_the_stage_wrote(name, answered, trained):
    stage, model, _, file = PACKAGES[name]
    whole, given = trained.vectors(stage, model, file), "vectors" if file.startswith("vectors") else "probabilities"
    for sound, said in zip(answered.sounds, answered.said[name], strict=True):
        written = whole[trained.rows_of()[sound]]
        apart = np.ptp(written, axis=0).max()
        assert apart > 1e-5  # the clips are told apart, so that equal is not trivial
        np.testing.assert_allclose(np.array(said[given])[: len(written)], written, atol=0.05 * apart)
        assert said["starts_s"][: len(written)] == [float(number) for number in range(len(written))]


def test_a_package_runs_the_code_that_it_carries(answered, packages):
    assert any(Path(answered.code).is_relative_to(folder) for folder in packages.values())


@pytest.mark.parametrize("name", PACKAGES)
def test_composers_come_with_probabilities_of_the_probe_or_of_the_classifier(name, answered):
    said = answered.said[name][0]
    assert said["composers"] == list(COMPOSERS)
    np.testing.assert_allclose(np.sum(said["probabilities"], axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("name", PACKAGES)
def test_nothing_is_pickled(name, packages):
    files = [path for path in packages[name].rglob("*") if path.is_file()]
    assert {"model.onnx", "config.json", "example.flac", "golden.npy"} <= {path.name for path in files}
    assert not {path.suffix for path in files} & {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib"}
    begins = {path: path.read_bytes()[:2] for path in files}
    assert not [path for path, first in begins.items() if first[:1] == b"\x80" or first == b"PK"]
    np.load(packages[name] / "artifacts" / "golden.npy", allow_pickle=False)


@pytest.mark.parametrize("name", PACKAGES)
def test_the_folder_of_the_model_holds_the_files_that_the_package_was_made_of(name, packages, trained):
    stage, model, package, _ = PACKAGES[name]
    files = trained.project.out(stage, "work-0", model, package)
    expected = {"config.json", "model.onnx", "example.flac", "golden.npy"}
    assert {path.name for path in files.iterdir()} == expected
    for file in expected:
        assert (files / file).read_bytes() == (packages[name] / "artifacts" / file).read_bytes()
    assert contents.read(files, Model).fingerprint == contents.read(packages[name], Model).fingerprint


def deviation(folder: Path) -> float:
    """How far the vectors of the example lie from the golden ones, as a share of their norm."""
    golden = np.load(folder / "artifacts" / "golden.npy")
    found = contents.read(folder, Model).embed_file(folder / "artifacts" / "example.flac").vectors
    return float(np.linalg.norm(found - golden) / np.linalg.norm(golden))


@pytest.mark.parametrize("name", PACKAGES)
def test_the_example_gives_the_golden_vectors(name, packages):
    assert deviation(packages[name]) < 1e-5


def test_other_weights_deviate_from_the_golden_vectors(packages, tmp_path):
    changed = copied(packages["vae-mel"], tmp_path)
    path = changed / "artifacts" / "model.onnx"
    network = onnx.load(path)
    for weights in network.graph.initializer:
        weights.CopyFrom(numpy_helper.from_array(np.float32(1.1) * numpy_helper.to_array(weights), weights.name))
    onnx.save(network, path)
    assert deviation(changed) > 0.01
    kinds = [contents.read(folder, Model) for folder in (packages["vae-mel"], changed)]
    assert kinds[0].fingerprint != kinds[1].fingerprint


@pytest.mark.parametrize("name", PACKAGES)
def test_requirements_are_pinned_and_the_signature_takes_sound(name, packages):
    from mlflow.models import Model as Logged

    lines = (packages[name] / "requirements.txt").read_text().split()
    libraries = {line.partition("==")[0] for line in lines}
    assert {"onnxruntime", "numpy", "soundfile", "librosa"} <= libraries
    assert not {"torch", "safetensors", "onnx"} & libraries
    assert all(line.partition("==")[2] and "+" not in line for line in lines)
    signature = Logged.load(str(packages[name])).signature
    assert signature.inputs.input_names() == ["audio", "waveform", "sample_rate"]
    assert {one.name: one.default for one in signature.params.params} == {"form": "clips", "hop_s": 0.5}


# the same sound as bytes and as samples -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(packages: dict[str, Path]) -> Any:
    import mlflow

    return mlflow.pyfunc.load_model(str(packages["vae-mel"]))


def test_a_waveform_is_heard_as_the_file_is(served, packages):
    import pandas as pd
    import soundfile

    path = packages["vae-mel"] / "artifacts" / "example.flac"
    wave, rate_hz = soundfile.read(path)
    (of_file,) = served.predict(pd.DataFrame([{"audio": base64.b64encode(path.read_bytes()).decode()}]))
    (of_wave,) = served.predict(pd.DataFrame([{"waveform": wave.tolist(), "sample_rate": float(rate_hz)}]))
    np.testing.assert_allclose(of_wave["vectors"], of_file["vectors"], rtol=1e-4, atol=1e-5)
    golden = np.load(packages["vae-mel"] / "artifacts" / "golden.npy")
    np.testing.assert_allclose(of_file["vectors"], golden, rtol=1e-4, atol=1e-5)


def test_the_request_of_the_package_is_answered(served, packages):
    from mlflow.models import Model as Logged

    row = Logged.load(str(packages["vae-mel"])).load_input_example(str(packages["vae-mel"]))
    (said,) = served.predict(row)
    assert np.array(said["vectors"]).shape == (1, 4)
    assert (said["starts_s"], said["ends_s"]) == ([0.0], [example.REQUEST_S])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"audio": None}, "expected either audio"),
        ({"audio": "AAAA", "waveform": [0.0], "sample_rate": 8000.0}, "expected either audio"),
        ({"audio": "no base64!"}, "audio is not base64"),
        ({"audio": "/etc/passwd"}, "not base64|not readable as audio"),
        ({"audio": ""}, "audio does not begin like a supported sound file"),
        ({"audio": base64.b64encode(b"RIFF and no more").decode()}, "not readable as audio"),
        ({"waveform": [0.0] * 100, "sample_rate": 8000.0}, r"lasts 0\.0125 s; at least 0\.1 s"),
        ({"waveform": [0.1] * 9000}, "sample_rate is missing"),
        ({"waveform": [0.1] * 9000, "sample_rate": 0.0}, "sample_rate: Input should be greater than or equal to 1000"),
        ({"waveform": [0.1] * 9000, "sample_rate": 1.0}, "sample_rate: Input should be greater than or equal to 1000"),
        (
            {"waveform": [0.1, float("nan")] * 4500, "sample_rate": 8000.0},
            "waveform: 1: Input should be a finite",
        ),
        ({"waveform": [1e30] * 9000, "sample_rate": 8000.0}, "times full scale"),
    ],
)
def test_a_request_with_a_fault_is_refused_with_the_reason(row, reason, served):
    import pandas as pd
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=f"(?s)row 0: .*({reason})") as caught:
        served.unwrap_python_model().predict(None, pd.DataFrame([row]))
    assert caught.value.get_http_status_code() == 400


# what is no package ---------------------------------------------------------------------------------------------------


def copied(package: Path, to: Path) -> Path:
    shutil.copytree(package, to / "package")
    return to / "package"


def rewritten(folder: Path, **changes: Any) -> None:
    path = folder / "artifacts" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_package_of_another_format_says_so(packages, tmp_path):
    folder = copied(packages["vae-mel"], tmp_path)
    for number in (1, 3):
        rewritten(folder, format=number)
        with pytest.raises(UserError, match=rf"another version of symphony2vec \(format {number}, this one reads 2\)"):
            contents.read(folder, Model)
    plain = json.loads((folder / "artifacts" / "config.json").read_text())
    del plain["format"]
    (folder / "artifacts" / "config.json").write_text(json.dumps(plain))
    with pytest.raises(UserError, match="format 1"):
        contents.read(folder, Model)


def without(name: str) -> Any:
    def break_it(folder: Path) -> None:
        (folder / "artifacts" / name).unlink()

    return break_it


def holding(name: str, content: bytes) -> Any:
    def break_it(folder: Path) -> None:
        (folder / "artifacts" / name).write_bytes(content)

    return break_it


def saying(**changes: Any) -> Any:
    return lambda folder: rewritten(folder, **changes)


def cut(name: str, count: int) -> Any:
    """Cut a file off by some bytes at the end."""

    def break_it(folder: Path) -> None:
        path = folder / "artifacts" / name
        path.write_bytes(path.read_bytes()[:-count])

    return break_it


def other_shapes(folder: Path) -> None:
    path = folder / "artifacts" / "weights.safetensors"
    save_file({name: np.zeros((2, 2), np.float32) for name in load_file(path)}, path)


def other_output(folder: Path) -> None:
    path = folder / "artifacts" / "model.onnx"
    network = onnx.load(path)
    network.graph.node[-1].output[0] = network.graph.output[0].name = "z"
    onnx.save(network, path)


def other_input(folder: Path) -> None:
    """Put in the network of longer clips."""
    config = contents.Config(**json.loads((folder / "artifacts" / "config.json").read_text()))
    arguments = {**config.build["arguments"], "values": 2 * config.build["arguments"]["values"]}
    network = random_packages.build({**config.build, "arguments": arguments})
    model = exporting.export(network, config.build["method"], (arguments["values"],))
    (folder / "artifacts" / "model.onnx").write_bytes(model)


BUILD = {"module": "symphony2vec.models.embeddings.networks", "name": "Encoder", "arguments": {}, "method": "encode"}
INVALID_PROTOBUF = "protobuf parsing failed"
DAMAGE = {
    "no config": (without("config.json"), r"holds no model of symphony2vec: artifacts/config\.json is missing"),
    "no network": (without("model.onnx"), r"No such file|is missing"),
    "network is empty": (holding("model.onnx", b""), "No graph was found"),
    "network is cut": (cut("model.onnx", 100), INVALID_PROTOBUF),
    "network is cut to its beginning": (holding("model.onnx", b"\x08\x08\x12\x07pytorch\x1a"), INVALID_PROTOBUF),
    "network is no ONNX": (holding("model.onnx", b"no network"), INVALID_PROTOBUF),
    "network has no graph": (holding("model.onnx", b"\x08\x08"), "No graph was found"),
    "config is no JSON": (holding("config.json", b"{"), "Expecting property name"),
    "config is no text": (holding("config.json", b"\xff\xfe\x00"), "codec can't decode"),
    "config is a list": (holding("config.json", b"[]"), "no attribute 'get'"),
    "config lacks all": (holding("config.json", b'{"format": 2}'), "missing .* required"),
    "head is no JSON": (holding("head.json", b"no"), "Expecting value"),
    "head lacks its weights": (holding("head.json", b"{}"), "'mean' is missing"),
    "build of nothing": (saying(build={}), "'method' is missing"),
    "scaling of nothing": (saying(scaling={}), "'offset' is missing"),
    "frontend of nothing": (saying(frontend={}), "is missing"),
}
EARLIER_DAMAGE = {
    "weights are empty": (holding("weights.safetensors", b""), "(?i)header"),
    "weights are cut": (cut("weights.safetensors", 100), "(?i)incomplete|invalid|metadata"),
    "weights are another network's": (other_shapes, "Error.* in loading state_dict"),
    "no such network": (saying(build={**BUILD, "name": "Transformer"}), "no attribute 'Transformer'"),
    "no such module": (saying(build={**BUILD, "module": "symphony2vec.none"}), "No module named 'symphony2vec.none'"),
    "no such method": (saying(build={**BUILD, "method": "none"}), "missing .* required|no attribute"),
    "arguments that it lacks": (saying(build=BUILD), "missing .* required"),
    "code that is no network": (saying(build={**BUILD, "name": "pairwise"}), "is not a network"),
    "a name that the module lacks": (saying(build={**BUILD, "name": "functional"}), "no attribute"),
    "a program": (
        saying(build={"module": "os", "name": "system", "arguments": {"command": "touch here"}, "method": "encode"}),
        "os is not a module of symphony2vec",
    ),
    "a program by way of a module": (
        saying(build={**BUILD, "module": "symphony2vec.models.ali.stage.os", "name": "system"}),
        "No module named",
    ),
    "scaling of nothing": (saying(scaling={}), "'offset' is missing"),
    "frontend of nothing": (saying(frontend={}), "is missing"),
}


def assert_damaged(folder: Path, reason: str) -> None:
    """The model cannot be loaded, for this reason, in one line that begins with the folder."""
    with pytest.raises(UserError, match=reason) as caught:
        contents.read(folder, Model)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_package_is_one_line_that_names_it(name, packages, tmp_path):
    folder = copied(packages["vae-mel"], tmp_path)
    break_it, reason = DAMAGE[name]
    break_it(folder)
    assert_damaged(folder, reason)


@pytest.mark.parametrize("break_it", [other_output, other_input])
def test_the_network_of_another_model_is_one_line_that_names_the_package(break_it, packages, tmp_path):
    folder = copied(packages["vae-mel"], tmp_path)
    break_it(folder)
    assert_damaged(folder, "Invalid output name|invalid dimensions")


@pytest.fixture(scope="module")
def earlier_package(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the VAE in the earlier format: with weights.safetensors in place of model.onnx."""
    folder = copied(packages["vae-mel"], tmp_path_factory.mktemp("earlier"))
    (folder / "artifacts" / "model.onnx").unlink()
    build = read_json(folder / "artifacts" / "config.json", "")["build"]
    random_packages.save_weights(random_packages.build(build), folder / "artifacts" / "weights.safetensors")
    return folder


@pytest.mark.parametrize("name", EARLIER_DAMAGE)
def test_a_damaged_package_of_the_earlier_format_is_one_line_that_names_it(
    name, earlier_package, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = copied(earlier_package, tmp_path)
    break_it, reason = EARLIER_DAMAGE[name]
    break_it(folder)
    assert_damaged(folder, reason)
    assert not (tmp_path / "here").exists()


def test_a_package_of_the_earlier_format_has_the_fingerprint_of_its_weights(earlier_package):
    model = contents.read(earlier_package, Model)
    assert (model.name, model.dimensions, model.composers) == ("vae-mel work-0", 4, list(COMPOSERS))
    config = read_json(earlier_package / "artifacts" / "config.json", "")
    assert model.fingerprint == fingerprint(config, earlier_package / "artifacts" / "weights.safetensors")


def fingerprint(config: dict[str, Any], network: Path) -> str:
    """Return the fingerprint of format 2: a digest of build, scaling and frontend, and of the network's file."""
    labelled = {"build": config["build"], "scaling": config["scaling"], "hearing": config["frontend"]}
    digest = hashlib.sha256(network.read_bytes()).digest()
    return hashlib.sha256(json.dumps(labelled, sort_keys=True).encode() + digest).hexdigest()[:16]


def test_a_package_is_read_from_the_folder_of_its_artifacts_too(packages):
    one, other = (contents.read(packages["pca-mel"] / inner, Model) for inner in ("", "artifacts"))
    assert one.fingerprint == other.fingerprint
    assert len(one.fingerprint) == 16


def test_a_config_with_the_keys_of_earlier_versions_is_the_same_model(packages, tmp_path):
    folder = copied(packages["vae-mel"], tmp_path)
    before = contents.read(folder, Model)
    path = folder / "artifacts" / "config.json"
    config = json.loads(path.read_text())
    assert before.fingerprint == fingerprint(config, folder / "artifacts" / "model.onnx")
    config["hearing"], config["reading"] = config.pop("frontend"), config.pop("readout")
    config["subject"]["draw"] = config["subject"].pop("fold")
    path.write_text(json.dumps(config))
    after = contents.read(folder, Model)
    assert (after.name, after.fingerprint) == (before.name, before.fingerprint)


def test_fingerprints_tell_models_and_readings_apart(packages):
    found = [contents.read(folder, Model).fingerprint for folder in packages.values()]
    assert len(set(found)) == len(found)


def test_the_probe_and_the_card_do_not_change_the_fingerprint(packages, tmp_path):
    folder = copied(packages["vae-mel"], tmp_path)
    before = contents.read(folder, Model)
    (folder / "artifacts" / "head.json").unlink()
    after = contents.read(folder, Model)
    assert (after.fingerprint, after.composers) == (before.fingerprint, [])
    assert before.composers == list(COMPOSERS)
    with pytest.raises(UserError, match="vae-mel work-0 holds no probe, so it cannot classify composers"):
        after.classify(np.zeros((1, 4)))


# the card -------------------------------------------------------------------------------------------------------------


def test_the_card_says_data_split_accuracy_licences_use_and_limits(trained):
    text = (trained.package() / "card.md").read_text(encoding="utf-8")
    scores = read_json(trained.project.out("probe", "work-0", "embeddings", "vae-mel", "scores.json"), "")["scores"][0]
    assert text.startswith("# vae-mel, work-0\n")
    assert "Input: 1 seconds of mono sound at 22050 Hz, as a mel spectrogram" in text
    assert "Corpus `made_up`: Ana Fantasía (14 clips), Берлиоз (14 clips)." in text
    assert re.search(r"Fold work-0: train \d+ clips of 4 works, validation .*, test \d clips of 2 works\.", text)
    assert "\n- CC0 (4 movements)\n" in text
    assert "\n- CC BY 4.0 (4 movements)\n" in text
    assert f"**{scores['test_accuracy']:.1%}** on {scores['clips']['test']} test clips" in text
    low, high = scores["test_accuracy_low"], scores["test_accuracy_high"]
    assert f"(95% confidence interval over works {low:.1%} to {high:.1%};" in text
    assert f"temperature {scores['temperature']:.2f}" in text
    assert "Few test works of Ana Fantasía, Берлиоз" in text
    for heading in ("## Data", "## Accuracy", "## Intended use", "## Limits"):
        assert heading in text


def test_mlflow_shows_the_package_as_a_model_of_its_run_with_parameters_and_scores(trained):
    run = client(trained.project).get_run(trained.record("embeddings", "vae-mel")["run_id"])
    model = tracking.find_logged_model(client(trained.project), run.info.run_id, "model")
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert (str(model.status), model.model_type, model.params) == ("READY", "embedding", run.data.params)
    scores = {metric.key: metric.value for metric in model.metrics}
    assert {"test_accuracy", "test_work_accuracy", "test_macro_f1"} <= set(scores)
    assert scores == {name: run.data.metrics[name] for name in scores}


def test_a_card_says_that_its_accuracy_is_not_known_yet(packages):
    text = (packages["encoder"] / "card.md").read_text(encoding="utf-8")
    assert "Output: one probability per composer." in text
    assert "Not probed yet" in text


def test_each_reading_has_a_card_with_its_own_accuracy(packages, trained):
    told = read_json(trained.project.out("probe", "work-0", "ali", "paper-8", "scores.json"), "")["scores"]
    scores = {one["readout"]: one for one in told}
    for name, readout in (("ali", ""), ("ali crops", "crops")):
        text = (packages[name] / "card.md").read_text(encoding="utf-8")
        assert text.startswith(f"# paper-8{' crops' if readout else ''}, work-0\n")
        assert f"**{scores[readout]['test_accuracy']:.1%}**" in text
        assert ("Only the middle crop of each clip" in text) is (readout == "")
        own = Head.from_plain(read_json(packages[name] / "artifacts" / "head.json", ""))
        assert own.temperature == scores[readout]["temperature"]


def test_the_run_keeps_what_the_probe_found(trained):
    run_id = trained.record("embeddings", "vae-mel")["run_id"]
    known = client(trained.project)
    assert {"model", "probe"} <= logged_names(trained.project, run_id)
    assert [one.path for one in known.list_artifacts(run_id, "probe")] == ["probe/works.csv"]
    metrics = known.get_run(run_id).data.metrics
    assert metrics["test_log_loss_calibrated"] > 0.0
    assert metrics["temperature"] > 0.0


# the probe in a package -----------------------------------------------------------------------------------------------


def fitted(composers: int, seed: int = 0) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """A scaler and a probe of scikit-learn, fitted too closely to few vectors; other vectors with their classes."""
    rng = np.random.default_rng(seed)
    names = np.array([f"c{code}" for code in range(composers)])
    codes = np.tile(np.arange(composers), 200)
    vectors = 5.0 + 3.0 * (np.eye(composers, 8)[codes] + rng.standard_normal((len(codes), 8)))
    few = slice(0, 12 * composers)
    scaler = StandardScaler().fit(vectors[few])
    probe = LogisticRegression(C=10.0, max_iter=2000).fit(scaler.transform(vectors[few]), names[codes[few]])
    return scaler, probe, vectors[few.stop :], codes[few.stop :]


@pytest.mark.parametrize("composers", [2, 3, 5])
def test_the_head_says_what_scikit_learn_says(composers):
    scaler, probe, vectors, _ = fitted(composers)
    made = Head.from_sklearn(scaler, probe)
    assert made.composers == probe.classes_.tolist()
    np.testing.assert_allclose(made.probabilities(vectors), probe.predict_proba(scaler.transform(vectors)), atol=1e-9)


@pytest.mark.parametrize("composers", [2, 4])
def test_probabilities_sum_to_1_at_every_temperature(composers):
    scaler, probe, vectors, codes = fitted(composers)
    made = Head.from_sklearn(scaler, probe).calibrate(vectors, codes)
    extreme = np.concatenate([vectors, 1e6 * vectors])
    found = made.probabilities(extreme)
    assert np.isfinite(found).all()
    assert (found >= 0.0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize("composers", [2, 4])
def test_the_temperature_lowers_the_log_loss_and_names_nobody_else(composers):
    scaler, probe, vectors, codes = fitted(composers)
    plain = Head.from_sklearn(scaler, probe)
    warmed = plain.calibrate(vectors, codes)
    assert warmed.temperature > 1.5  # it was fitted too closely, and so is too sure
    losses = [head.log_loss(one.probabilities(vectors), codes) for one in (plain, warmed)]
    assert losses[1] < 0.9 * losses[0]
    named = [one.probabilities(vectors).argmax(axis=1) for one in (plain, warmed)]
    np.testing.assert_array_equal(*named)
    for near in (0.95, 1.05):
        other = head.log_loss(head.softmax(plain.logits(vectors) / (near * warmed.temperature)), codes)
        assert losses[1] <= other


def test_a_head_comes_back_from_its_plain_values():
    scaler, probe, vectors, codes = fitted(3)
    made = Head.from_sklearn(scaler, probe).calibrate(vectors, codes)
    again = Head.from_plain(json.loads(json.dumps(made.as_plain())))
    np.testing.assert_array_equal(again.probabilities(vectors), made.probabilities(vectors))
    assert again.composers == made.composers


def test_the_probe_of_a_package_says_what_the_stage_wrote(trained):
    """predictions.csv holds the probabilities before calibration: the same names, and the same odds but for a power."""
    import pandas as pd

    told = pd.read_csv(trained.project.out("probe", "work-0", "embeddings", "vae-mel", "predictions.csv"))
    own = Head.from_plain(read_json(trained.package() / "artifacts" / "head.json", ""))
    vectors = trained.vectors()[told["clip"]]
    written = told[[f"p({name})" for name in own.composers]].to_numpy()
    np.testing.assert_allclose(head.softmax(own.logits(vectors)), written, atol=1e-5)


# the example ----------------------------------------------------------------------------------------------------------


def test_the_example_is_the_same_at_every_call_and_within_full_scale():
    one = example.sound(8000, 2.5)
    np.testing.assert_array_equal(example.sound(8000, 2.5), one)
    assert (one.dtype, one.shape) == (np.float32, (20000,))
    assert 0.5 < np.abs(one).max() < 1.0
