"""A package as MLflow's server serves it: a real server, real requests, and a thousand malformed ones."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from symphony2vec.errors import UserError
from symphony2vec.models.classifiers import networks as classifiers
from symphony2vec.models.embeddings import networks
from symphony2vec.package import contents, saving
from symphony2vec.package.scaling import unit
from symphony2vec.serving import adapter as serving

RATE_HZ, DURATION_S, BANDS, HOP_SAMPLES, DIMENSIONS = 8000, 1.0, 16, 512, 5
FRAMES = 1 + RATE_HZ // HOP_SAMPLES
MOST_SECONDS, MOST_MEGABYTES, MOST_ROWS = 20, 1, 4
MALFORMED, THREADS = 1000, 4
GROWTH_MB = 32.0  # what 1,000 refused requests may leave behind; 8 were seen, and 16 after 8,000, where it stays
JSON = "application/json"


def config(settings: dict[str, Any], build: dict[str, Any], model: str = "ae") -> contents.Config:
    hearing = {
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
    return contents.Config(subject, "", build, scaling, hearing, ["Bach", "Haydn"], data)


@pytest.fixture(scope="module")
def package(tmp_path_factory, settings) -> Path:
    """A package of an encoder of one second of sound, 5 dimensions."""
    torch.manual_seed(0)
    arguments = {"values": BANDS * FRAMES, "dimensions": DIMENSIONS}
    build = {"module": networks.__name__, "name": "Encoder", "arguments": arguments, "method": "encode"}
    network = networks.Encoder(**arguments)
    return saving.save(tmp_path_factory.mktemp("package"), network, config(settings, {**build, "flatten": True}))


@pytest.fixture(scope="module")
def loaded(package) -> Any:
    """The package as MLflow loads it anywhere."""
    import mlflow

    return mlflow.pyfunc.load_model(str(package))


@dataclass(frozen=True)
class Server:
    """A server that runs: its port, and the process that answers."""

    port: int
    pid: int

    def ask(self, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and answer of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", "/invocations", sent, {"Content-Type": JSON} | headers)
        with connection.getresponse() as response:
            return response.status, json.loads(response.read())

    def predictions(self, rows: Any, **params: Any) -> list[dict[str, Any]]:
        """What a good request is answered with."""
        status, answer = self.ask({"dataframe_records": rows} | ({"params": params} if params else {}))
        assert status == 200, answer
        found: list[dict[str, Any]] = answer["predictions"]
        return found

    def refusal(self, body: Any, status: int = 400, **headers: str) -> str:
        """The reason that a bad request is refused with."""
        found, answer = self.ask(body, **headers)
        assert found == status, answer
        return str(answer.get("message") or answer["detail"])

    def resident_mb(self) -> float:
        """The memory of the process that answers."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@pytest.fixture(scope="module")
def server(package, empty_database, tmp_path_factory) -> Iterator[Server]:
    """`mlflow models serve` of the champion of a registry."""
    from mlflow import MlflowClient

    place = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_database, place / "mlflow.db")
    registry = f"sqlite:///{place}/mlflow.db"
    client = MlflowClient(registry, registry)
    client.create_registered_model("symphony2vec")
    client.create_model_version("symphony2vec", str(package))
    client.set_registered_model_alias("symphony2vec", "champion", "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits = {"SECONDS": MOST_SECONDS, "MEGABYTES": MOST_MEGABYTES, "ROWS": MOST_ROWS}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTEST_"))},
        **{f"SYMPHONY2VEC_MAX_{name}": str(limit) for name, limit in limits.items()},
        "MLFLOW_TRACKING_URI": registry,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(place),
    }
    command = "mlflow models serve -m models:/symphony2vec@champion --env-manager local --port".split()
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, str(port)], env=environment, stdout=log, stderr=log, cwd=place, start_new_session=True
        )
    try:
        _wait_for(port, process, place / "log")
        yield Server(port, _answering(process.pid))
        assert not list(place.glob("symphony2vec-*"))  # no sound that a client sent stays behind
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


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


def _answering(pid: int) -> int:
    """The last of the processes that start each other: `mlflow` starts `uvicorn`."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return _answering(int(children[0])) if children else pid


def file_of(wave: np.ndarray, kind: str = "FLAC", subtype: str | None = None, rate_hz: int = RATE_HZ) -> bytes:
    held = io.BytesIO()
    soundfile.write(held, wave, rate_hz, format=kind, subtype=subtype)
    return held.getvalue()


def text_of(held: bytes) -> str:
    return base64.b64encode(held).decode("ascii")


def tone(duration_s: float = 1.0) -> np.ndarray:
    return np.asarray(0.3 * np.sin(np.arange(round(duration_s * RATE_HZ)) * 0.2), dtype=np.float32)


@pytest.fixture(scope="module")
def example(package) -> str:
    return text_of((package / "artifacts" / contents.EXAMPLE).read_bytes())


@pytest.fixture(scope="module")
def golden(package) -> np.ndarray:
    return np.asarray(np.load(package / "artifacts" / contents.GOLDEN))


# Requests that are answered


def test_the_champion_answers_with_the_golden_vector_of_its_example(server, example, golden):
    (found,) = server.predictions([{"audio": example}])
    np.testing.assert_allclose(found["vectors"], golden, rtol=1e-4, atol=1e-6)
    assert found["starts_s"] == [0.0]
    assert found["ends_s"] == [DURATION_S]
    assert found.keys() == {"starts_s", "ends_s", "vectors"}  # there is no probe, so no composers


def test_a_waveform_is_heard_as_the_file_of_it(server, package, golden):
    wave, rate_hz = soundfile.read(package / "artifacts" / contents.EXAMPLE)
    (found,) = server.predictions([{"waveform": wave.tolist(), "sample_rate": rate_hz}])
    np.testing.assert_allclose(found["vectors"], golden, rtol=1e-4, atol=1e-6)


def test_every_format_of_sound_is_taken(server):
    (wanted,) = server.predictions([{"audio": text_of(file_of(tone()))}])
    for kind, subtype in [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("OGG", "VORBIS"), ("MP3", None)]:
        (found,) = server.predictions([{"audio": text_of(file_of(tone(), kind, subtype))}])
        closeness = np.corrcoef(found["vectors"][0], wanted["vectors"][0])[0, 1]
        assert closeness > 0.99, kind


def test_rows_are_answered_one_by_one_whatever_they_hold(server, example):
    integers = [0, 1, 0, -1] * 1000
    rows = [{"audio": example}, {"waveform": integers, "sample_rate": RATE_HZ}, {"audio": example, "waveform": None}]
    found = server.predictions(rows)
    assert found[0] == found[2]
    assert found[:2] == [server.predictions([row])[0] for row in rows[:2]]


def test_all_tables_of_mlflow_are_one_request(server, example):
    columns = {"columns": ["audio"], "index": [7], "data": [[example]]}
    one = {"audio": example}
    tables = {"dataframe_records": [one], "dataframe_split": columns, "inputs": [one], "instances": [one]}
    answers = [server.ask({name: table}) for name, table in tables.items()] + [server.ask({"inputs": one})]
    assert [status for status, _ in answers] == [200] * 5
    assert all(answer == answers[0][1] for _, answer in answers)


def test_the_forms_of_an_embedding_are_parameters(server):
    wave = {"audio": text_of(file_of(tone(3.0)))}
    (clips,) = server.predictions([wave])
    assert clips["starts_s"] == [0.0, 1.0, 2.0]
    (whole,) = server.predictions([wave], form="recording")
    np.testing.assert_allclose(whole["vectors"][0], np.mean(clips["vectors"], axis=0), rtol=1e-5)
    (stamped,) = server.predictions([wave], form="timestamps", hop_s=0.25)
    assert stamped["starts_s"] == [0.25 * step for step in range(12)]
    (default,) = server.predictions([wave], form="timestamps")
    assert default["starts_s"] == [0.5 * step for step in range(6)]


def test_a_classifier_answers_with_composers_and_no_vectors(tmp_path, settings, example):
    import mlflow

    shape = {"representation": "mel", "shape": [BANDS, FRAMES], "composers": 2, "chunk_frames": 0}
    build = {"module": classifiers.__name__, "name": "Classifier", "arguments": {"kind": "ff", **shape}}
    network, build["method"] = classifiers.Classifier(**build["arguments"]), "probabilities"
    folder = saving.save(tmp_path, network, config(settings, build, "ff"))
    (found,) = mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame([{"audio": example}]))
    assert found["composers"] == ["Bach", "Haydn"]
    assert found.keys() == {"starts_s", "ends_s", "composers", "probabilities"}
    np.testing.assert_allclose(np.sum(found["probabilities"], axis=1), 1.0, rtol=1e-5)


# Requests that are refused


def test_a_wrong_body_is_refused_with_the_reason(server, example):
    row = {"audio": example}
    for body, reason in [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON: Expecting"),
        (b'{"inputs": "\xff"}', "the body is no JSON: 'utf-8' codec"),
        (b"[" * 100_000, "more lists and objects than a table of 4 rows"),
        (b'{"dataframe_records":' + b"[" * 20 + b"]" * 20 + b"}", "row 0: it is no object of audio or waveform"),
        (b'{"dataframe_records": [{"waveform": [NaN], "sample_rate": 8000}]}', "NaN is no number"),
        ([], "must be a JSON object with one of dataframe_records"),
        ({"messages": []}, "must be a JSON object with one of"),
        ({"inputs": [row], "instances": [row]}, "must be a JSON object with one of"),
        ({"dataframe_records": []}, "must be a list of rows, 1 to 4"),
        ({"dataframe_records": [row] * 5}, "must be a list of rows, 1 to 4"),
        ({"dataframe_split": {"columns": ["audio", "audio"], "data": [[example, example]]}}, "must be a list of rows"),
        ({"dataframe_split": {"columns": ["audio"], "data": [[]]}}, "must be a list of rows"),
        ({"inputs": [{"wave": [0.0]}]}, "row 0: it is no object of audio or waveform or sample_rate"),
        ({"inputs": [row], "params": []}, "params is no object of form and hop_s"),
        ({"inputs": [row], "params": {"hop": 1}}, "params is no object of form and hop_s"),
        ({"inputs": [row], "params": {"hop_s": "1 s"}}, "Can not safely convert"),
        ({"inputs": [row], "params": {"form": "words"}}, "row 0: no form 'words'; there are clips, timestamps"),
        ({"inputs": [row], "params": {"form": "timestamps", "hop_s": -1}}, "row 0: hop_s is -1"),
        ({"inputs": [row], "params": {"form": "timestamps", "hop_s": 1e-4}}, "more than 2400 vectors"),
    ]:  # fmt: skip
        assert reason in server.refusal(body), body


def test_a_wrong_sound_is_refused_with_its_row_and_the_reason(server, example):
    silence = text_of(file_of(np.zeros(RATE_HZ, np.float32)))
    for row, reason in [
        ({}, "wanted is either audio"),
        ({"audio": example, "waveform": [0.0] * 8000, "sample_rate": 8000}, "wanted is either audio"),
        ({"audio": 3}, "audio is no string"),
        ({"audio": ""}, "does not begin as a sound file"),
        ({"audio": "???"}, "audio is not base64"),
        ({"audio": text_of(b"fLaC, or so it says")}, "not readable as audio, or damaged"),
        ({"audio": text_of(file_of(tone(), "AU"))}, "does not begin as a sound file"),
        ({"audio": text_of(file_of(tone())[:-3000])}, "damaged"),
        ({"audio": silence}, "silent"),
        ({"audio": text_of(file_of(np.zeros((8000, 9), np.float32), "WAV"))}, "9 channels; the limit is 8"),
        ({"audio": text_of(file_of(tone(), rate_hz=500))}, "a sample rate of 500 Hz; wanted are 1000 to"),
        ({"audio": text_of(file_of(tone(MOST_SECONDS + 1), "OGG"))}, "lasts 22 s; the limit is 20 s a request"),
        ({"waveform": [0.1] * 8000}, "sample_rate is missing"),
        ({"waveform": [0.1] * 8000, "sample_rate": 0}, "a sample rate of 0 Hz"),
        ({"waveform": [0.1] * 8000, "sample_rate": "8 kHz"}, "sample_rate is no number"),
        ({"waveform": [0.1] * 21_000, "sample_rate": 1000}, "lasts 22 s; the limit is 20 s"),
        ({"waveform": [0.1] * 10, "sample_rate": 8000}, "at least 0.1 s are needed"),
        ({"waveform": [], "sample_rate": 8000}, "at least 0.1 s are needed"),
        ({"waveform": [1e300] * 8000, "sample_rate": 8000}, "are not numbers (NaN or infinite)"),
        ({"waveform": [10**400] * 2000, "sample_rate": 8000}, "are not numbers (NaN or infinite)"),
        ({"waveform": [0.1, None], "sample_rate": 8000}, "waveform is no list of numbers"),
        ({"waveform": [True] * 8000, "sample_rate": 8000}, "waveform is no list of numbers"),
        ({"waveform": [[0.1, 0.2]] * 9, "sample_rate": 8000}, "waveform is no list of numbers"),
    ]:
        refusal = server.refusal({"dataframe_records": [{"audio": example}, row]})
        assert refusal.startswith("row 1: "), refusal
        assert reason in refusal


def test_the_seconds_of_all_rows_count_together(server):
    half = {"audio": text_of(file_of(tone(0.6 * MOST_SECONDS), "OGG"))}
    assert len(server.predictions([half])) == 1
    assert "row 1: the sound lasts 24 s; the limit is 20 s" in server.refusal({"inputs": [half, half]})


def test_only_json_is_read(server, example):
    table = io.BytesIO()
    pd.DataFrame({"audio": [example]}).to_parquet(table)
    for kind in ("application/vnd.apache.parquet", "text/csv", "multipart/form-data", ""):
        assert "content type must be application/json" in server.refusal(
            table.getvalue(), 415, **{"Content-Type": kind}
        )
    assert server.ask({"inputs": [{"audio": example}]}, **{"Content-Type": f"{JSON}; charset=utf-8"})[0] == 200


def test_a_body_without_a_content_type_is_refused(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/invocations", b"{}")
    with connection.getresponse() as response:
        assert response.status == 415


@pytest.mark.parametrize("in_pieces", [False, True], ids=["announced", "in pieces"])
def test_a_body_over_the_limit_is_refused_while_it_comes(in_pieces, server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    piece = b" " * 300_000
    body = iter([piece] * 4) if in_pieces else piece * 4
    connection.request("POST", "/invocations", body, {"Content-Type": JSON}, encode_chunked=in_pieces)
    with connection.getresponse() as response:
        assert response.status == 413
        assert json.loads(response.read())["detail"] == "the body is too large; the limit is 1 MB"


def test_no_path_that_a_client_names_is_read(server, tmp_path, example):
    marker = tmp_path / "marker.flac"
    marker.write_bytes(base64.b64decode(example))
    before = marker.stat().st_atime_ns
    for name in (str(marker), f"file://{marker}", f"../{marker.name}", text_of(str(marker).encode()), "/etc/passwd"):
        assert "row 0: audio" in server.refusal({"inputs": [{"audio": name}]})
        assert "waveform is no list" in server.refusal({"inputs": [{"waveform": name, "sample_rate": RATE_HZ}]})
        assert "waveform is no list" in server.refusal({"inputs": [{"waveform": [name], "sample_rate": RATE_HZ}]})
        assert "no form" in server.refusal({"inputs": [{"audio": example}], "params": {"form": name}})
        assert "no object of" in server.refusal({"inputs": [{"path": name}]})
        assert "list of rows" in server.refusal({"inputs": name})
    assert marker.stat().st_atime_ns == before


def test_a_refusal_gives_neither_the_data_back_nor_a_traceback(server, example):
    secret = "c2VjcmV0" * 100
    for body in ({"inputs": [{"audio": secret}]}, {"inputs": secret}, secret.encode(), {"inputs": [{secret: 1}]}):
        status, answer = server.ask(body)
        assert status == 400
        assert "c2VjcmV0" not in json.dumps(answer)
        assert "Traceback" not in json.dumps(answer)
        assert "\n" not in answer["message"]


# Lengths that lie, in the process itself


def refusal(loaded: Any, held: bytes) -> str:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException) as fault:
        loaded.predict(pd.DataFrame([{"audio": text_of(held)}]))
    assert fault.value.get_http_status_code() == 400
    return str(fault.value)


def claiming(held: bytes, samples: int) -> bytes:
    """A FLAC whose header claims another number of samples (below 2^32; 0 is "unknown")."""
    changed = bytearray(held)
    changed[21] &= 0xF0
    changed[22:26] = struct.pack(">I", samples)
    return bytes(changed)


def test_a_small_file_of_hours_is_refused_before_it_is_decoded(loaded):
    held = file_of(np.zeros(RATE_HZ * 1300, np.float32))
    assert len(held) < 50_000
    assert "lasts 1300 s; the limit is 1200 s" in refusal(loaded, held)
    assert "longer than the limit of 1200 s" in refusal(loaded, claiming(held, 0))


def test_a_header_that_lies_about_its_length_is_refused_or_believed_but_never_exceeded(loaded):
    held = file_of(tone())
    assert "truncated: 1.0 of 536870.9 s are present" in refusal(loaded, claiming(held, 2**32 - 1))
    assert "truncated: 1.0 of 800.0 s are present" in refusal(loaded, claiming(held, 800 * RATE_HZ))
    longer = file_of(tone(30.0))
    (found,) = loaded.predict(pd.DataFrame([{"audio": text_of(claiming(longer, 2 * RATE_HZ))}]))
    assert found["ends_s"][-1] == 30.0
    assert "note" in found


def test_a_wav_that_claims_more_than_it_holds_is_refused(loaded):
    held = bytearray(file_of(tone(), "WAV", "PCM_16"))
    held[40:44] = struct.pack("<I", 2_000_000_000)
    assert "truncated: 0% of the audio declared in the header" in refusal(loaded, bytes(held))


@pytest.mark.parametrize(("name", "value"), [("SECONDS", "ten"), ("MEGABYTES", "-1"), ("ROWS", "nan"), ("ROWS", "0")])
def test_a_limit_that_is_no_number_is_named(name, value, monkeypatch):
    monkeypatch.setenv(f"SYMPHONY2VEC_MAX_{name}", value)
    with pytest.raises(UserError, match=f"^SYMPHONY2VEC_MAX_{name} is '{value}'; it must be a number above 0"):
        serving.Limits.of_environment()


def test_limits_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SYMPHONY2VEC_MAX_SECONDS", "7.5")
    monkeypatch.setenv("SYMPHONY2VEC_MAX_ROWS", "")
    assert serving.Limits.of_environment() == serving.Limits(seconds=7.5)


def test_outside_a_server_nothing_of_mlflow_is_replaced(loaded):
    import fastapi
    from mlflow.pyfunc import scoring_server

    assert isinstance(fastapi.FastAPI, type)
    assert scoring_server.invocations.__module__ == scoring_server.__name__


# A thousand malformed requests


@dataclass(frozen=True)
class Malformed:
    """One request; `wrong` says that no reading of it is a good one."""

    kind: str
    body: bytes
    content_type: str | None = JSON
    method: str = "POST"
    path: str = "/invocations"
    wrong: bool = True


def malformed(count: int, seed: int, example: str) -> list[Malformed]:
    """Requests of every kind in turn, the same for the same seed."""
    rng = random.Random(seed)
    sounds = [file_of(tone(), *kind) for kind in (("FLAC",), ("WAV", "PCM_16"), ("OGG",), ("MP3",))]
    makers = list(_makers(rng, example, sounds).items())
    found = []
    for number in range(count):
        kind, make = makers[number % len(makers)]
        made = make()
        found.append(made if isinstance(made, Malformed) else Malformed(kind, made))
    rng.shuffle(found)
    return found


def _makers(rng: random.Random, example: str, sounds: list[bytes]) -> dict[str, Callable[[], bytes | Malformed]]:
    good = json.dumps({"dataframe_records": [{"audio": example}], "params": {"form": "clips"}}).encode()
    odd = [
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
        "../../etc/passwd",
    ]
    tables = ["dataframe_records", "dataframe_split", "inputs", "instances", "messages", "prompt", "input", "", "data"]
    paths = ["/", "/docs", "/openapi.json", "/invocations/../x", "/%00"]
    kinds = ["text/csv", "application/vnd.apache.parquet", "text/plain", "application/xml", "a/b;c", ";", "\xe9", None]

    def body(value: Any) -> bytes:
        return json.dumps(value).encode()

    def row(**values: Any) -> bytes:
        return body({rng.choice(tables[2:4]): [values]})

    def changed() -> bytes:
        held = bytearray(rng.choice(sounds))
        for _ in range(rng.choice((1, 4, 64))):
            held[rng.randrange(min(len(held), rng.choice((64, len(held)))))] = rng.randrange(256)
        return bytes(held)

    def noise() -> bytes:
        return rng.choice((b"", b"RIFF", b"fLaC", b"OggS", b"ID3")) + rng.randbytes(900)

    def sound(held: bytes) -> Malformed:
        return Malformed("a damaged sound", row(audio=text_of(held)), wrong=False)

    def digits() -> bytes:
        return rng.choice((b"-1", b"1")) + bytes(rng.choices(b"0123456789", k=rng.choice((400, 5000))))

    return {
        "random bytes": lambda: rng.randbytes(rng.randrange(400)),
        "cut": lambda: good[: rng.randrange(len(good) - 2)],
        "a byte lost": lambda: good[: (cut := rng.randrange(20))] + good[cut + 1 :],
        "nested": lambda: rng.choice((b"[", b'{"inputs":', b'{"inputs":[')) * rng.choice((30, 2000, 60_000)),
        "other table": lambda: body({rng.choice(tables[4:]): [{"audio": example}]}),
        "odd table": lambda: body({rng.choice(tables): rng.choice(odd)}),
        "odd row": lambda: body({rng.choice(tables[:4]): [rng.choice(odd)]}),
        "odd split": lambda: body({tables[1]: {"columns": rng.choice(odd), "data": [[rng.choice(odd)]]}}),
        "two tables": lambda: body({name: [{"audio": example}] for name in rng.sample(tables, 2)}),
        "odd audio": lambda: row(audio=rng.choice(odd)),
        "odd waveform": lambda: row(waveform=rng.choice([*odd, [rng.choice(odd)] * 9]), sample_rate=8000),
        "odd rate": lambda: row(waveform=[0.1] * 9, sample_rate=rng.choice(odd)),
        "odd column": lambda: row(audio=example, **{rng.choice("abc"): rng.choice(odd)}),
        "odd params": lambda: body({"inputs": [{"audio": example}], "params": rng.choice([*odd[1:12], odd[13]])}),
        "odd parameter": lambda: body({"inputs": [{"audio": example}], "params": {"form": rng.choice(odd)}}),
        "odd hop": lambda: body(
            {"inputs": [{"audio": example}], "params": {"form": "timestamps", "hop_s": rng.choice(odd[2:])}}
        ),
        "no number": lambda: b'{"inputs":[{"waveform":[%s]}]}' % rng.choice((b"NaN", b"-Infinity", digits())),
        "many rows": lambda: body({"inputs": [{"audio": example[:100]}] * rng.randrange(MOST_ROWS + 1, 40)}),
        "no base64": lambda: row(audio=example[: rng.randrange(1, 300) * 4 + 1]),
        "random sound": lambda: row(audio=text_of(noise())),
        "changed sound": lambda: sound(changed()),
        "cut sound": lambda: sound((held := rng.choice(sounds))[: rng.randrange(len(held))]),
        "content type": lambda: Malformed("content type", good, rng.choice(kinds)),
        "too large": lambda: Malformed("too large", b" " * (MOST_MEGABYTES * 1_000_000 + rng.randrange(1, 99))),
        "method": lambda: Malformed("method", b"", method=rng.choice(("GET", "PUT", "DELETE", "BREW"))),
        "path": lambda: Malformed("path", good, path=rng.choice(paths)),
    }  # fmt: skip


def sent(server: Server, requests: list[Malformed]) -> list[tuple[Malformed, int, bytes]]:
    """Each request with status and body of its answer, over kept connections, several at once."""
    answers: list[tuple[Malformed, int, bytes]] = []

    def send(own: list[Malformed]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for one in own:
            headers = {} if one.content_type is None else {"Content-Type": one.content_type}
            connection.request(one.method, one.path, one.body, headers)
            with connection.getresponse() as response:
                answers.append((one, response.status, response.read()))

    threads = [threading.Thread(target=send, args=(requests[part::THREADS],)) for part in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_a_thousand_malformed_requests_leave_the_server_as_it_was(server, example, golden):
    sent(server, malformed(200, 1, example))
    before_mb = server.resident_mb()
    answers = sent(server, malformed(MALFORMED, 0, example))
    grown_mb = server.resident_mb() - before_mb
    assert len(answers) == MALFORMED
    faults = Counter((one.kind, status) for one, status, _ in answers if status >= 500 or (one.wrong and status < 400))
    assert not faults
    silent = {
        one.kind for one, status, answer in answers if one.path == "/invocations" and status >= 400 and not answer
    }
    assert not silent
    assert grown_mb < GROWTH_MB
    (found,) = server.predictions([{"audio": example}])
    np.testing.assert_allclose(found["vectors"], golden, rtol=1e-4, atol=1e-6)
