"""DVC's data and the outputs of stages in an S3-compatible store, as the documentation says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import servers

pytest.importorskip("dvc_s3")

GIT = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
STAGES = """stages:
  features:
    cmd: mkdir -p out/features && tr a-z A-Z < data/starter/catalogue.csv > out/features/mel.npy
    deps: [data/starter]
    outs: [out/features]
"""


def call(folder: Path, *words: str) -> str:
    environment = {**os.environ, **servers.SECRETS, "DVC_NO_ANALYTICS": "1"}
    program = [str(servers.program("dvc"))] if words[0] == "dvc" else [words[0], *GIT]
    told = subprocess.run([*program, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def test_another_machine_gets_the_same_music_and_outputs_without_running_a_stage(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "data" / "starter").mkdir(parents=True)
    (here / "data" / "starter" / "catalogue.csv").write_text("composer,work\nbach,bwv 1\n")
    (here / "dvc.yaml").write_text(STAGES)
    (here / ".gitignore").write_text("/out\n")
    with servers.s3(tmp_path, "music") as url:
        call(here, "git", "init", "-q")
        call(here, "dvc", "init", "-q")
        call(here, "dvc", "add", "data")
        call(here, "dvc", "remote", "add", "-d", "store", "s3://music/symphony2vec")
        call(here, "dvc", "remote", "modify", "store", "endpointurl", url)
        call(here, "dvc", "repro")
        call(here, "dvc", "push")
        call(here, "git", "add", ".")
        call(here, "git", "commit", "-qm", "first")
        assert servers.stored(url, "music")
        shutil.rmtree(here / ".dvc" / "cache")
        call(tmp_path, "git", "clone", "-q", str(here), str(there))
        call(there, "dvc", "pull")
        assert "didn't change, skipping" in call(there, "dvc", "repro")
    wanted = {path.relative_to(here): path.read_bytes() for top in ("data", "out") for path in _files(here / top)}
    assert {
        path.relative_to(there): path.read_bytes() for top in ("data", "out") for path in _files(there / top)
    } == wanted
    assert wanted[Path("out/features/mel.npy")] == b"COMPOSER,WORK\nBACH,BWV 1\n"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore"]
