"""Which names of a library mean one work or one composer; what cannot be settled becomes a question.

Names are settled by what they say together: where one title links "Symphony No. 5" with "Op. 67", either alone means
that work. Two works are *alike* where nothing they say tells them apart; whether they are one is for a person to say.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from symphony2vec.corpus import composers, movements, vocabulary, works
from symphony2vec.corpus.vocabulary import fold
from symphony2vec.corpus.workname import NAMED, WorkName, keys_agree

ALIKE = 0.88  # difflib's ratio of two names of works without a genre
COGNATE_LETTERS, COGNATE_SHARE = 5, 0.5  # of the longer of two words, from its beginning on
YEAR = re.compile(r"1[6-9]\d\d|20\d\d")
_SYSTEMS = {
    "k": "K.",
    "d": "D.",
    "hob": "Hob.",
    "op": "Op.",
    "woo": "WoO",
    "wq": "Wq.",
    "buxwv": "BuxWV",
    "trv": "TrV",
    "sz": "Sz.",
}
# Titles of movements that works of one composer share.
_COMMON = set("complete movement kyrie gloria credo sanctus benedictus agnus dei whole track".split())
_EXTRACTED = {"Suite", "Overture", "Symphonic Dances", "Fantasia", "Waltz", "March"}


@dataclass(frozen=True)
class Question:
    """Two names that may mean one work (`composer` is set) or one composer."""

    name: str
    other: str
    composer: str = ""

    @property
    def option(self) -> str:
        """The option of `corpus import` that makes them one."""
        if self.composer:
            return f'--work "{self.composer}: {self.name}={self.other}"'
        return f'--composer "{self.name}={self.other}"'

    @property
    def key(self) -> tuple[str, frozenset[str]]:
        """What a decision about this question is found by."""
        return fold(self.composer), frozenset((fold(self.name), fold(self.other)))

    def __str__(self) -> str:
        """One line for people."""
        if self.composer:
            return (
                f"{self.composer}: '{self.name}' and '{self.other}' may be one work; {self.option} merges them, "
                "--apart instead of --work keeps them apart"
            )
        return f"'{self.name}' and '{self.other}' look like one composer; {self.option} merges them"


@dataclass
class Work:
    """All that the recordings of one work say of it."""

    texts: Counter[str] = field(default_factory=Counter)
    names: list[WorkName] = field(default_factory=list)
    movements: set[str] = field(default_factory=set)


class Sets:
    """Disjoint sets of words."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def root(self, word: str) -> str:
        """The word that stands for the set of `word`."""
        while (parent := self._parents.setdefault(word, word)) != word:
            word = parent
        return word

    def join(self, one: str, other: str) -> None:
        """Make one set of the sets of two words."""
        first, second = sorted((self.root(one), self.root(other)))
        self._parents[second] = first


def group_works(names: Sequence[tuple[WorkName, Sequence[WorkName]]]) -> list[str]:
    """Say for each recording of one composer which work it belongs to.

    Args:
        names: For each recording the name of its work, and other names that its tags give the same work.

    Returns:
        For each recording a word; equal words mean one work.
    """
    sets = Sets()
    ordinals: dict[str, set[str]] = defaultdict(set)
    for name in (name for main, others in names for name in (main, *others) if not name.several):
        first, *rest = sorted(name.catalogue) or [""]
        for number in rest:
            sets.join(first, number)
        if first and name.ordinal:
            ordinals[name.ordinal].add(first)
    nodes = [
        (_node(main, sets, ordinals), [_node(name, sets, ordinals) for name in _related(main, others)])
        for main, others in names
    ]
    partners: dict[str, set[str]] = defaultdict(set)
    related: dict[str, set[WorkName]] = defaultdict(set)
    for (node, others), (main, others_named) in zip(nodes, names, strict=True):
        related[node] |= set(_related(main, others_named))
        if not main.titled:
            partners[node] |= {sets.root(other) for other in others}
    contrary = {
        node for node, linked in related.items() if any(conflict(one, other) for one, other in combinations(linked, 2))
    }
    words = []
    for (node, others), (main, _) in zip(nodes, names, strict=True):
        # "Orchestral Works" holds several works; "A Midsummer Night's Dream" is the title of op. 21 and of op. 61
        collected = node in contrary or main.candidates or (not main.titled and len(partners[node]) > 1)
        if others and not collected:
            for other in others:
                sets.join(node, other)
        words.append(others[0] if others and collected else node)
    return [sets.root(word) for word in words]


def _related(main: WorkName, others: Sequence[WorkName]) -> list[WorkName]:
    return [
        name
        for name in others
        if name.titled
        and not name.several
        and (not main.several or name.catalogue & main.candidates)
        and not conflict(main, name)
    ]


def _node(name: WorkName, sets: Sets, ordinals: Mapping[str, set[str]]) -> str:
    linked = {sets.root(number) for number in ordinals.get(name.ordinal, ())}
    if name.catalogue:
        number = sets.root(min(name.catalogue))
        parts = {link for link in ordinals.get(name.ordinal, ()) if link.startswith(f"{number}/")}
        return sets.root(parts.pop()) if len(parts) == 1 else number
    if len(linked) == 1:
        return linked.pop()
    return name.ordinal or f"= {name.label}"


def conflict(one: WorkName, other: WorkName) -> bool:
    """Whether two names cannot mean one work: other numbers of one catalogue, or of one genre."""
    for first in one.catalogue:
        for second in other.catalogue:
            if first.split(" ")[0] == second.split(" ")[0] != "title" and not _same_number(first, second):
                return not (one.catalogue & other.catalogue)
    same_kind = one.genre and one.genre == other.genre and not (one.catalogue & other.catalogue)
    numbered = one.number is not None and other.number is not None
    return bool(same_kind and ((numbered and one.number != other.number) or not keys_agree(one.key, other.key)))


def _same_number(one: str, other: str) -> bool:
    """Whether two numbers of one catalogue may be one: op. 71 and 71a, op. 18 and op. 18 no. 1."""
    (first, _, sub), (second, _, other_sub) = one.partition("/"), other.partition("/")
    digits = [re.sub(r"(?<=\d)(?:bis|ter|[a-z])$", "", number) for number in (first, second)]
    return digits[0] == digits[1] and (first != second or not sub or not other_sub or sub == other_sub)


def displays(works: Mapping[str, Work]) -> dict[str, str]:
    """The readable normal form of each of a composer's works; two works never have the same one."""
    titles = {group: display(work) for group, work in works.items()}
    common = Counter(map(fold, titles.values()))
    for group, title in titles.items():
        if common[fold(title)] > 1:  # the tag of the work gives both the same title
            work = works[group]
            texts = [name.text for name in work.names if name.catalogue and not name.several]
            numbers = [number for name in work.names for number in name.catalogue if not number.startswith("title ")]
            own = min(texts, key=lambda text: (len(text), text)) if texts else ""
            titles[group] = own or (f"{title}, {_written(min(numbers))}" if numbers else title)
    return titles


def display(work: Work) -> str:
    """The readable normal form of a work, as in "Symphony No. 5 in C minor, Op. 67"."""
    best = work.texts.most_common()
    text = min(
        (name for name, count in best if count == best[0][1]),
        key=lambda name: (len(name), name.isupper(), name.islower(), name.isascii(), name),
    )
    named = [name for name in work.names if name.genre and not name.several]
    numbers = sorted(
        {number for name in work.names for number in name.catalogue if not number.startswith("title ")},
        key=lambda number: (number.startswith("op "), "/" not in number, number),
    )
    genres = Counter(name.genre for name in named)
    if (
        not named
        or any(name.genre in NAMED for name in named)
        or not (numbers or any(name.number is not None or name.key for name in named))
    ):
        return text
    genre = genres.most_common(1)[0][0]
    same = [name for name in named if name.genre == genre]
    number = next((name.number for name in same if name.number is not None), None)
    if number is None and any(name.name for name in same) and not any(not name.name for name in same):
        return text  # Symphonie fantastique, Missa solemnis
    keys = sorted((name.key for name in same if name.key), key=lambda key: (-key.count("m"), key))
    instruments = max((name.instruments for name in same), key=len)
    return "".join((
        f"{' and '.join(sorted(instruments))} " if instruments else "",
        genre,
        f" No. {number}" if number is not None else "",
        f" in {keys[0]}" if keys else "",
        f", {_written(numbers[0])}" if numbers else "",
    ))  # fmt: skip


def _written(number: str) -> str:
    system, _, rest = number.partition(" ")
    place, slash, sub = rest.partition("/")
    group, colon, count = place.partition(":")
    place = (
        f"{group.upper().replace('A', 'a').replace('B', 'b')}:{count.upper()}" if colon and system == "hob" else place
    )
    return f"{_SYSTEMS.get(system, system.upper())} {place.replace('anh ', 'Anh. ')}" + (f" No. {sub}" if slash else "")


def questions(
    catalogued: Iterable[tuple[str, str, str]], apart: Iterable[tuple[str, frozenset[str]]] = ()
) -> list[Question]:
    """Pairs of composers and of works in a catalogue that may be one.

    Args:
        catalogued: composer, work and movement of every recording, as the catalogue names them.
        apart: Keys of the questions that were answered with no.
    """
    library: dict[str, dict[str, Work]] = defaultdict(dict)
    for composer, title, movement in catalogued:
        work = library[composer].setdefault(title, Work())
        if not work.names:
            work.names.append(works.parse(title, composers.resolve(composer).name))
        work.movements.add(_distinctive(movement))
    asked = []
    for name, other in _pairs_of_composers(library):
        first, second = composers.resolve(name), composers.resolve(other)
        shorter, longer = sorted(
            (name, other), key=lambda text: (text == second.name or text == first.name, len(text), text)
        )
        asked.append(Question(shorter, longer))
    for composer, titles in sorted(library.items()):
        for title, other in combinations(sorted(titles), 2):
            if alike_works(titles[title], titles[other]):
                shorter, longer = sorted((title, other), key=lambda text: (len(text), text))
                asked.append(Question(shorter, longer, composer))
    answered = set(apart)
    return [question for question in asked if question.key not in answered]


def _pairs_of_composers(names: Iterable[str]) -> list[tuple[str, str]]:
    """Only names that share the first sound of a word are compared, which keeps thousands quick."""
    blocks: dict[str, set[str]] = defaultdict(set)
    for name in names:
        for word in fold(name).replace(".", " ").split():
            blocks[composers.skeleton(word)[:2]].add(name)
    pairs = {pair for block in blocks.values() for pair in combinations(sorted(block), 2)}
    return sorted(pair for pair in pairs if composers.alike(*pair))


def _distinctive(movement: str) -> str:
    """The title of a movement without its place; empty where it says no more than a tempo."""
    plain = re.sub(r"^(?:[\divxIVX]{1,5}[-.)\s]+)+|\s*\([^)]*\)$", "", movement)
    words = [word for word in re.findall(r"[^\W\d_]{3,}", fold(plain)) if word not in _COMMON]
    return " ".join(words) if sum(map(len, words)) > 7 and not movements.is_movement(plain) else ""


def alike_works(one: Work, other: Work) -> bool:
    """Whether nothing that two works of one composer say of themselves tells them apart."""
    first, second = one.names[0], other.names[0]
    if first.candidates or second.candidates:
        return _may_be(first, second) or _may_be(second, first)
    if first.several or second.several:
        return _collected(first, second)
    digits = [_digits(name.name) for name in (first, second)]
    if not (first.titled or second.titled) and digits[0] == digits[1] and (one.movements & other.movements) - {""}:
        return True
    if _holds_title(first, second) or _holds_title(second, first):
        return True
    numbers = _by_catalogue(first, second)
    if numbers is not None:
        return numbers
    words, others = set(_english(first.name)), set(_english(second.name))
    if first.genre and second.genre:
        if first.genre != second.genre:
            return bool(words and words == others)
        return _same_genre(first, second, words, others)
    squashed = [_squashed(name.text) for name in (first, second)]
    if squashed[0] and squashed[0] == squashed[1]:
        return True
    if (digits[0] and digits[1] and digits[0] != digits[1]) or not words or not others:
        return False
    if (
        words <= others
        or others <= words
        or _cognate(*map(_english, (first.name, second.name)), 5 if len(words) == 1 else 3)
    ):
        return True
    matcher = difflib.SequenceMatcher(None, " ".join(first.name), " ".join(second.name), autojunk=False)
    ratios = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
    return len(squashed[0]) > 6 and all(ratio() >= ALIKE for ratio in ratios)


@functools.lru_cache(maxsize=65536)
def _digits(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(filter(str.isdigit, words)))


@functools.lru_cache(maxsize=65536)
def _squashed(text: str) -> str:
    return re.sub(r"\W", "", fold(text))


def _may_be(one: WorkName, other: WorkName) -> bool:
    """Whether a title that several works bear may mean another work, or a title that several works bear as well."""
    if one.candidates & (other.catalogue | other.candidates):
        return True
    apart = any(
        number.split(" ")[0] == candidate.split(" ")[0] and not _same_number(number, candidate)
        for number in other.catalogue
        for candidate in one.candidates
    )
    return bool(one.candidates) and not apart and bool(one.name) and set(one.name) <= set(other.name)


@functools.lru_cache(maxsize=65536)
def _english(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(vocabulary.TITLE_WORDS.get(word, word) for word in words)


@functools.lru_cache(maxsize=65536)
def _cognate(one: tuple[str, ...], other: tuple[str, ...], fewest: int = 3) -> bool:
    """Whether the words of two titles pair off by their beginnings, as in "Pini di Roma" and "Pines of Rome"."""
    if len(one) != len(other) or any(word.isdigit() for word in (*one, *other)):
        return False
    left = [composers.skeleton(word) for word in other]
    for word in map(composers.skeleton, one):
        pair = next((candidate for candidate in left if _begin_alike(word, candidate, fewest)), None)
        if pair is None:
            return False
        left.remove(pair)
    return any(len(word) >= COGNATE_LETTERS for word in (*one, *other))


def _begin_alike(one: str, other: str, fewest: int) -> bool:
    places = enumerate(zip(one, other, strict=False))
    shared = next((place for place, (sign, same) in places if sign != same), min(len(one), len(other)))
    return one == other or shared >= max(fewest, COGNATE_SHARE * max(len(one), len(other)))


def _collected(one: WorkName, other: WorkName) -> bool:
    if one.genre != other.genre or (one.instruments and other.instruments and one.instruments != other.instruments):
        return False
    if one.catalogue and other.catalogue:
        return any(_same_number(a, b) for a in one.catalogue for b in other.catalogue)
    numbers = [set(name.numbers) or ({name.number} if name.number is not None else set()) for name in (one, other)]
    return not numbers[0] or not numbers[1] or bool(numbers[0] & numbers[1])


def _holds_title(one: WorkName, other: WorkName) -> bool:
    """Whether a name holds the well-known title of another work: the suite of "L'oiseau de feu" is of the Firebird."""
    titles = [set(number.split()[1:]) for number in one.catalogue if number.startswith("title ")]
    return not (one.catalogue & other.catalogue) and any(title <= set(other.name) for title in titles)


def _by_catalogue(one: WorkName, other: WorkName) -> bool | None:
    """Whether numbers of one catalogue may be one; None where no catalogue has both."""
    shared = [(a, b) for a in one.catalogue for b in other.catalogue if a.split(" ")[0] == b.split(" ")[0]]
    if not shared:
        return None
    if any(_same_number(a, b) for a, b in shared):
        return True
    # Shostakovich's first violin concerto is op. 77 and op. 99
    if one.number is not None and one.key and one.ordinal == other.ordinal and one.key == other.key:
        return True
    extracted = one.genre != other.genre and bool({one.genre, other.genre} & _EXTRACTED)
    return bool(extracted and one.name and set(one.name) == set(other.name))


def _same_genre(one: WorkName, other: WorkName, words: set[str], others: set[str]) -> bool:
    if one.number is not None and other.number is not None and one.number != other.number:
        return False
    if not keys_agree(one.key, other.key) or (
        one.instruments and other.instruments and one.instruments != other.instruments
    ):
        return False
    if one.genre in NAMED or (one.number is None and other.number is None):
        # the suites of 1911 and of 1919 share most of their music
        words, others = ({word for word in names if not YEAR.fullmatch(word)} for names in (words, others))
        nested = words <= others or others <= words or _cognate(tuple(sorted(words)), tuple(sorted(others)))
        if one.genre in vocabulary.WEAK and bool(words) != bool(others) and not (one.key and other.key):
            return False
        return nested
    return True
