"""Write the table of OpenScore String Quartets from a local copy of its repository; run it when the commit changes.

Run: python scripts/list_scores.py FOLDER/scores > src/symphony2vec/corpus/quartets.csv
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from symphony2vec.corpus import catalogue, composers
from symphony2vec.synthesis import find_movements

COLUMNS = ("composer", "work", "movement", "path", "sha256", "start", "end")
# Movements of works that are in several files, by the number of the file at musescore.com.
MOVEMENTS = {
    **{"7093885": "1", "7070781": "2", "7078259": "3", "7075297": "4"},  # Mozart, K. 464
    **{"7236909": "1", "7070319": "2", "7082029": "3", "7095930": "4"},  # Mayer, op. 14
}
PERSONS = {  # names that are not found in the list of composers as the folders write them
    "Hensel, Fanny (Mendelssohn)": "Fanny Hensel",
    "Indy, Vincent d’": "Vincent d'Indy",
}
TITLES = (  # corrections of the titles: slashes, colons and spaces, which the folders lack
    (r"_", " "),
    (r"♭ ", "-flat "),
    (r"\b(Major|Minor)\b", lambda match: match[0].lower()),
    (r"\bHob\. ?III(\d+)", r"Hob. III:\1"),
    (r"\bK\.80\d+f", "K. 80/73f"),
    (r"\bK\.(155|421|428)(\d+[ab])", r"K. \1/\2"),
    (r"\b(Op|No|K|D|H|G|Sz)\.(?=\d)", r"\1. "),
    (r"(Op\. \d+), No\.", r"\1 No."),
    (r"[“”]", '"'),
    (r"Op\. 277", "H-U 277"),  # Hensel: the number of a catalogue, not an opus
)


def list_quartets(folder: Path) -> Iterator[dict[str, object]]:
    """Yield one row per movement of OpenScore String Quartets."""
    for path in sorted(folder.glob("*/*/*.mxl")):
        composer = path.parts[-3].replace("_", " ")
        title = path.parts[-2]
        for pattern, replacement in TITLES:
            title = re.sub(pattern, replacement, title)
        sections = find_movements(path)
        row: dict[str, object] = {
            "composer": PERSONS.get(composer) or composers.resolve(composer).name,
            "work": title.strip(),
            "path": path.relative_to(folder).as_posix(),
            "sha256": catalogue.checksum(path),
        }
        for number, section in enumerate(sections, start=1):
            movement = MOVEMENTS.get(path.stem.removeprefix("sq"), str(number))
            bars = {"start": section.start, "end": section.end} if len(sections) > 1 else {"start": "", "end": ""}
            yield {**row, "movement": movement, **bars}


def main() -> None:
    """Write the table to the standard output."""
    rows = list(list_quartets(Path(sys.argv[1])))
    if not rows:
        sys.exit(f"no scores in {sys.argv[1]}; expected COMPOSER/WORK/SCORE.mxl, as below scores/ of the repository")
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: [str(row[key]) for key in ("composer", "work", "movement")]))


if __name__ == "__main__":
    main()
