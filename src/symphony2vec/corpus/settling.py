"""Normalise composer and work names of a library, and assign each recording a title of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from symphony2vec.corpus import composers, identity, similarity, works
from symphony2vec.corpus.authority import tidy
from symphony2vec.corpus.titles import IdentifiedRecording
from symphony2vec.corpus.vocabulary import normalize, remove_discs


def unify_names(
    recordings: Iterable[IdentifiedRecording],
    merges: Mapping[str, str],
    work_merges: Mapping[tuple[str, str], str] | None = None,
) -> list[IdentifiedRecording]:
    """Return the recordings, sorted by path, with one name for each composer and work, and with distinct titles.

    Args:
        recordings: The recordings as tags, folders or a table name them.
        merges: Replacements for names of composers.
        work_merges: Replacements for names of works, by composer and name.
    """
    ordered = sorted(recordings, key=lambda recording: recording.path)
    by_composer: dict[str, list[int]] = defaultdict(list)
    for i, composer in enumerate(_unify_composers(ordered, merges)):
        by_composer[composer].append(i)
    unified = list(ordered)
    for composer, indices in by_composer.items():
        titles = _unify_works(composer, [ordered[i] for i in indices], work_merges or {})
        for i, work in zip(indices, titles, strict=True):
            recording = ordered[i]
            unified[i] = replace(
                recording,
                composer=composer,
                work=work,
                printed_work=recording.printed_work or recording.work,
                printed_composer=recording.printed_composer or recording.composer,
            )
    return make_titles_unique(unified)


def _unify_composers(recordings: Sequence[IdentifiedRecording], merges: Mapping[str, str]) -> list[str]:
    """Return the name of the composer of each recording."""
    spellings = {normalize(recording.composer) for recording in recordings}
    targets_by_key = {composers.resolve(target).key: target for target in merges.values()} | {
        composers.resolve(name).key: target for name, target in merges.items() if normalize(name) not in spellings
    }
    targets = {normalize(name): target for name, target in merges.items()}
    credits = [_resolve_composer(recording) for recording in recordings]
    keys = [credit.key or normalize(credit.name) for credit in credits]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for key, credit in zip(keys, credits, strict=True):
        counts[key][credit.name] += 1
    best = {
        key: min(names, key=lambda name: (-names[name], name.isupper(), name.islower(), name.isascii(), name))
        for key, names in counts.items()
    }
    return [
        targets.get(normalize(recording.composer)) or targets_by_key.get(credit.key) or best[key]
        for recording, credit, key in zip(recordings, credits, keys, strict=True)
    ]


def _resolve_composer(recording: IdentifiedRecording) -> composers.Credit:
    """Return the composer; a surname alone is decided by the catalogue: Bach with Wq is Carl Philipp Emanuel."""
    credit = composers.resolve(recording.composer)
    if not credit.surname_only:
        return credit
    numbers = works.parse(recording.work, credit.name).catalogue
    owners = {composers.CATALOGUE_OWNERS.get(number.split(" ")[0]) for number in numbers} - {None}
    owner = composers.resolve(str(owners.pop())) if len(owners) == 1 else credit
    return owner if owner.name.split()[-1] == credit.name.split()[-1] else credit


def _unify_works(
    composer: str, recordings: Sequence[IdentifiedRecording], merges: Mapping[tuple[str, str], str]
) -> list[str]:
    """Return the name of the work of each of a composer's recordings."""
    name = composers.resolve(composer).name
    names = [
        (works.parse(recording.work, name), [works.parse(alias, name) for alias in recording.work_aliases if alias])
        for recording in recordings
    ]
    labels = identity.group_works(names)
    groups: dict[str, identity.Work] = defaultdict(identity.Work)
    for label, (main, others), recording in zip(labels, names, recordings, strict=True):
        groups[label].texts[remove_discs(recording.work)] += 1
        groups[label].names += [main, *others]
    titles = identity.display_names(groups)
    for work, other in _select_merges(composer, merges).items():
        spellings = {label: {normalize(titles[label]), *map(normalize, group.texts)} for label, group in groups.items()}
        targets = [title for label, title in titles.items() if normalize(other) in spellings[label]]
        for label in groups:
            if normalize(work) in spellings[label]:
                titles[label] = targets[0] if targets else other
    return [titles[label] for label in labels]


def _select_merges(composer: str, merges: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """Return the replacements for works of one composer, however the composer is spelt there."""
    key = composers.resolve(composer).key
    return {
        work: other
        for (name, work), other in merges.items()
        if normalize(name) == normalize(composer) or (key and composers.resolve(name).key == key)
    }


def make_titles_unique(recordings: Iterable[IdentifiedRecording]) -> list[IdentifiedRecording]:
    """Add the performance, else the end of the path, to equal titles of movements until all are distinct.

    The additions of an earlier call are removed first: without the duplicates they may be unnecessary.
    """
    unique = [replace(recording, movement=recording.bare_movement or recording.movement) for recording in recordings]
    unique = [replace(recording, bare_movement=recording.movement) for recording in unique]
    while True:
        groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for i, recording in enumerate(unique):
            groups[recording.composer, recording.work, recording.movement].append(i)
        equal = [group for group in groups.values() if len(group) > 1]
        if not equal:
            return unique
        for group in equal:
            for i, label in zip(group, _distinguish([unique[i] for i in group]), strict=True):
                unique[i] = replace(unique[i], movement=f"{unique[i].movement} ({label})")


def _distinguish(recordings: Sequence[IdentifiedRecording]) -> list[str]:
    """Return distinct labels of recordings: conductor, album or artist where all differ, else the ends of paths.

    The ends of paths are numbered if they differ in their encoding only.
    """
    for labels in zip(*(recording.performance for recording in recordings), strict=False):
        if all(labels) and len(set(labels)) == len(labels):
            return list(labels)
    paths = [PurePosixPath(recording.path).parts for recording in recordings]
    for depth in range(1, max(map(len, paths)) + 1):
        tails = [tidy("/".join(path[-depth:])) for path in paths]
        if len(set(tails)) == len(tails):
            return tails
    return [f"{tail}, {number}" for number, tail in enumerate(tails, start=1)]


def collect_hints(
    recordings: Iterable[IdentifiedRecording], distinct: Iterable[tuple[str, frozenset[str]]] = ()
) -> list[str]:
    """Return what a user should check: similar works and composers, and folders identified in two ways.

    Args:
        recordings: The recordings with unified names.
        distinct: Keys of pairs of works that a user decided are different.
    """
    recordings = list(recordings)
    sources: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        sources[str(PurePosixPath(recording.path).parent)].add(recording.source)
    titles = ((recording.composer, recording.work, recording.movement) for recording in recordings)
    hints = [str(pair) for pair in similarity.find_similar_names(titles, distinct)]
    for folder, names in sorted(sources.items()):
        if names >= {"tags", "folders"}:
            hints.append(
                f"{folder}: some files are identified by tags and some by folders; check that the names of works agree"
            )
    for name in sorted({recording.composer for recording in recordings}):
        candidates = composers.resolve(name).candidates
        if candidates:
            options = ", ".join(f'--composer "{name}={candidate}"' for candidate in candidates)
            hints.append(f"'{name}' may be {' or '.join(candidates)}; choose with one of {options}")
    return hints


def describe_spellings(recordings: Iterable[IdentifiedRecording]) -> list[str]:
    """Return a line for each composer whose name was spelt differently, after a line with the counts."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        spellings[recording.composer].add(recording.printed_composer)
    lines = [f"{name} = {' = '.join(sorted(names))}" for name, names in sorted(spellings.items()) if names != {name}]
    if all(len(names) == 1 for names in spellings.values()):
        return []
    return [f"{sum(map(len, spellings.values()))} spellings became {len(spellings)} composers:", *lines]
