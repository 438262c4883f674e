"""Which notes of a part sound, and how long.

- Cue notes (`<cue/>`), the other notes of their chords, and notes of velocity 0 (`dynamics="0"`) are silent. Small
  notes without `<cue/>` sound: they are cadenzas, written-out ornaments and alternatives that the editors chose.
- A note with `print-object="no"` is silent if its staff shows another note or a rest at the same time, or its part
  the same pitch: programs hide the realisation of a trill, a doubled unison, the note that carries the accidental of
  a trill. It sounds if nothing else is shown and its voice shows notes elsewhere in the part, because encoders do so
  for what they draw by other means: the last longa of a madrigal, a glissando, a fermata that lasts through a cadenza.
  A hidden note that a sounding one is tied to prolongs it.
- Grace notes have no length and are omitted, as is unpitched percussion. Repeats are not unfolded.

Ties join notes of one written pitch if one ends at the onset of the next, across voices and staves; of several
candidates the one in the same voice is joined. A tie that lacks either end joins nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Event:
    """A note, rest or unpitched note; onset and end in ticks (divisions of a quarter note) of the part."""

    onset: float
    end: float
    bar: int
    voice: str = "1"
    staff: str = "1"
    pitch: int | None = None  # MIDI, as written
    hidden: bool = False
    silent: bool = False
    ties: frozenset[str] = frozenset()


def select_sounding(events: Sequence[Event]) -> list[Event]:
    """Return the notes that sound, sorted by onset, each prolonged to the end of the last note that it is tied to."""
    audible = _find_audible(events)
    notes = sorted((event for event in events if event.pitch is not None and not event.silent), key=lambda n: n.onset)
    followers = _resolve_ties(notes)
    sounding: list[Event] = []
    prolonging: set[int] = set()
    for note in notes:
        if id(note) in prolonging or id(note) not in audible:
            continue
        last = note
        while id(last) in followers:
            last = followers[id(last)]
            prolonging.add(id(last))
        note.end = last.end
        sounding.append(note)
    return sounding


def _resolve_ties(notes: Sequence[Event]) -> dict[int, Event]:
    """Map the id of each tied note to the note that continues it, preferably one of the same voice."""
    starts: dict[tuple[int | None, float], list[Event]] = defaultdict(list)
    for note in notes:
        if "start" in note.ties and note.end > note.onset:
            starts[note.pitch, note.end].append(note)
    followers: dict[int, Event] = {}
    for same_voice in (True, False):
        continued = {id(note) for note in followers.values()}
        for note in notes:
            if "stop" not in note.ties or id(note) in continued:
                continue
            for start in starts.get((note.pitch, note.onset), ()):
                if id(start) not in followers and (start.voice == note.voice or not same_voice):
                    followers[id(start)] = note
                    break
    return followers


def _find_audible(events: Sequence[Event]) -> set[int]:
    """Return the ids of the notes that are neither silent nor hidden behind visible events."""
    notes = [event for event in events if event.pitch is not None and not event.silent]
    audible = {id(note) for note in notes if not note.hidden}
    hidden = [note for note in notes if note.hidden]
    visible: dict[int, list[Event]] = defaultdict(list)
    if hidden:
        for event in events:
            if not event.hidden:
                visible[event.bar].append(event)
    voices = {(note.voice, note.staff) for note in notes if not note.hidden}
    for note in hidden:
        covered = any(
            event.onset < note.end
            and note.onset < event.end
            and (event.staff == note.staff or event.pitch == note.pitch)
            for event in visible[note.bar]
        )
        if not covered and (note.voice, note.staff) in voices:
            audible.add(id(note))
    return audible
