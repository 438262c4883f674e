"""Seconds to read a score: `synthesis.notes` against partitura's note arrays of the same file.

The contenders take turns, round after round, so that whatever else the machine does meets both of them; the ratio is
taken within a round. Both read the file anew each time; partitura does not merge parts into seconds, so that its time
is a lower bound of what readout with it took. `python benchmarks/scores.py --help` lists the options.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from symphony2vec import synthesis
from symphony2vec.errors import Unusable
from symphony2vec.synthesis import notation

FILES = (
    *("bach/bwv10.7.mxl", "haydn/opus74no1/movement2.mxl", "beethoven/opus18no5.mxl"),
    *("palestrina/Gloria_10.krn", "beethoven/opus18no1/movement1.krn"),
)


def read_with_partitura(path: Path) -> int:
    """The number of notes that partitura reads from a plain MusicXML or a kern file."""
    import partitura

    load = partitura.load_kern if path.suffix in notation.KERN else partitura.load_musicxml
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = load(str(path))
        return sum(len(part.note_array()) for part in score.parts if len(part.notes_tied))


def read(path: Path) -> int:
    return len(synthesis.read_notes(path, synthesis.Interpretation()))


def seconds(reader: Callable[[Path], int], path: Path) -> tuple[float, int]:
    start_s = time.perf_counter()
    count = reader(path)
    return time.perf_counter() - start_s, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", nargs="*", type=Path, help="MusicXML or kern; five of music21's without any")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    scores = options.scores
    if not scores:
        import music21

        scores = [Path(music21.__file__).parent / "corpus" / name for name in FILES]
    read_with_partitura(scores[0])  # so that neither pays for its imports
    read(scores[0])
    print(f"{'score':40} {'notes':>6} {'s':>8} {'partitura s':>12} {'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for score in scores:
            plain = score if score.suffix in notation.KERN else Path(folder) / "score.xml"
            try:
                from lxml import etree

                if plain != score:
                    plain.write_bytes(etree.tostring(notation.parse_xml(score)))
                rounds = [(seconds(read, plain), seconds(read_with_partitura, plain)) for _ in range(options.rounds)]
            except Unusable as reason:
                print(f"{score.name[:40]:40} {reason}")
                continue
            own_s, other_s = (statistics.median(pair[side][0] for pair in rounds) for side in (0, 1))
            ratio = statistics.median(other[0] / own[0] for own, other in rounds)
            print(f"{score.stem[:40]:40} {rounds[0][0][1]:6d} {own_s:8.3f} {other_s:12.3f} {ratio:7.1f}")


if __name__ == "__main__":
    main()
