"""Which names in a library mean one work, and the display name of each work.

Names are combined: where one title links "Symphony No. 5" with "Op. 67", each of them alone means that work, too.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Generic, TypeVar

from symphony2vec.corpus.vocabulary import normalize
from symphony2vec.corpus.workname import NAMED_GENRES, WorkName, keys_agree

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
Item = TypeVar("Item", int, str)


@dataclass
class Work:
    """What the recordings of one work say about it: the texts that name it, and the titles of its movements."""

    texts: Counter[str] = field(default_factory=Counter)
    names: list[WorkName] = field(default_factory=list)
    movements: set[str] = field(default_factory=set)


class DisjointSets(Generic[Item]):
    """Disjoint sets of numbers or strings; an item that was never joined is a set of its own.

    Examples:
        >>> sets = DisjointSets[str]()
        >>> sets.join("a", "b")
        >>> sets.root("b"), sets.root("c")
        ('a', 'c')
    """

    def __init__(self) -> None:
        self._parents: dict[Item, Item] = {}

    def root(self, item: Item) -> Item:
        """Return the item that represents the set of `item`."""
        while (parent := self._parents.setdefault(item, item)) != item:
            item = parent
        return item

    def join(self, first: Item, second: Item) -> None:
        """Unite the sets of two items."""
        low, high = sorted((self.root(first), self.root(second)))
        self._parents[high] = low


def group_works(names: Sequence[tuple[WorkName, Sequence[WorkName]]]) -> list[str]:
    """Assign each recording of one composer to a work.

    Args:
        names: For each recording the name of its work, and other names that its tags give the same work.

    Returns:
        For each recording a label; equal labels mean one work.
    """
    sets = DisjointSets[str]()
    ordinals = _link_catalogue_numbers(names, sets)
    aliases = [_compatible_aliases(name, others) for name, others in names]
    nodes = [_node(name, sets, ordinals) for name, _ in names]
    alias_nodes = [[_node(alias, sets, ordinals) for alias in others] for others in aliases]
    partners: dict[str, set[str]] = defaultdict(set)
    aliases_by_node: dict[str, set[WorkName]] = defaultdict(set)
    for node, (name, _), others, other_nodes in zip(nodes, names, aliases, alias_nodes, strict=True):
        aliases_by_node[node] |= set(others)
        if not name.is_specific:
            partners[node] |= {sets.root(other) for other in other_nodes}
    contradictory = {
        node for node, others in aliases_by_node.items() if any(contradict(*pair) for pair in combinations(others, 2))
    }
    labels = []
    for node, (name, _), other_nodes in zip(nodes, names, alias_nodes, strict=True):
        # "Orchestral Works" names several works; "A Midsummer Night's Dream" is the title of op. 21 and of op. 61.
        is_shared = node in contradictory or name.candidates or (not name.is_specific and len(partners[node]) > 1)
        if other_nodes and is_shared:
            labels.append(other_nodes[0])
            continue
        for other in other_nodes:
            sets.join(node, other)
        labels.append(node)
    return [sets.root(label) for label in labels]


def _link_catalogue_numbers(
    names: Sequence[tuple[WorkName, Sequence[WorkName]]], sets: DisjointSets[str]
) -> dict[str, set[str]]:
    """Join the catalogue numbers that stand in one name, and return the catalogue numbers of each ordinal."""
    ordinals: dict[str, set[str]] = defaultdict(set)
    for name in (name for main, others in names for name in (main, *others) if not name.is_collection):
        first, *rest = sorted(name.catalogue) or [""]
        for number in rest:
            sets.join(first, number)
        if first and name.ordinal:
            ordinals[name.ordinal].add(first)
    return ordinals


def _compatible_aliases(name: WorkName, others: Sequence[WorkName]) -> list[WorkName]:
    return [
        other
        for other in others
        if other.is_specific
        and not other.is_collection
        and (not name.is_collection or other.catalogue & name.candidates)
        and not contradict(name, other)
    ]


def _node(name: WorkName, sets: DisjointSets[str], ordinals: Mapping[str, set[str]]) -> str:
    """Return the catalogue number, ordinal or label that a name is grouped by."""
    linked = {sets.root(number) for number in ordinals.get(name.ordinal, ())}
    if name.catalogue:
        number = sets.root(min(name.catalogue))
        parts = {other for other in ordinals.get(name.ordinal, ()) if other.startswith(f"{number}/")}
        return sets.root(parts.pop()) if len(parts) == 1 else number
    if len(linked) == 1:
        return linked.pop()
    return name.ordinal or f"= {name.label}"


def contradict(first: WorkName, second: WorkName) -> bool:
    """Return whether two names cannot mean one work: other numbers of one catalogue, or of one genre."""
    shared = first.catalogue & second.catalogue
    for number in first.catalogue:
        for other in second.catalogue:
            if number.split(" ")[0] == other.split(" ")[0] != "title" and not is_same_number(number, other):
                return not shared
    if not first.genre or first.genre != second.genre or shared:
        return False
    other_number = first.number is not None and second.number is not None and first.number != second.number
    return other_number or not keys_agree(first.key, second.key)


def is_same_number(first: str, second: str) -> bool:
    """Return whether two numbers of one catalogue may be the same: op. 71 and 71a, op. 18 and op. 18 no. 1."""
    (number, _, sub), (other, _, other_sub) = first.partition("/"), second.partition("/")
    digits = [re.sub(r"(?<=\d)(?:bis|ter|[a-z])$", "", text) for text in (number, other)]
    return digits[0] == digits[1] and (number != other or not sub or not other_sub or sub == other_sub)


def display_names(works: Mapping[str, Work]) -> dict[str, str]:
    """Return a distinct display name for each of a composer's works, by the label of the work."""
    titles = {label: display_name(work) for label, work in works.items()}
    counts = Counter(map(normalize, titles.values()))
    for label, title in titles.items():
        if counts[normalize(title)] > 1:  # the tags give several works the same title
            names = works[label].names
            texts = [name.text for name in names if name.catalogue and not name.is_collection]
            numbers = _catalogue_numbers(names)
            if texts:
                titles[label] = min(texts, key=lambda text: (len(text), text))
            elif numbers:
                titles[label] = f"{title}, {_format_number(min(numbers))}"
    return titles


def display_name(work: Work) -> str:
    """Return the name of a work in normal form, as in "Symphony No. 5 in C minor, Op. 67"."""
    counts = work.texts.most_common()
    text = min(
        (name for name, count in counts if count == counts[0][1]),
        key=lambda name: (len(name), name.isupper(), name.islower(), name.isascii(), name),
    )
    names = [name for name in work.names if name.genre and not name.is_collection]
    numbers = sorted(
        _catalogue_numbers(work.names), key=lambda number: (number.startswith("op "), "/" not in number, number)
    )
    is_specific = numbers or any(name.number is not None or name.key for name in names)
    if not names or not is_specific or any(name.genre in NAMED_GENRES for name in names):
        return text
    genre = Counter(name.genre for name in names).most_common(1)[0][0]
    same_genre = [name for name in names if name.genre == genre]
    number = next((name.number for name in same_genre if name.number is not None), None)
    if number is None and all(name.name for name in same_genre):
        return text  # Symphonie fantastique, Missa solemnis
    keys = sorted((name.key for name in same_genre if name.key), key=lambda key: (-key.count("m"), key))
    instruments = max((name.instruments for name in same_genre), key=len)
    return "".join((
        f"{' and '.join(sorted(instruments))} " if instruments else "",
        genre,
        f" No. {number}" if number is not None else "",
        f" in {keys[0]}" if keys else "",
        f", {_format_number(numbers[0])}" if numbers else "",
    ))  # fmt: skip


def _catalogue_numbers(names: Sequence[WorkName]) -> set[str]:
    return {number for name in names for number in name.catalogue if not number.startswith("title ")}


def _format_number(number: str) -> str:
    """Return a catalogue number as it is printed: "hob viib:1" becomes "Hob. VIIb:1"."""
    system, _, rest = number.partition(" ")
    main, slash, sub = rest.partition("/")
    group, colon, count = main.partition(":")
    if colon and system == "hob":
        main = f"{group.upper().replace('A', 'a').replace('B', 'b')}:{count.upper()}"
    return f"{_SYSTEMS.get(system, system.upper())} {main.replace('anh ', 'Anh. ')}" + (f" No. {sub}" if slash else "")
