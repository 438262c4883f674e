"""Pairs of names that may mean one work or one composer, for a user to decide.

Two works are *similar* if nothing that their names say tells them apart.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from symphony2vec.corpus import composers, movements, vocabulary, works
from symphony2vec.corpus.authority import phonetic_key
from symphony2vec.corpus.identity import Work, is_same_number
from symphony2vec.corpus.vocabulary import normalize
from symphony2vec.corpus.workname import NAMED_GENRES, WorkName, keys_agree

SIMILAR_RATIO = 0.88  # difflib's ratio of two names of works without a genre
COGNATE_LETTERS, COGNATE_SHARE = 5, 0.5  # of the longer of two words, from its beginning
YEAR = re.compile(r"1[6-9]\d\d|20\d\d")
# Titles of movements that different works of one composer share.
_COMMON_TITLES = set("complete movement kyrie gloria credo sanctus benedictus agnus dei whole track".split())
_EXCERPT_GENRES = {"Suite", "Overture", "Symphonic Dances", "Fantasia", "Waltz", "March"}


@dataclass(frozen=True)
class SimilarNames:
    """Two names that may mean one work (with `composer`) or one composer."""

    name: str
    other: str
    composer: str = ""

    @property
    def option(self) -> str:
        """The option of `corpus import` that merges the two names."""
        if self.composer:
            return f'--work "{self.composer}: {self.name}={self.other}"'
        return f'--composer "{self.name}={self.other}"'

    @property
    def key(self) -> tuple[str, frozenset[str]]:
        """A key that is equal for other spellings of the same pair."""
        return normalize(self.composer), frozenset((normalize(self.name), normalize(self.other)))

    def __str__(self) -> str:
        """Return one line for the user, with the options that decide about the pair."""
        if self.composer:
            return (
                f"{self.composer}: '{self.name}' and '{self.other}' may be one work; {self.option} merges them, "
                "--apart instead of --work keeps them apart"
            )
        return f"'{self.name}' and '{self.other}' may be one composer; {self.option} merges them"


def find_similar_names(
    titles: Iterable[tuple[str, str, str]], distinct: Iterable[tuple[str, frozenset[str]]] = ()
) -> list[SimilarNames]:
    """Return pairs of composers and of works that may be one.

    Args:
        titles: Composer, work and movement of every recording.
        distinct: Keys of pairs that a user decided are different.

    Examples:
        >>> pair, = find_similar_names([("N. Uematsu", "A", "1"), ("Nobuo Uematsu", "B", "1")])
        >>> pair.option
        '--composer "N. Uematsu=Nobuo Uematsu"'
    """
    library: dict[str, dict[str, Work]] = defaultdict(dict)
    for composer, title, movement in titles:
        work = library[composer].setdefault(title, Work())
        if not work.names:
            work.names.append(works.parse(title, composers.resolve(composer).name))
        work.movements.add(_distinctive_title(movement))
    pairs = []
    for name, other in _find_similar_composers(library):
        resolved = {composers.resolve(name).name, composers.resolve(other).name}
        shorter, longer = sorted((name, other), key=lambda text: (text in resolved, len(text), text))
        pairs.append(SimilarNames(shorter, longer))
    for composer, works_of_composer in sorted(library.items()):
        for title, other in combinations(sorted(works_of_composer), 2):
            if may_be_same_work(works_of_composer[title], works_of_composer[other]):
                shorter, longer = sorted((title, other), key=lambda text: (len(text), text))
                pairs.append(SimilarNames(shorter, longer, composer))
    distinct = set(distinct)
    return [pair for pair in pairs if pair.key not in distinct]


def _find_similar_composers(names: Iterable[str]) -> list[tuple[str, str]]:
    """Compare only names in which words begin with the same sound, which is fast for thousands of names."""
    blocks: dict[str, set[str]] = defaultdict(set)
    for name in names:
        for word in normalize(name).replace(".", " ").split():
            blocks[phonetic_key(word)[:2]].add(name)
    pairs = {pair for block in blocks.values() for pair in combinations(sorted(block), 2)}
    return sorted(pair for pair in pairs if composers.may_be_same(*pair))


def _distinctive_title(movement: str) -> str:
    """Return the title of a movement without its number; empty if it says no more than a tempo."""
    title = re.sub(r"^(?:[\divxIVX]{1,5}[-.)\s]+)+|\s*\([^)]*\)$", "", movement)
    words = [word for word in re.findall(r"[^\W\d_]{3,}", normalize(title)) if word not in _COMMON_TITLES]
    return " ".join(words) if sum(map(len, words)) > 7 and not movements.is_movement(title) else ""


def may_be_same_work(work: Work, other_work: Work) -> bool:
    """Return whether nothing that two works of one composer say about themselves tells them apart."""
    first, second = work.names[0], other_work.names[0]
    if first.candidates or second.candidates:
        return _may_mean(first, second) or _may_mean(second, first)
    if first.is_collection or second.is_collection:
        return _collections_overlap(first, second)
    digits, other_digits = _digits(first.name), _digits(second.name)
    is_specific = first.is_specific or second.is_specific
    if not is_specific and digits == other_digits and (work.movements & other_work.movements) - {""}:
        return True
    if _contains_title(first, second) or _contains_title(second, first):
        return True
    same_numbers = _compare_catalogues(first, second)
    if same_numbers is not None:
        return same_numbers
    words, other_words = set(_translate_words(first.name)), set(_translate_words(second.name))
    if first.genre and second.genre:
        if first.genre != second.genre:
            return bool(words and words == other_words)
        return _same_genre_may_match(first, second, words, other_words)
    letters = _letters(first.text)
    if letters and letters == _letters(second.text):
        return True
    if (digits and other_digits and digits != other_digits) or not words or not other_words:
        return False
    if words <= other_words or other_words <= words:
        return True
    fewest = 5 if len(words) == 1 else 3
    if _are_cognate(_translate_words(first.name), _translate_words(second.name), fewest):
        return True
    matcher = difflib.SequenceMatcher(None, " ".join(first.name), " ".join(second.name), autojunk=False)
    ratios = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
    return len(letters) > 6 and all(ratio() >= SIMILAR_RATIO for ratio in ratios)


@functools.lru_cache(maxsize=65536)
def _digits(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(filter(str.isdigit, words)))


@functools.lru_cache(maxsize=65536)
def _letters(text: str) -> str:
    return re.sub(r"\W", "", normalize(text))


@functools.lru_cache(maxsize=65536)
def _translate_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the English words for words of titles; unknown words stay as they are."""
    return tuple(vocabulary.TITLE_WORDS.get(word, word) for word in words)


def _may_mean(first: WorkName, second: WorkName) -> bool:
    """Return whether a title that several works share may mean another work, or another such title."""
    if first.candidates & (second.catalogue | second.candidates):
        return True
    has_other_number = any(
        number.split(" ")[0] == candidate.split(" ")[0] and not is_same_number(number, candidate)
        for number in second.catalogue
        for candidate in first.candidates
    )
    return bool(first.candidates and first.name) and not has_other_number and set(first.name) <= set(second.name)


@functools.lru_cache(maxsize=65536)
def _are_cognate(first: tuple[str, ...], second: tuple[str, ...], fewest: int = 3) -> bool:
    """Return whether the words of two titles begin alike in pairs, as in "Pini di Roma" and "Pines of Rome"."""
    if len(first) != len(second) or any(word.isdigit() for word in (*first, *second)):
        return False
    candidates = [phonetic_key(word) for word in second]
    for word in map(phonetic_key, first):
        partner = next((candidate for candidate in candidates if _begin_alike(word, candidate, fewest)), None)
        if partner is None:
            return False
        candidates.remove(partner)
    return any(len(word) >= COGNATE_LETTERS for word in (*first, *second))


def _begin_alike(first: str, second: str, fewest: int) -> bool:
    pairs = enumerate(zip(first, second, strict=False))
    shared = next((i for i, (sign, other) in pairs if sign != other), min(len(first), len(second)))
    return first == second or shared >= max(fewest, COGNATE_SHARE * max(len(first), len(second)))


def _collections_overlap(first: WorkName, second: WorkName) -> bool:
    """Return whether two names of collections of works may include the same work."""
    if first.genre != second.genre or _instruments_differ(first, second):
        return False
    if first.catalogue and second.catalogue:
        return any(is_same_number(a, b) for a in first.catalogue for b in second.catalogue)
    numbers = [set(name.numbers) or ({name.number} if name.number is not None else set()) for name in (first, second)]
    return not numbers[0] or not numbers[1] or bool(numbers[0] & numbers[1])


def _instruments_differ(first: WorkName, second: WorkName) -> bool:
    return bool(first.instruments and second.instruments and first.instruments != second.instruments)


def _contains_title(first: WorkName, second: WorkName) -> bool:
    """Return whether the second name contains the well-known title of the first, as a Firebird suite does."""
    titles = [set(number.split()[1:]) for number in first.catalogue if number.startswith("title ")]
    return not (first.catalogue & second.catalogue) and any(title <= set(second.name) for title in titles)


def _compare_catalogues(first: WorkName, second: WorkName) -> bool | None:
    """Return whether numbers of one catalogue may be the same; None if no catalogue contains both works."""
    pairs = [(a, b) for a in first.catalogue for b in second.catalogue if a.split(" ")[0] == b.split(" ")[0]]
    if not pairs:
        return None
    if any(is_same_number(a, b) for a, b in pairs):
        return True
    # Shostakovich's first violin concerto is op. 77 and op. 99.
    if first.number is not None and first.key and first.ordinal == second.ordinal and first.key == second.key:
        return True
    is_excerpt = first.genre != second.genre and bool({first.genre, second.genre} & _EXCERPT_GENRES)
    return bool(is_excerpt and first.name and set(first.name) == set(second.name))


def _same_genre_may_match(first: WorkName, second: WorkName, words: set[str], other_words: set[str]) -> bool:
    """Return whether two works of one genre may be the same, by number, key, instruments and words."""
    if first.number is not None and second.number is not None and first.number != second.number:
        return False
    if not keys_agree(first.key, second.key) or _instruments_differ(first, second):
        return False
    if first.genre in NAMED_GENRES or (first.number is None and second.number is None):
        # The suites of 1911 and of 1919 share most of their music.
        words, other_words = ({word for word in names if not YEAR.fullmatch(word)} for names in (words, other_words))
        one_has_name = bool(words) != bool(other_words)
        if first.genre in vocabulary.WEAK_GENRES and one_has_name and not (first.key and second.key):
            return False
        nested = words <= other_words or other_words <= words
        return nested or _are_cognate(tuple(sorted(words)), tuple(sorted(other_words)))
    return True
