"""How long every command takes to answer `--help`, and `params` and `results` to print their first line.

Every command is a process of its own; all of them take turns, round after round. `results` needs a project whose
pipeline has run, and `params` any. `python benchmarks/startup.py --help` lists the options.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

import machine
from symphony2vec.cli import cli

ROOT = Path(__file__).parents[1]
PROGRAM = [sys.executable, "-c", "from symphony2vec.cli import main; main()"]


def commands(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield before
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name)


def first_line_s(words: tuple[str, ...]) -> float:
    """Seconds to the first line on stdout; the process is then ended."""
    start = time.perf_counter()
    with subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        took_s = time.perf_counter() - start
        process.kill()
    if not line:
        raise SystemExit(f"symphony2vec {' '.join(words)} printed nothing")
    return took_s


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rounds", type=int, default=7)
    asked.add_argument("--project", type=Path, default=ROOT, help="for `params` and `results`")
    options = asked.parse_args()
    contenders = {f"{' '.join(('symphony2vec', *words))} --help": (*words, "--help") for words in commands(cli)}
    contenders["symphony2vec params"] = ("--project", str(options.project), "params")
    if (options.project / "out" / "probe").is_dir():
        contenders["symphony2vec results"] = ("--project", str(options.project), "results")
    took: dict[str, list[float]] = {name: [] for name in contenders}
    took["(python alone)"] = []
    for _ in range(options.rounds):
        took["(python alone)"].append(machine.elapsed_s(lambda: subprocess.run([sys.executable, "-c", ""], check=True)))
        for name, words in contenders.items():
            took[name].append(first_line_s(words))
    print(f"\n{machine.described()}\n")
    print("| seconds to the first line | smallest | median |", "|---|---|---|", sep="\n")
    for name, own in took.items():
        print(f"| `{name}` | {min(own):.2f} | {statistics.median(own):.2f} |")


if __name__ == "__main__":
    main()
