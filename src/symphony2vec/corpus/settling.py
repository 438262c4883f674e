"""One name for each composer and each work of a library, one title for each recording, and what to ask a person."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from symphony2vec.corpus import composers, identity, works
from symphony2vec.corpus.composers import tidy
from symphony2vec.corpus.titles import Placed
from symphony2vec.corpus.vocabulary import fold, without_discs


def settle(
    placed: Iterable[Placed], merges: Mapping[str, str], work_merges: Mapping[tuple[str, str], str] | None = None
) -> list[Placed]:
    """Give composers and works one name each, and every recording a title of its own.

    Args:
        placed: The recordings as tags, folders or a table name them.
        merges: Names of composers that stand for another one.
        work_merges: In the same way names of works, by composer and name.
    """
    ordered = sorted(placed, key=lambda recording: recording.path)
    names = _composers([recording.composer for recording in ordered], merges, ordered)
    by_composer: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        by_composer[name].append(place)
    settled = list(ordered)
    for composer, places in by_composer.items():
        titles = _works(composer, [ordered[place] for place in places], work_merges or {})
        for place, work in zip(places, titles, strict=True):
            recording = ordered[place]
            settled[place] = replace(
                recording,
                composer=composer,
                work=work,
                printed_work=recording.printed_work or recording.work,
                printed_composer=recording.printed_composer or recording.composer,
            )
    return tell_apart(settled)


def _composers(written: list[str], merges: Mapping[str, str], recordings: list[Placed]) -> list[str]:
    """The name of the composer of each recording."""
    literal = {fold(name) for name in written}
    asked = {composers.resolve(target).key: target for target in merges.values()}
    asked |= {composers.resolve(name).key: target for name, target in merges.items() if fold(name) not in literal}
    spelt = {fold(name): target for name, target in merges.items()}
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    credits = [_owner(composers.resolve(name), recording) for name, recording in zip(written, recordings, strict=True)]
    for credit in credits:
        spellings[credit.key or fold(credit.name)][credit.name] += 1
    best = {
        key: min(names, key=lambda name: (-names[name], name.isupper(), name.islower(), name.isascii(), name))
        for key, names in spellings.items()
    }
    return [
        spelt.get(fold(name)) or asked.get(credit.key) or best[credit.key or fold(credit.name)]
        for name, credit in zip(written, credits, strict=True)
    ]


def _owner(credit: composers.Credit, recording: Placed) -> composers.Credit:
    """A bare surname means the composer whose catalogue numbers the work: Bach with Wq is Carl Philipp Emanuel."""
    if not credit.bare:
        return credit
    numbers = works.parse(recording.work, credit.name).catalogue
    owners = {composers.OWNERS.get(number.split(" ")[0]) for number in numbers} - {None}
    owner = composers.resolve(str(owners.pop())) if len(owners) == 1 else credit
    return owner if owner.name.split()[-1] == credit.name.split()[-1] else credit


def _works(composer: str, recordings: list[Placed], merges: Mapping[tuple[str, str], str]) -> list[str]:
    """The name of the work of each of a composer's recordings."""
    who = composers.resolve(composer).name
    names = [
        (works.parse(recording.work, who), [works.parse(text, who) for text in recording.also if text])
        for recording in recordings
    ]
    groups = identity.group_works(names)
    texts: dict[str, identity.Work] = defaultdict(identity.Work)
    for group, (main, others), recording in zip(groups, names, recordings, strict=True):
        texts[group].texts[without_discs(recording.work)] += 1
        texts[group].names += [main, *others]
    titles = identity.displays(texts)
    for name, other in _targets(composer, merges).items():
        hit = {group for group, work in texts.items() if fold(name) in {fold(titles[group]), *map(fold, work.texts)}}
        target = [
            title for group, title in titles.items() if fold(other) in {fold(title), *map(fold, texts[group].texts)}
        ]
        titles |= dict.fromkeys(hit, target[0] if target else other)
    return [titles[group] for group in groups]


def _targets(composer: str, merges: Mapping[tuple[str, str], str]) -> dict[str, str]:
    key = composers.resolve(composer).key
    return {
        name: other
        for (whose, name), other in merges.items()
        if fold(whose) == fold(composer) or (key and composers.resolve(whose).key == key)
    }


def tell_apart(placed: Iterable[Placed]) -> list[Placed]:
    """Add the performance, else the end of the path, to movements of one title, until none is left.

    What an earlier call added is taken off first: once a recording is left out, nothing may be left to tell apart.
    """
    labelled = [replace(one, movement=one.bare_movement or one.movement) for one in placed]
    labelled = [replace(one, bare_movement=one.movement) for one in labelled]
    while True:
        groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for index, one in enumerate(labelled):
            groups[one.composer, one.work, one.movement].append(index)
        same = [group for group in groups.values() if len(group) > 1]
        if not same:
            return labelled
        for group in same:
            for index, tail in zip(group, _labels([labelled[index] for index in group]), strict=True):
                labelled[index] = replace(labelled[index], movement=f"{labelled[index].movement} ({tail})")


def _labels(recordings: list[Placed]) -> list[str]:
    """What tells recordings of one movement apart: conductor, album or artist where all differ, else the paths."""
    for labels in zip(*(recording.performance for recording in recordings), strict=False):
        if all(labels) and len(set(labels)) == len(labels):
            return list(labels)
    return _tails([recording.path for recording in recordings])


def _tails(paths: list[str]) -> list[str]:
    """The shortest ends of paths that tell them apart; numbered where only their encoding differs."""
    parts = [PurePosixPath(path).parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        tails = [tidy("/".join(part[-depth:])) for part in parts]
        if len(set(tails)) == len(tails):
            return tails
    return [f"{tail}, {number}" for number, tail in enumerate(tails, start=1)]


def hints(placed: Iterable[Placed], apart: Iterable[tuple[str, frozenset[str]]] = ()) -> list[str]:
    """What a person should look at: works and composers that may be one, and folders that are named in two ways."""
    recordings = list(placed)
    ways: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        ways[str(PurePosixPath(recording.path).parent)].add(recording.by)
    asked = identity.questions(((one.composer, one.work, one.movement) for one in recordings), apart)
    lines = [str(question) for question in asked]
    for folder, by in sorted(ways.items()):
        if by >= {"tags", "folders"}:
            lines.append(f"{folder}: some files are named by tags, some by folders; see that their work is one")
    for name in sorted({recording.composer for recording in recordings}):
        candidates = composers.resolve(name).candidates
        if candidates:
            options = ", ".join(f'--composer "{name}={candidate}"' for candidate in candidates)
            lines.append(f"'{name}' may be {' or '.join(candidates)}; one of these says who: {options}")
    return lines


def merged(placed: Iterable[Placed]) -> list[str]:
    """What was taken as one composer, with all spellings."""
    composers_of: dict[str, set[str]] = defaultdict(set)
    for recording in placed:
        composers_of[recording.composer].add(recording.printed_composer)
    lines = [f"{name} = {' = '.join(sorted(spelt))}" for name, spelt in sorted(composers_of.items()) if spelt != {name}]
    if not any("=" in line.partition(" = ")[2] for line in lines):
        return []
    count = sum(map(len, composers_of.values()))
    return [f"{count} spellings became {len(composers_of)} composers:", *lines]
