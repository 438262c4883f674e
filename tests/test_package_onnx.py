"""Networks in ONNX: every kind gives PyTorch's vectors; earlier packages still load; embedding needs no PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from torch import nn

import random_packages
from conftest import music
from symphony2vec.errors import UserError
from symphony2vec.models.ali import crops
from symphony2vec.models.classifiers import networks as classifiers
from symphony2vec.models.embeddings import networks as autoencoders
from symphony2vec.models.embeddings import pca
from symphony2vec.models.temporal import networks as temporal
from symphony2vec.package import contents, exporting, scaling
from symphony2vec.package.model import Model
from symphony2vec.package.session import INPUT, OUTPUT, OnnxNetwork

RATE_HZ, HOP = 8000, 256
COMPOSERS = 5
TOLERANCE = 1e-5  # of the norm of a clip's vector
UNIT, SYMMETRIC, STANDARD = (0.0, 1.0), (-1.0, 1.0), None  # ranges of the input; None: mean 0, standard deviation 1


@dataclass(frozen=True)
class Case:
    """A network of one kind, with a method that packages store.

    Attributes:
        module, name, arguments, method: see `contents.Config.build`.
        shape: (F, T) of a clip.
        input_range: of the scaled clips.
        representation: of the clips.
        flatten: the network takes (B, F T).
    """

    module: Any
    name: str
    arguments: dict[str, Any]
    method: str
    shape: tuple[int, int]
    input_range: tuple[float, float] | None = STANDARD
    representation: str = "mel"
    flatten: bool = False

    @property
    def build(self) -> dict[str, Any]:
        """The value of `Config.build`."""
        names = {"module": self.module.__name__, "name": self.name, "arguments": self.arguments, "method": self.method}
        return names | ({"flatten": True} if self.flatten else {})

    @property
    def config(self) -> contents.Config:
        """The contents of config.json."""
        bins, frames = self.shape
        features = {"fft_samples": 512, "hop_samples": HOP, "mel_bands": 16, "dynamic_range_db": 80.0}
        features |= {"mfcc_coefficients": 13, "chroma_bins": 12}
        features |= {"mel_bands": bins} if self.representation == "mel" else {}
        return contents.Config(
            subject={"stage": "stage", "model": "model", "representation": self.representation, "fold": "work-0"},
            readout="",
            build=self.build,
            scaling=scaling.Scaling(np.full(bins, -40.0), np.full(bins, 20.0)).as_plain(),
            frontend={
                "representation": self.representation,
                "sample_rate_hz": RATE_HZ,
                "duration_s": (frames - 1) * HOP / RATE_HZ,
                "minimum_fill": 0.5,
                "level": {"loudness_lufs": -23.0, "peak_dbfs": -1.0, "silence_db": 60.0},
                "features": features,
            },
            composers=[f"Composer {number}" for number in range(COMPOSERS)],
            data={},
        )

    def network(self, seed: int = 0) -> nn.Module:
        """The network with random weights."""
        return random_packages.build(self.build, seed)

    def clips(self, count: int) -> np.ndarray:
        """Random input (count, F, T), or (count, F T), in the network's range."""
        rng = np.random.default_rng(count)
        shape = (count, self.shape[0] * self.shape[1]) if self.flatten else (count, *self.shape)
        values = rng.standard_normal(shape) if self.input_range is None else rng.uniform(*self.input_range, shape)
        return values.astype(np.float32)


def classifier(kind: str, shape: tuple[int, int], representation: str = "mel", chunk_frames: int = 0) -> Case:
    arguments = {
        "kind": kind,
        "representation": representation,
        "shape": list(shape),
        "composers": COMPOSERS,
        "chunk_frames": chunk_frames,
    }
    return Case(classifiers, "Classifier", arguments, "probabilities", shape, representation=representation)


def autoencoder(name: str, **options: Any) -> Case:
    return Case(
        autoencoders, name, {"values": 16 * 24, "dimensions": 6, **options}, "encode", (16, 24), SYMMETRIC, flatten=True
    )


def ali(name: str, method: str, bands: str = "low", **options: Any) -> Case:
    return Case(crops, name, {"latent": 8, "bands": bands, **options}, method, (40, 103), UNIT)


def clip_network(name: str, method: str, step_latent: int = 3, **options: Any) -> Case:
    arguments = {"latent": 6, "step_latent": step_latent, "width": 2, "bins": 32, **options}
    return Case(temporal, name, arguments, method, (32, 71))


CASES = {
    "feed-forward": classifier("ff", (16, 24)),
    "cnn mel": classifier("cnn", (64, 100)),
    "cnn mfcc": classifier("cnn", (13, 60), "mfcc"),
    "cnn chroma": classifier("cnn", (12, 60), "chroma"),
    "fair cnn": classifier("fair_cnn", (16, 47)),
    "fair cnn of many bins": classifier("fair_cnn", (40, 47)),
    "lstm": classifier("lstm", (16, 40), chunk_frames=12),
    "autoencoder": autoencoder("Autoencoder"),
    "variational autoencoder": autoencoder("VariationalAutoencoder"),
    "encoder": autoencoder("Encoder"),
    "variational encoder": autoencoder("Encoder", variational=True),
    "pca": Case(pca, "Projection", {"values": 16 * 24, "dimensions": 6}, "encode", (16, 24), SYMMETRIC, flatten=True),
    "ali": ali("CropEncoder", "encode"),
    "ali of the high bands": ali("CropEncoder", "encode", "high"),
    "ali crops": ali("CropEncoder", "encode_crops"),
    "ali classifier": ali("EncoderClassifier", "probabilities", composers=COMPOSERS),
    "ali classifier crops": ali("EncoderClassifier", "probabilities_crops", "high", composers=COMPOSERS),
    "temporal": clip_network("ClipEncoder", "encode"),
    "temporal without step codes": clip_network("ClipEncoder", "encode", step_latent=0),
    "temporal pooled": clip_network("ClipEncoder", "encode_pooled"),
    "temporal classifier": clip_network("ClipClassifier", "probabilities", composers=COMPOSERS),
}
MEL = CASES["variational encoder"]


@pytest.fixture(scope="module")
def models() -> dict[str, bytes]:
    """The network of every case in ONNX."""
    return {
        name: exporting.export(case.network(), case.method, contents.input_shape(case.config))
        for name, case in CASES.items()
    }


def relative_difference(vectors: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest distance of two vectors of a clip, as a share of their norm."""
    assert vectors.shape == expected.shape
    return float((np.linalg.norm(vectors - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


# the same vectors as PyTorch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 33])
@pytest.mark.parametrize("name", CASES)
def test_onnx_runtime_gives_the_vectors_of_pytorch(name: str, count: int, models: dict[str, bytes]) -> None:
    case = CASES[name]
    x = case.clips(count)
    expected = exporting.TorchNetwork(case.network(), case.method)(x)
    vectors = OnnxNetwork(models[name])(x)
    assert vectors.dtype == np.float32
    assert relative_difference(vectors, expected) <= TOLERANCE
    if count > 1:  # the clips differ, so that the comparison is not trivial
        assert relative_difference(np.roll(expected, 1, axis=0), expected) > 100 * TOLERANCE


@pytest.mark.parametrize("name", ["ali crops", "ali classifier crops"])
def test_crops_that_pytorch_takes_in_several_passes_are_averaged_alike(
    name: str, models: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crops, "CROPS_PER_PASS", 7)
    case = CASES[name]
    x = case.clips(33)
    expected = exporting.TorchNetwork(case.network(), case.method)(x)
    assert relative_difference(OnnxNetwork(models[name])(x), expected) <= TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_the_vector_of_a_clip_does_not_depend_on_the_others(name: str, models: dict[str, bytes]) -> None:
    network, x = OnnxNetwork(models[name]), CASES[name].clips(33)
    single = np.concatenate([network(clip[None]) for clip in x[:3]])
    assert relative_difference(single, network(x)[:3]) <= TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_a_model_is_valid_onnx_of_standard_operators_in_one_file(name: str, models: dict[str, bytes]) -> None:
    model = onnx.load_model_from_string(models[name])
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", exporting.OPSET)]
    assert {node.domain for node in model.graph.node} == {""}
    assert not [tensor.name for tensor in model.graph.initializer if tensor.external_data]
    assert ([value.name for value in model.graph.input], [value.name for value in model.graph.output]) == (
        [INPUT],
        [OUTPUT],
    )


@pytest.mark.parametrize("name", CASES)
def test_exporting_again_gives_the_same_bytes(name: str, models: dict[str, bytes]) -> None:
    case = CASES[name]
    assert exporting.export(case.network(), case.method, contents.input_shape(case.config)) == models[name]


def test_a_network_is_exported_in_evaluation_mode() -> None:
    case = CASES["fair cnn"]
    network = case.network().train()
    model = exporting.export(network, case.method, case.shape)
    x = case.clips(3)
    expected = exporting.TorchNetwork(case.network(), case.method)(x)
    assert relative_difference(OnnxNetwork(model)(x), expected) <= TOLERANCE


def test_input_of_other_precision_or_memory_layout_is_accepted(models: dict[str, bytes]) -> None:
    network, x = OnnxNetwork(models["cnn mel"]), CASES["cnn mel"].clips(2)
    expected = network(x)
    np.testing.assert_array_equal(network(x.astype(np.float64)), expected)
    np.testing.assert_array_equal(network(np.asfortranarray(x)), expected)


# packages of the earlier format ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_a_package_of_the_earlier_format_gives_the_same_vectors(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    network = case.network()
    model = contents.read(random_packages.write(tmp_path / "current", network, case.config), Model)
    earlier = contents.read(random_packages.write_earlier(tmp_path / "earlier", network, case.config), Model)
    wave = music(7.3 * model.duration_s, rate_hz=RATE_HZ)
    embedding, expected = earlier.embed(wave, RATE_HZ), model.embed(wave, RATE_HZ)
    assert len(expected.vectors) >= 7
    assert relative_difference(embedding.vectors, expected.vectors) <= TOLERANCE
    np.testing.assert_array_equal(embedding.starts_s, expected.starts_s)
    assert (earlier.name, earlier.dimensions, earlier.classes) == (model.name, model.dimensions, model.classes)


def test_a_package_of_a_network_that_has_moved_still_loads(tmp_path: Path) -> None:
    network, config = MEL.network(), MEL.config
    moved_config = replace(config, build={**config.build, "module": "symphony2vec.embeddings.networks"})
    model = contents.read(random_packages.write_earlier(tmp_path / "current", network, config), Model)
    earlier = contents.read(random_packages.write_earlier(tmp_path / "earlier", network, moved_config), Model)
    wave = music(3.0, rate_hz=RATE_HZ)
    np.testing.assert_array_equal(earlier.embed(wave, RATE_HZ).vectors, model.embed(wave, RATE_HZ).vectors)


@pytest.mark.parametrize("write", [random_packages.write, random_packages.write_earlier], ids=["current", "earlier"])
def test_other_weights_have_another_fingerprint(write: Callable[..., Path], tmp_path: Path) -> None:
    folders = [write(tmp_path / str(seed), MEL.network(seed), MEL.config) for seed in (0, 1)]
    fingerprints = {contents.read(folder, Model).fingerprint for folder in (*folders, folders[0])}
    assert len(fingerprints) == 2


def test_a_network_given_in_place_of_that_of_the_package_is_used(tmp_path: Path) -> None:
    folder = random_packages.write(tmp_path / "package", MEL.network(), MEL.config)
    model = contents.read(folder, Model, exporting.TorchNetwork(MEL.network(1), MEL.method))
    expected = contents.read(random_packages.write(tmp_path / "other", MEL.network(1), MEL.config), Model)
    wave = music(3.0, rate_hz=RATE_HZ)
    assert relative_difference(model.embed(wave, RATE_HZ).vectors, expected.embed(wave, RATE_HZ).vectors) <= TOLERANCE


def test_a_package_with_model_onnx_imports_no_module_that_its_config_names(tmp_path: Path) -> None:
    build = {**MEL.build, "module": "os", "name": "system", "arguments": {"command": f"touch {tmp_path / 'trace'}"}}
    folder = random_packages.write(tmp_path / "package", MEL.network(), MEL.config)
    (folder / contents.CONFIG).write_text(json.dumps(asdict(replace(MEL.config, build=build))))
    assert contents.read(folder, Model).dimensions == 6
    assert not (tmp_path / "trace").exists()


# without PyTorch ------------------------------------------------------------------------------------------------------

# The libraries of the pipeline, which embedding with a mel model must not import
PIPELINE = "torch librosa sklearn mlflow dvc optuna music21 numba matplotlib safetensors onnx".split()
EMBED = """
import json, sys

pipeline, absent_libraries = json.loads(sys.argv[2]), json.loads(sys.argv[3])

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent_libraries:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import numpy as np
from symphony2vec.embedder import Embedder
from symphony2vec.errors import UserError

answer = {}
try:
    embedder = Embedder.load(sys.argv[1])
    answer["is_loaded"] = True
    wave = np.load("wave.npy")
    answer["vectors"] = embedder.embed(wave, 8000).vectors.tolist()
    answer["file"] = embedder.embed_file("wave.flac").vectors.tolist()
except UserError as error:
    answer["error"] = str(error)
answer["imports"] = sorted({name.partition(".")[0] for name in sys.modules} & set(pipeline))
json.dump(answer, open("answer.json", "w"))
"""


def embed_elsewhere(package: Path, folder: Path, absent_libraries: list[str]) -> dict[str, Any]:
    """Return what a process without some libraries gives for a package: vectors or the error, and its imports."""
    import soundfile

    folder.mkdir(exist_ok=True)
    wave = music(2.0, rate_hz=RATE_HZ)
    np.save(folder / "wave.npy", wave)
    soundfile.write(folder / "wave.flac", wave, RATE_HZ)
    command = [sys.executable, "-c", EMBED, str(package), json.dumps(PIPELINE), json.dumps(absent_libraries)]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert process.returncode == 0, process.stderr[-3000:]
    answer: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    return answer


@pytest.mark.parametrize("absent_libraries", [[], PIPELINE], ids=["none", "pipeline"])
def test_a_mel_model_needs_no_library_of_the_pipeline(absent_libraries: list[str], tmp_path: Path) -> None:
    package = random_packages.write(tmp_path / "package", MEL.network(), MEL.config)
    answer = embed_elsewhere(package, tmp_path / "elsewhere", absent_libraries)
    assert "error" not in answer
    assert answer["imports"] == []
    expected = contents.read(package, Model).embed(music(2.0, rate_hz=RATE_HZ), RATE_HZ).vectors
    assert relative_difference(np.array(answer["vectors"]), expected) <= TOLERANCE
    assert np.array(answer["file"]).shape == expected.shape


def test_without_pytorch_an_earlier_package_names_the_extra(tmp_path: Path) -> None:
    package = random_packages.write_earlier(tmp_path / "package", MEL.network(), MEL.config)
    answer = embed_elsewhere(package, tmp_path / "elsewhere", ["torch"])
    assert "is_loaded" not in answer
    assert answer["error"] == "this needs torch, which is not installed: pip install 'symphony2vec[pipeline]'"


def test_without_pytorch_a_package_without_its_network_is_damaged(tmp_path: Path) -> None:
    package = random_packages.write(tmp_path / "package", MEL.network(), MEL.config)
    (package / contents.ONNX).unlink()
    answer = embed_elsewhere(package, tmp_path / "elsewhere", ["torch"])
    assert answer["error"].startswith(f"{package}: the model cannot be loaded (")


def test_without_librosa_a_model_of_mfcc_names_the_extra(tmp_path: Path) -> None:
    case = CASES["cnn mfcc"]
    config = replace(case.config, build={**case.build, "method": "encode"})  # not a classifier
    package = random_packages.write(tmp_path / "package", case.network(), case.config)
    (package / contents.CONFIG).write_text(json.dumps(asdict(config)))
    answer = embed_elsewhere(package, tmp_path / "elsewhere", PIPELINE)
    assert answer["error"] == "this needs librosa, which is not installed: pip install 'symphony2vec[pipeline]'"


# models that ONNX Runtime cannot run ----------------------------------------------------------------------------------

VALUES = MEL.shape[0] * MEL.shape[1]


def onnx_model(nodes: list[Any], opset: int = exporting.OPSET, **domains: int) -> bytes:
    """Return a model from x (clips, F T) to y (clips, 4)."""
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [VALUES, 4], np.ones(4 * VALUES, np.float32))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["clips", VALUES])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["clips", 4])],
        [weights],
    )
    opsets = [helper.make_opsetid("", opset)] + [
        helper.make_opsetid(name, version) for name, version in domains.items()
    ]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return model


MULTIPLY = helper.make_node("MatMul", [INPUT, "weights"], [OUTPUT])
UNSUPPORTED_MODELS = {
    "a later opset": (lambda: onnx_model([MULTIPLY], opset=999), "(?i)opset"),
    "an unknown operator": (
        lambda: onnx_model([helper.make_node("Transmogrify", [INPUT, "weights"], [OUTPUT])]),
        "Transmogrify",
    ),
    "an unknown domain": (
        lambda: onnx_model([helper.make_node("Mix", [INPUT, "weights"], [OUTPUT], domain="example")], example=1),
        "example",
    ),
    "a type without an implementation": (
        lambda: onnx_model(
            [
                helper.make_node("Cast", [INPUT], ["x16"], to=TensorProto.BFLOAT16),
                helper.make_node("Cast", ["weights"], ["weights16"], to=TensorProto.BFLOAT16),
                helper.make_node("MatMul", ["x16", "weights16"], ["y16"]),
                helper.make_node("Cast", ["y16"], [OUTPUT], to=TensorProto.FLOAT),
            ]
        ),
        f"onnxruntime {onnxruntime.__version__} cannot run the model .*MatMul.*: pip install -U onnxruntime",
    ),
}


def test_the_model_of_these_tests_loads_with_a_known_operator(tmp_path: Path) -> None:
    folder = random_packages.write(tmp_path / "package", MEL.network(), MEL.config)
    (folder / contents.ONNX).write_bytes(onnx_model([MULTIPLY]))
    assert contents.read(folder, Model).dimensions == 4


@pytest.mark.parametrize("name", UNSUPPORTED_MODELS)
def test_an_operator_that_onnx_runtime_lacks_is_one_line(name: str, tmp_path: Path) -> None:
    make_model, reason = UNSUPPORTED_MODELS[name]
    folder = random_packages.write(tmp_path / "package", MEL.network(), MEL.config)
    (folder / contents.ONNX).write_bytes(make_model())
    with pytest.raises(UserError, match=reason) as caught:
        contents.read(folder, Model)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{folder}: the model cannot be loaded (") or "pip install -U onnxruntime" in message
