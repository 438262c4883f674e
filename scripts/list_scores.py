"""Write the table of a set of scores from a local copy of its repository; run it when the commit changes.

python scripts/list_scores.py quartets FOLDER/scores > src/symphony2vec/corpus/quartets.csv
python scripts/list_scores.py polish FOLDER > src/symphony2vec/corpus/polish.csv
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from symphony2vec.corpus import catalogue, composers
from symphony2vec.errors import Unusable
from symphony2vec.synthesis import find_movements, kern

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


# Polish scores -------------------------------------------------------------------------------------------------------

# A score is orchestral if it has violins, two kinds of winds, seven staves and 400 notes.
FEWEST_STAVES, FEWEST_NOTES, FEWEST_WINDS = 7, 400, 2
WINDS = {
    "cangl", "clara", "clarb", "claro", "clars", "clrno", "cor", "corno", "cornt", "dulc", "fag", "fagot", "flt",
    "oboe", "ophic", "picco", "serp", "troma", "tromb", "tromp", "tromt", "tuba",
}  # fmt: skip
# Shelfmarks that are one work: numbers of a cycle, acts of an opera, parts in several volumes, and works that share a
# tenth of their melodies or more (passages of ten notes of the same intervals and rhythm).
ONE_WORK = {
    "pl-wtm--r-690-m": "pl-wtm--r-1740-m",  # Moniuszko, Sonety krymskie: Burza
    "pl-wtm--r-691-b-m": "pl-wtm--r-1740-m",  # Pielgrzym
    "pl-wtm--r-460-m": "pl-wtm--r-457-m",  # Moniuszko, Jawnuta
    "pl-cz--iii-594b": "pl-cz--iii-594",  # Rzepko, Missa
    "pl-cz--ii-301": "pl-wtm--r-1569",  # Stefani, Ave Maria: the same music as Zdrowaś Panno
    "pl-wtm--r-1431": "pl-wtm--r-1579-1",  # Stefani, Benedictus and Hymn do świętej Cecylii
    "pl-wtm--r-1669": "pl-wtm--r-1582",  # Stefani, Marcia funebre
    "pl-wtm--r-1700-2": "pl-wtm--r-1695",  # Stefani, Mazur fantastyczny
    "pl-wtm--r-1738": "pl-wtm--r-1726",  # Stefani, Nouveau Divertissement and Kontredans
    "pl-wtm--r-1690": "pl-wtm--r-1664",  # Stefani, a Presto of one in the overture of the other
}
LEFT_OUT = {
    "pl-cz--ii-129",  # Kozłowski, Requiem: a copy of III-357
    "pl-cz--iii-556",  # Raszek, Tota pulchra es: a copy of II-215
    "pl-kk--kk-i-395",  # Raszek, Missa toni C: a copy of III-558
    "pl-stab--14a",  # Rodowski, Missa in C: a copy of III-574
    "pl-wtm--r-1691",  # Stefani, Mazur na żądanie: a copy of R 1715
    "pl-cz--ii-15--002-dublet",  # Szlagórski, Mazur: a second copy
    "pl-cz--i-8",  # Danka, Missa in Es: its music also stands under Dankowski and Volckmer
    "pl-cz--iii-697",  # Volckmer, Omni die dic Mariae: its music also stands under Danka
}
NAMELESS = re.compile(r"anonim|incert|\?", re.I)  # composers that are not known
VARIANT = re.compile(r"-pc\d|dublet")  # other versions of a movement
RECORD = re.compile(r"^!!!([\w-]+):[ \t]*(.*)$", re.M)


def list_polish(folder: Path) -> Iterator[dict[str, object]]:
    """Yield one row per orchestral score of Polish Heritage in Open Access; a file holds one movement."""
    for path in sorted(folder.glob("*/kern/*.krn")):
        text = path.read_text(encoding="utf-8", errors="replace")
        records = dict(reversed(RECORD.findall(text)))  # of several the first counts
        shelfmark = find_shelfmark(path.stem)
        person, title = records.get("COM", "").strip(), (records.get("OPR") or records.get("OTL", "")).strip()
        if not person or NAMELESS.search(person) or VARIANT.search(path.stem) or shelfmark in LEFT_OUT:
            continue
        if not is_orchestral(path, text):
            continue
        number = records.get("OMV", "").strip().lstrip("0")
        movement = ". ".join(filter(None, [number, records.get("OTL", "").strip()]))
        yield {
            "composer": composers.resolve(person).name if "," in person else person,  # a lone surname stays as it is
            "work": (ONE_WORK.get(shelfmark, shelfmark), title),
            "movement": movement,
            "path": path.relative_to(folder).as_posix(),
            "sha256": catalogue.checksum(path),
            "start": "",
            "end": "",
        }


def find_shelfmark(stem: str) -> str:
    """Return library and shelfmark of a file name.

    Examples:
        >>> find_shelfmark("pl-cz--iii-679--001-011_volckmer-augustin--missa-in-d-pleni-sunt")
        'pl-cz--iii-679'
    """
    library, shelf, *_ = stem.split("_")[0].split("--")
    return f"{library}--{shelf}"


def is_orchestral(path: Path, text: str) -> bool:
    """Return whether a score has violins, enough winds, staves and notes, and can be read."""
    instruments = set(re.findall(r"\*I([a-z]+)", text))
    staves = max((line.count("**kern") for line in text.splitlines() if line.startswith("**")), default=0)
    if staves < FEWEST_STAVES or "violn" not in instruments or len(instruments & WINDS) < FEWEST_WINDS:
        return False
    try:
        parts, _ = kern.read_parts(path)
    except Unusable as reason:
        print(f"{path.name}: {reason}", file=sys.stderr)
        return False
    return sum(len(part.pitches) for part in parts) >= FEWEST_NOTES


def name_works(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return the rows with the title of each work and its shelfmark, and movements told apart."""
    titles: dict[object, list[str]] = {}
    for row in rows:
        shelfmark, title = row["work"]
        titles.setdefault(shelfmark, []).append(title)
    named, seen = [], set()
    for row in rows:
        shelfmark, _ = row["work"]
        title = max(titles[shelfmark], key=lambda one: (titles[shelfmark].count(one), one))
        work, movement, copy = f"{title} ({shelfmark.replace('--', ' ').upper()})", str(row["movement"]), 1
        while (row["composer"], work, movement) in seen:
            copy += 1
            movement = f"{row['movement']} [{copy}]"
        seen.add((row["composer"], work, movement))
        named.append({**row, "work": work, "movement": movement})
    return named


# Quartets ------------------------------------------------------------------------------------------------------------


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
    kind, folder = sys.argv[1], Path(sys.argv[2])
    rows = list(list_quartets(folder)) if kind == "quartets" else name_works(list(list_polish(folder)))
    if not rows:
        sys.exit(f"no scores of {kind} in {folder}")
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: [str(row[key]) for key in ("composer", "work", "movement")]))


if __name__ == "__main__":
    main()
