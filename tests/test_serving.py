"""The HTTP app: a real server, real requests and a thousand malformed ones; and `mlflow models serve` of a package."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from symphony2vec.errors import UserError
from symphony2vec.models.classifiers import networks as classifiers
from symphony2vec.models.embeddings import networks
from symphony2vec.package import contents, saving
from symphony2vec.package.model import Model
from symphony2vec.package.scaling import unit
from symphony2vec.serving.inference import Limits, Row, Service

RATE_HZ, DURATION_S, BANDS, HOP_SAMPLES, DIMENSIONS = 8000, 1.0, 16, 512, 5
FRAMES = 1 + RATE_HZ // HOP_SAMPLES
MAX_SECONDS, MAX_MEGABYTES, MAX_ROWS = 20, 1, 4
LIMITS = {"SECONDS": MAX_SECONDS, "MEGABYTES": MAX_MEGABYTES, "ROWS": MAX_ROWS}
MALFORMED, THREADS = 1000, 4
GROWTH_MB = 32.0  # what 1,000 refused requests may leave behind; 8 were measured, and 16 after 8,000, where it stays
JSON = "application/json"


def config(settings: dict[str, Any], build: dict[str, Any], model: str = "ae") -> contents.Config:
    frontend = {
        "representation": "mel",
        "sample_rate_hz": RATE_HZ,
        "duration_s": DURATION_S,
        "minimum_fill": 0.5,
        "level": {"loudness_lufs": -23.0, "peak_dbfs": -1.0, "silence_db": 60.0},
        "features": settings["features"] | {"mel_bands": BANDS, "hop_samples": HOP_SAMPLES},
    }
    subject = {"stage": "embeddings", "model": model, "representation": "mel", "fold": "work-0"}
    data = {"corpus": "tones", "sides": {}, "composers": {}, "orchestration": "score", "licences": []}
    scaling = unit("mel", BANDS, 80.0).as_plain()
    return contents.Config(subject, "", build, scaling, frontend, ["Bach", "Haydn"], data)


@pytest.fixture(scope="module")
def package(tmp_path_factory, settings) -> Path:
    """A package of an encoder of one second of sound, 5 dimensions."""
    torch.manual_seed(0)
    arguments = {"values": BANDS * FRAMES, "dimensions": DIMENSIONS}
    build = {"module": networks.__name__, "name": "Encoder", "arguments": arguments, "method": "encode"}
    network = networks.Encoder(**arguments)
    return packed(tmp_path_factory.mktemp("package"), network, config(settings, {**build, "flatten": True}))


def packed(folder: Path, network: torch.nn.Module, package_config: contents.Config) -> Path:
    """The MLflow model of a network, as a training logs it."""
    (folder / "files").mkdir()
    saving.write_files(folder / "files", network, package_config)
    return saving.wrap(folder / "files", folder / "model")


@pytest.fixture(scope="module")
def service(package) -> Service:
    """The package in this process, at the default limits."""
    return Service(contents.read(package, Model), Limits())


@dataclass(frozen=True)
class Server:
    """A running server: its port, its process, and the path that takes requests."""

    port: int
    pid: int
    path: str = "/embed"

    def ask(self, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and answer of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", self.path, encoded, {"Content-Type": JSON} | headers)
        with connection.getresponse() as response:
            return response.status, json.loads(response.read())

    def embed(self, body: Any) -> Any:
        """The answer to a valid request."""
        status, answer = self.ask(body)
        assert status == 200, answer
        return answer

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.status, response.read().decode()

    def refusal(self, body: Any, status: int = 400, **headers: str) -> str:
        """The reason given to an invalid request."""
        got, answer = self.ask(body, **headers)
        assert got == status, answer
        assert answer.keys() == {"detail"}
        return str(answer["detail"])

    def resident_mb(self) -> float:
        """The memory of the process that answers."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@contextmanager
def running(command: list[str], place: Path, **environment: str) -> Iterator[tuple[int, int]]:
    """A server process until the end of the block: its port, and the process that answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTEST_"))},
        **{f"SYMPHONY2VEC_MAX_{name}": str(limit) for name, limit in LIMITS.items()},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(place),
        **environment,
    }
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], env=variables, stdout=log, stderr=log, cwd=place, start_new_session=True
        )
    try:
        _wait_for(port, process, place / "log")
        yield port, _last_child(process.pid)
        assert not list(place.glob("symphony2vec-*"))  # no sound of a client is left behind
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def server(package, tmp_path_factory) -> Iterator[Server]:
    """`symphony2vec serve` of a package."""
    with running(["symphony2vec", "serve", "--model", str(package)], tmp_path_factory.mktemp("server")) as (port, pid):
        yield Server(port, pid)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 240.0
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)


def _last_child(pid: int) -> int:
    """The last of the processes that start each other: `mlflow` starts `uvicorn`."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return _last_child(int(children[0])) if children else pid


def file_of(wave: np.ndarray, kind: str = "FLAC", subtype: str | None = None, rate_hz: int = RATE_HZ) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate_hz, format=kind, subtype=subtype)
    return buffer.getvalue()


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def tone(duration_s: float = 1.0) -> np.ndarray:
    return np.asarray(0.3 * np.sin(np.arange(round(duration_s * RATE_HZ)) * 0.2), dtype=np.float32)


@pytest.fixture(scope="module")
def example(package) -> str:
    return text_of((package / "artifacts" / contents.EXAMPLE).read_bytes())


@pytest.fixture(scope="module")
def golden(package) -> np.ndarray:
    return np.asarray(np.load(package / "artifacts" / contents.GOLDEN))


# Valid requests


def test_the_server_answers_with_the_golden_vector_of_the_example(server, example, golden):
    answer = server.embed({"audio": example})
    np.testing.assert_allclose(answer["vectors"], golden, rtol=1e-4, atol=1e-6)
    assert answer["starts_s"] == [0.0]
    assert answer["ends_s"] == [DURATION_S]
    assert answer.keys() == {"starts_s", "ends_s", "vectors"}  # there is no probe, so no composers


def test_a_waveform_is_embedded_as_the_file_that_holds_it(server, package, golden):
    wave, rate_hz = soundfile.read(package / "artifacts" / contents.EXAMPLE)
    answer = server.embed({"waveform": wave.tolist(), "sample_rate": rate_hz})
    np.testing.assert_allclose(answer["vectors"], golden, rtol=1e-4, atol=1e-6)


def test_every_sound_format_is_accepted(server):
    expected = server.embed({"audio": text_of(file_of(tone()))})
    for kind, subtype in [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("OGG", "VORBIS"), ("MP3", None)]:
        answer = server.embed({"audio": text_of(file_of(tone(), kind, subtype))})
        assert np.corrcoef(answer["vectors"][0], expected["vectors"][0])[0, 1] > 0.99, kind


def test_a_list_of_rows_is_answered_by_a_list(server, example):
    integers = [0, 1, 0, -1] * 1000
    rows = [{"audio": example}, {"waveform": integers, "sample_rate": RATE_HZ}, {"audio": example, "waveform": None}]
    answers = server.embed(rows)
    assert answers[0] == answers[2]
    assert answers[:2] == [server.embed(row) for row in rows[:2]]
    assert answers[:1] == server.embed(rows[:1])


def test_every_row_has_its_own_form(server):
    sound = text_of(file_of(tone(3.0)))
    forms = [{}, {"form": "recording"}, {"form": "timestamps", "hop_s": 0.25}, {"form": "timestamps"}]
    clips, recording, quarters, halves = server.embed([{"audio": sound, **form} for form in forms])
    assert clips["starts_s"] == [0.0, 1.0, 2.0]
    np.testing.assert_allclose(recording["vectors"][0], np.mean(clips["vectors"], axis=0), rtol=1e-5)
    assert quarters["starts_s"] == [0.25 * step for step in range(12)]
    assert halves["starts_s"] == [0.5 * step for step in range(6)]


def test_health_names_the_model(server, package):
    status, body = server.get("/health")
    health = json.loads(body)
    assert (status, health["status"], health["model"], health["source"]) == (200, "ok", "ae-mel work-0", str(package))
    assert (health["dimensions"], health["sample_rate_hz"], health["composers"]) == (DIMENSIONS, RATE_HZ, [])


def test_the_api_is_documented(server):
    assert "swagger" in server.get("/docs")[1]
    operation = json.loads(server.get("/openapi.json")[1])["paths"]["/embed"]["post"]
    row, rows = operation["requestBody"]["content"][JSON]["schema"]["anyOf"]
    assert set(row["properties"]) == {"audio", "waveform", "sample_rate", "form", "hop_s"}
    assert rows["items"] == row


def test_a_classifier_answers_with_composers_and_no_vectors(tmp_path, settings, example):
    shape = {"representation": "mel", "shape": [BANDS, FRAMES], "composers": 2, "chunk_frames": 0}
    build = {"module": classifiers.__name__, "name": "Classifier", "arguments": {"kind": "ff", **shape}}
    network, build["method"] = classifiers.Classifier(**build["arguments"]), "probabilities"
    folder = packed(tmp_path, network, config(settings, build, "ff"))
    (answer,) = Service(contents.read(folder, Model), Limits()).answer([Row(audio=example)])
    assert answer["composers"] == ["Bach", "Haydn"]
    assert answer.keys() == {"starts_s", "ends_s", "composers", "probabilities"}
    np.testing.assert_allclose(np.sum(answer["probabilities"], axis=1), 1.0, rtol=1e-5)


# Invalid requests


def test_an_invalid_body_is_refused_with_the_reason(server, example):
    row = {"audio": example}
    for body, reason in [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON: EOF"),
        (b'{"audio": "\xff"}', "Invalid JSON: invalid unicode"),
        (b"[" * 100_000, "more lists and objects than 4 rows can"),
        (b"[" * 9 + b"]" * 9, "row 0: Input should be an object"),
        (b'{"waveform": [NaN], "sample_rate": 8000}', "waveform: 0: Input should be a finite number"),
        (3, "Input should be an object"),
        ({"messages": []}, "unknown key; expected audio, waveform, sample_rate, form, hop_s"),
        ([{"wave": [0.0]}], "row 0: unknown key"),
        ([], "the request has 0 rows; expected 1 to 4"),
        ([row] * 5, "the request has 5 rows; expected 1 to 4"),
        ({**row, "hop_s": "1 s"}, "hop_s: Input should be a valid number"),
        ({**row, "form": "words"}, "form: Input should be 'clips', 'timestamps' or 'recording'"),
        ({**row, "form": "timestamps", "hop_s": -1}, "hop_s: Input should be greater than 0"),
        ({**row, "form": "timestamps", "hop_s": 2}, "hop_s is 2; expected seconds above 0 and at most 1"),
        ({**row, "form": "timestamps", "hop_s": 1e-4}, "more than 2400 vectors"),
        ({**row, "hop_s": 0.5}, "hop_s applies to the form timestamps only"),
    ]:  # fmt: skip
        assert reason in server.refusal(body), body


def test_an_invalid_sound_is_refused_with_its_row_and_the_reason(server, example):
    silence = text_of(file_of(np.zeros(RATE_HZ, np.float32)))
    for row, reason in [
        ({}, "expected either audio"),
        ({"audio": example, "waveform": [0.0] * 8000, "sample_rate": 8000}, "expected either audio"),
        ({"audio": 3}, "audio: Input should be a valid string"),
        ({"audio": ""}, "does not begin like a supported sound file"),
        ({"audio": "???"}, "audio is not base64"),
        ({"audio": text_of(b"fLaC, or so it says")}, "not readable as audio, or damaged"),
        ({"audio": text_of(file_of(tone(), "AU"))}, "does not begin like a supported sound file"),
        ({"audio": text_of(file_of(tone())[:-3000])}, "damaged"),
        ({"audio": silence}, "silent"),
        ({"audio": text_of(file_of(np.zeros((8000, 9), np.float32), "WAV"))}, "9 channels; the limit is 8"),
        ({"audio": text_of(file_of(tone(), rate_hz=500))}, "a sample rate of 500 Hz; expected 1000 to"),
        ({"audio": text_of(file_of(tone(MAX_SECONDS + 1), "OGG"))}, "lasts 22 s; the limit is 20 s per request"),
        ({"waveform": [0.1] * 8000}, "sample_rate is missing"),
        ({"waveform": [0.1] * 8000, "sample_rate": 0}, "sample_rate: Input should be greater than or equal to 1000"),
        ({"waveform": [0.1] * 8000, "sample_rate": "8 kHz"}, "sample_rate: Input should be a valid number"),
        ({"waveform": [0.1] * 21_000, "sample_rate": 1000}, "lasts 22 s; the limit is 20 s"),
        ({"waveform": [0.1] * 10, "sample_rate": 8000}, "at least 0.1 s are needed"),
        ({"waveform": [], "sample_rate": 8000}, "at least 0.1 s are needed"),
        ({"waveform": [1e300] * 8000, "sample_rate": 8000}, "are not numbers (NaN or infinite)"),
        ({"waveform": [10**400] * 2000, "sample_rate": 8000}, "waveform: 0: Input should be a finite number"),
        ({"waveform": [0.1, None], "sample_rate": 8000}, "waveform: 1: Input should be a valid number"),
        ({"waveform": [True] * 8000, "sample_rate": 8000}, "waveform: 0: Input should be a valid number"),
        ({"waveform": [[0.1, 0.2]] * 9, "sample_rate": 8000}, "waveform: 0: Input should be a valid number"),
    ]:
        refusal = server.refusal([{"audio": example}, row])
        assert refusal.startswith("row 1: "), refusal
        assert reason in refusal


def test_the_seconds_of_all_rows_count_together(server):
    half = {"audio": text_of(file_of(tone(0.6 * MAX_SECONDS), "OGG"))}
    assert len(server.embed([half])) == 1
    assert "row 1: the sound lasts 24 s; the limit is 20 s" in server.refusal([half, half])


def test_only_json_is_accepted(server, example):
    for kind in ("application/vnd.apache.parquet", "text/csv", "multipart/form-data", ""):
        assert "content type must be application/json" in server.refusal(b"a,b", 415, **{"Content-Type": kind})
    assert server.ask({"audio": example}, **{"Content-Type": f"{JSON}; charset=utf-8"})[0] == 200


def test_a_body_without_a_content_type_is_refused(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/embed", b"{}")
    with connection.getresponse() as response:
        assert response.status == 415


@pytest.mark.parametrize("is_chunked", [False, True], ids=["content length", "chunked"])
def test_a_body_over_the_limit_is_refused(is_chunked, server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    piece = b" " * 300_000
    body = iter([piece] * 4) if is_chunked else piece * 4
    connection.request("POST", "/embed", body, {"Content-Type": JSON}, encode_chunked=is_chunked)
    with connection.getresponse() as response:
        assert response.status == 413
        assert json.loads(response.read())["detail"] == "the body is too large; the limit is 1 MB"


def test_no_path_in_a_request_is_read(server, tmp_path, example):
    marker = tmp_path / "marker.flac"
    marker.write_bytes(base64.b64decode(example))
    before = marker.stat().st_atime_ns
    for name in (str(marker), f"file://{marker}", f"../{marker.name}", text_of(str(marker).encode()), "/etc/passwd"):
        assert "row 0: audio" in server.refusal({"audio": name})
        assert "waveform: Input should be" in server.refusal({"waveform": name, "sample_rate": RATE_HZ})
        assert "waveform: 0: Input should be" in server.refusal({"waveform": [name], "sample_rate": RATE_HZ})
        assert "form: Input should be" in server.refusal({"audio": example, "form": name})
        assert "unknown key" in server.refusal({"path": name})
    assert marker.stat().st_atime_ns == before


def test_a_refusal_repeats_none_of_the_data_and_no_traceback(server):
    secret = "c2VjcmV0" * 100
    for body in ({"audio": secret}, {"waveform": secret}, secret.encode(), {secret: 1}, [{"form": secret}]):
        refusal = server.refusal(body)
        assert "c2VjcmV0" not in refusal
        assert "Traceback" not in refusal
        assert "\n" not in refusal


# False lengths, in this process


def refusal(service: Service, sound: bytes) -> str:
    with pytest.raises(UserError) as fault:
        service.answer([Row(audio=text_of(sound))])
    return str(fault.value)


def claiming(held: bytes, samples: int) -> bytes:
    """A FLAC whose header claims another number of samples (below 2^32; 0 is "unknown")."""
    changed = bytearray(held)
    changed[21] &= 0xF0
    changed[22:26] = struct.pack(">I", samples)
    return bytes(changed)


def test_a_small_file_of_hours_is_refused_before_it_is_decoded(service):
    held = file_of(np.zeros(RATE_HZ * 1300, np.float32))
    assert len(held) < 50_000
    assert "lasts 1300 s; the limit is 1200 s" in refusal(service, held)
    assert "longer than the limit of 1200 s" in refusal(service, claiming(held, 0))


def test_a_header_that_lies_about_its_length_is_refused_or_believed_but_never_exceeded(service):
    held = file_of(tone())
    assert "truncated: 1.0 of 536870.9 s are present" in refusal(service, claiming(held, 2**32 - 1))
    assert "truncated: 1.0 of 800.0 s are present" in refusal(service, claiming(held, 800 * RATE_HZ))
    longer = file_of(tone(30.0))
    (answer,) = service.answer([Row(audio=text_of(claiming(longer, 2 * RATE_HZ)))])
    assert answer["ends_s"][-1] == 30.0
    assert "note" in answer


def test_a_wav_that_claims_more_than_it_holds_is_refused(service):
    held = bytearray(file_of(tone(), "WAV", "PCM_16"))
    held[40:44] = struct.pack("<I", 2_000_000_000)
    assert "truncated: 0% of the audio declared in the header" in refusal(service, bytes(held))


@pytest.mark.parametrize(("name", "value"), [("SECONDS", "ten"), ("MEGABYTES", "-1"), ("ROWS", "nan"), ("ROWS", "0")])
def test_an_invalid_limit_is_named(name, value, monkeypatch):
    monkeypatch.setenv(f"SYMPHONY2VEC_MAX_{name}", value)
    with pytest.raises(UserError, match=f"^SYMPHONY2VEC_MAX_{name} is '{value}'; it must be a number above 0"):
        Limits.from_environment()


def test_limits_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SYMPHONY2VEC_MAX_SECONDS", "7.5")
    monkeypatch.setenv("SYMPHONY2VEC_MAX_ROWS", "")
    assert Limits.from_environment() == Limits(seconds=7.5)


# MLflow's own server


@pytest.mark.slow
def test_mlflow_serves_the_package_of_the_champion(package, empty_database, tmp_path, example, golden):
    from mlflow import MlflowClient

    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    registry = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(registry, registry)
    client.create_registered_model("symphony2vec")
    client.create_model_version("symphony2vec", str(package))
    client.set_registered_model_alias("symphony2vec", "champion", "1")
    command = "mlflow models serve -m models:/symphony2vec@champion --env-manager local".split()
    with running(command, tmp_path, MLFLOW_TRACKING_URI=registry) as (port, pid):
        server = Server(port, pid, "/invocations")
        (answer,) = server.embed({"dataframe_records": [{"audio": example}]})["predictions"]
        np.testing.assert_allclose(answer["vectors"], golden, rtol=1e-4, atol=1e-6)
        stamps = {"dataframe_records": [{"audio": example}], "params": {"form": "timestamps", "hop_s": 0.25}}
        assert len(server.embed(stamps)["predictions"][0]["vectors"]) == 5
        long = {"dataframe_records": [{"waveform": [0.1] * 21_000, "sample_rate": 1000.0}]}
        status, refusal = server.ask(long)
        assert status == 400
        assert "row 0: the sound lasts 21 s; the limit is 20 s per request" in refusal["message"]


# A thousand malformed requests


@dataclass(frozen=True)
class Malformed:
    """One request; `is_wrong` unless a damaged sound may still be readable."""

    kind: str
    body: bytes
    content_type: str | None = JSON
    method: str = "POST"
    path: str = "/embed"
    is_wrong: bool = True


def malformed(count: int, seed: int, example: str) -> list[Malformed]:
    """Requests of every kind in turn, the same for the same seed."""
    rng = random.Random(seed)
    sounds = [file_of(tone(), *kind) for kind in (("FLAC",), ("WAV", "PCM_16"), ("OGG",), ("MP3",))]
    makers = list(_makers(rng, example, sounds).items())
    requests = []
    for number in range(count):
        kind, make = makers[number % len(makers)]
        request = make()
        requests.append(request if isinstance(request, Malformed) else Malformed(kind, request))
    rng.shuffle(requests)
    return requests


def _makers(rng: random.Random, example: str, sounds: list[bytes]) -> dict[str, Callable[[], bytes | Malformed]]:
    good = json.dumps([{"audio": example, "form": "clips"}]).encode()
    odd: list[Any] = [
        None,
        True,
        0,
        -1,
        1e308,
        10**40,
        "",
        "a",
        "\ud800",
        "\x00",
        [],
        [[]],
        {},
        {"a": {"b": []}},
        "../x",
    ]
    paths = ["/", "/invocations", "/embed/", "/embed/../x", "/%00"]
    kinds = ["text/csv", "application/vnd.apache.parquet", "text/plain", "application/xml", "a/b;c", ";", "\xe9", None]

    def body(value: Any) -> bytes:
        return json.dumps(value).encode()

    def row(**values: Any) -> bytes:
        return body(rng.choice((values, [values])))

    def corrupt() -> bytes:
        content = bytearray(rng.choice(sounds))
        for _ in range(rng.choice((1, 4, 64))):
            content[rng.randrange(min(len(content), rng.choice((64, len(content)))))] = rng.randrange(256)
        return bytes(content)

    def noise() -> bytes:
        return rng.choice((b"", b"RIFF", b"fLaC", b"OggS", b"ID3")) + rng.randbytes(900)

    def sound(content: bytes) -> Malformed:
        return Malformed("a damaged sound", row(audio=text_of(content)), is_wrong=False)

    def digits() -> bytes:
        return rng.choice((b"-1", b"1")) + bytes(rng.choices(b"0123456789", k=rng.choice((400, 5000))))

    return {
        "random bytes": lambda: rng.randbytes(rng.randrange(400)),
        "cut": lambda: good[: rng.randrange(len(good) - 1)],
        "a byte lost": lambda: good[: (cut := rng.randrange(10))] + good[cut + 1 :],
        "nested": lambda: rng.choice((b"[", b'{"audio":', b'[{"waveform":[')) * rng.choice((3, 2000, 60_000)),
        "odd body": lambda: body(rng.choice(odd)),
        "odd rows": lambda: body([{"audio": example}, rng.choice(odd)]),
        "odd audio": lambda: row(audio=rng.choice(odd)),
        "odd waveform": lambda: row(waveform=rng.choice([*odd, [rng.choice(odd)] * 9]), sample_rate=8000),
        "odd rate": lambda: row(waveform=[0.1] * 9, sample_rate=rng.choice(odd)),
        "odd key": lambda: row(audio=example, **{rng.choice("abc"): rng.choice(odd)}),
        "odd form": lambda: row(audio=example, form=rng.choice(odd)),
        "odd hop": lambda: row(audio=example, form="timestamps", hop_s=rng.choice(odd[1:])),
        "no number": lambda: b'{"waveform":[%s],"sample_rate":8000}' % rng.choice((b"NaN", b"-Infinity", digits())),
        "many rows": lambda: body([{"audio": example[:100]}] * rng.randrange(MAX_ROWS + 1, 40)),
        "no base64": lambda: row(audio=example[: rng.randrange(1, 300) * 4 + 1]),
        "random sound": lambda: row(audio=text_of(noise())),
        "corrupt sound": lambda: sound(corrupt()),
        "cut sound": lambda: sound((content := rng.choice(sounds))[: rng.randrange(len(content))]),
        "content type": lambda: Malformed("content type", good, rng.choice(kinds)),
        "too large": lambda: Malformed("too large", b" " * (MAX_MEGABYTES * 1_000_000 + rng.randrange(1, 99))),
        "method": lambda: Malformed("method", b"", method=rng.choice(("GET", "PUT", "DELETE", "BREW"))),
        "path": lambda: Malformed("path", good, path=rng.choice(paths)),
    }  # fmt: skip


def send(server: Server, requests: list[Malformed]) -> list[tuple[Malformed, int, bytes]]:
    """Each request with status and body of its answer, over persistent connections, several at once."""
    answers: list[tuple[Malformed, int, bytes]] = []

    def send_all(requests: list[Malformed]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for request in requests:
            headers = {} if request.content_type is None else {"Content-Type": request.content_type}
            connection.request(request.method, request.path, request.body, headers)
            with connection.getresponse() as response:
                answers.append((request, response.status, response.read()))

    threads = [threading.Thread(target=send_all, args=(requests[part::THREADS],)) for part in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_a_thousand_malformed_requests_leave_the_server_as_it_was(server, example, golden):
    send(server, malformed(200, 1, example))
    before_mb = server.resident_mb()
    answers = send(server, malformed(MALFORMED, 0, example))
    grown_mb = server.resident_mb() - before_mb
    assert len(answers) == MALFORMED
    faults = Counter(
        (request.kind, status) for request, status, _ in answers if status >= 500 or (request.is_wrong and status < 400)
    )
    assert not faults
    empty = {
        request.kind for request, status, body in answers if request.path == "/embed" and status >= 400 and not body
    }
    assert not empty
    assert grown_mb < GROWTH_MB
    np.testing.assert_allclose(server.embed({"audio": example})["vectors"], golden, rtol=1e-4, atol=1e-6)
