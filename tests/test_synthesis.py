"""Scores to notes, notes to MIDI, MIDI to sound: small MusicXML files written here, whole and broken in every way."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import librosa
import numpy as np
import pretty_midi
import pytest

from symphony2vec import synthesis
from symphony2vec.errors import Unusable, UserError
from symphony2vec.synthesis import Interpretation, Note

Notes = Callable[..., list[Note]]
HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
FIXED, WRITTEN = Interpretation(), Interpretation("score", "score", 80, "score", 100.0)
Q_S = 0.6  # one quarter note at 100 beats per minute
CONTAINER = '<container><rootfiles><rootfile full-path="score.xml"/></rootfiles></container>'


def attributes(beats: int = 4, unit: int = 4, divisions: int = 1) -> str:
    time = f"<time><beats>{beats}</beats><beat-type>{unit}</beat-type></time>"
    return f"<attributes><divisions>{divisions}</divisions>{time}</attributes>"


def note(step: str = "C", duration: int = 1, octave: int = 4, ties: str = "") -> str:
    tied = "".join(f'<tie type="{kind}"/>' for kind in ties.split())
    pitch = f"<pitch><step>{step}</step><octave>{octave}</octave></pitch>"
    return f"<note>{pitch}<duration>{duration}</duration>{tied}<voice>1</voice></note>"


def repeat(direction: str, location: str) -> str:
    return f'<barline location="{location}"><repeat direction="{direction}"/></barline>'


def direction(inner: str, sound: str = "") -> str:
    return f"<direction><direction-type>{inner}</direction-type>{f'<sound {sound}/>' if sound else ''}</direction>"


def score(*parts: list[str], names: tuple[str, ...] = (), sounds: tuple[str, ...] = (), doctype: str = "") -> str:
    listed, played = "", ""
    for number, bars in enumerate(parts):
        sound = f"<instrument-sound>{sounds[number]}</instrument-sound>" if sounds else ""
        instrument = f'<score-instrument id="I{number}"><instrument-name/>{sound}</score-instrument>'
        name = names[number] if names else "Violin"
        listed += f'<score-part id="P{number}"><part-name>{name}</part-name>{instrument}</score-part>'
        measures = "".join(f'<measure number="{count}">{bar}</measure>' for count, bar in enumerate(bars, 1))
        played += f'<part id="P{number}">{measures}</part>'
    return f"{HEAD}{doctype}<score-partwise><part-list>{listed}</part-list>{played}</score-partwise>"


def packed(entries: dict[str, str]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return written.getvalue()


BAR = note() * 4
OPEN = attributes() + BAR
SIMPLE = score([OPEN])


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """The notes of a score given as its content."""

    def read(content: str | bytes, suffix: str = ".musicxml", how: Interpretation = FIXED) -> list[Note]:
        path = tmp_path / f"score{suffix}"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return synthesis.read_notes(path, how)

    return read


def onsets(played: list[Note]) -> list[float]:
    return [round(n.onset_s / Q_S, 6) for n in played]


# What cannot be read


BROKEN = {
    "no notes": (score([attributes() + "<note><rest/><duration>4</duration></note>"]), "contains no pitched note$"),
    "no bars": (score([]), "contains no pitched note$"),
    "no parts": (score(), "contains no pitched note$"),
    "percussion alone": (
        score([attributes() + "<note><unpitched/><duration>4</duration><voice>1</voice></note>"]),
        r"no pitched note \(only percussion\)",
    ),
    "text": ("Symphony No. 5", "not a readable score: XMLSyntaxError: Start tag expected"),
    "empty": ("", "not a readable score: XMLSyntaxError: Document is empty"),
    "cut off": (SIMPLE[: len(SIMPLE) // 2], "not a readable score: XMLSyntaxError"),
    "timewise": ("<score-timewise/>", "only score-partwise structure is supported"),
    "entities that grow": (
        score(
            [OPEN],
            names=("&a11;",),
            doctype='<!DOCTYPE s [<!ENTITY a0 "lol">'
            + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
            + "]>",
        ),
        "Maximum entity amplification factor|entity reference loop",
    ),
    "deep": ("<score-partwise>" + "<a>" * 100_000, "Excessive depth in document"),
    "five hours": (score([attributes() + note(duration=30_000)]), "would last 5 hours; the limit is 4"),
    "aeons": (score([attributes() + note(duration=10**12)]), "hours; the limit is 4"),
    "numbers beyond all bounds": (
        score([attributes() + note(duration=10**30)]),
        r"bar 1 of part P0 has the duration '1000000000",
    ),
    "negative duration": (
        score([attributes() + note(duration=-1)]),
        r"not a readable score: bar 1 of part P0 has the duration '-1'",
    ),
    "notes without duration": (
        score([attributes() + "<note><pitch><step>C</step><octave>4</octave></pitch></note>"]),
        "bar 1 of part P0 has a note without a duration",
    ),
    "no such step": (score([attributes() + note("H")]), r"bar 1 of part P0 has a note of step 'H' and octave '4'"),
    "pitch too high": (score([attributes() + note(octave=12)]), "MIDI pitch 156; expected 0 to 127"),
    "pitch too low": (score([attributes() + note(octave=-3)]), "MIDI pitch -24; expected 0 to 127"),
    "parts of different lengths": (score([OPEN, BAR], [OPEN]), r"different numbers of bars \(1 and 2\)"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_score_has_its_reason_in_one_line(notes: Notes, case: str) -> None:
    content, reason = BROKEN[case]
    with pytest.raises(Unusable, match=reason) as fault:
        notes(content)
    assert "\n" not in str(fault.value)


WHOLE = packed({"META-INF/container.xml": CONTAINER, "score.xml": SIMPLE})
DAMAGED = WHOLE[:150] + bytes(20) + WHOLE[170:]
FILES = {
    "kern, text": (".krn", b"Symphony\nNo. 5", "not a readable score"),
    "kern, empty": (".krn", b"", "not a readable score"),
    "mxl, text": (".mxl", b"Symphony", "not a readable score: XMLSyntaxError"),
    "mxl, cut off": (".mxl", WHOLE[:-40], "not a readable score"),
    "mxl, damaged": (".mxl", DAMAGED, "not a readable score: (BadZipFile|error|XMLSyntaxError)"),
    "mxl, no container": (".mxl", packed({"score.xml": SIMPLE}), "no item named 'META-INF/container.xml'"),
    "mxl, a path outside": (
        ".mxl",
        packed({"META-INF/container.xml": CONTAINER.replace("score.xml", "../../../etc/passwd")}),
        "no item named '../../../etc/passwd' in the archive",
    ),
    "midi": (".mid", b"MThd", r"'.mid' is not a supported score format; expected .musicxml .mxl .xml .krn .kern"),
    "MuseScore": (".mscz", b"PK", r"'.mscz' is not a supported score format"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_broken_file_has_its_reason_in_one_line(notes: Notes, case: str) -> None:
    suffix, content, reason = FILES[case]
    with pytest.raises(Unusable, match=reason) as fault:
        notes(content, suffix)
    assert "\n" not in str(fault.value)


def test_what_is_too_large_is_not_unpacked(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis.notation, "MAX_BYTES", 1_000_000)
    bomb = packed({"META-INF/container.xml": CONTAINER, "score.xml": " " * 3_000_000})
    assert len(bomb) < 10_000
    for content, suffix in ((bomb, ".mxl"), (b" " * 3_000_000, ".xml"), (b" " * 3_000_000, ".krn")):
        with pytest.raises(Unusable, match="the score is 3 MB unpacked; the limit is 1 MB"):
            notes(content, suffix)


@pytest.mark.parametrize("place", ["score", "container"])
def test_no_file_is_read_through_an_entity(notes: Notes, tmp_path: Path, place: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("Flute")
    doctype = f'<!DOCTYPE s [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    named = score([OPEN], names=("&x;",), doctype=doctype if place == "score" else "")
    container = doctype + CONTAINER.replace("<rootfiles>", "<rootfiles>&x;") if place == "container" else CONTAINER
    try:
        played = notes(packed({"META-INF/container.xml": container, "score.xml": named}), ".mxl", WRITTEN)
    except Unusable as reason:
        assert "not a readable score: XMLSyntaxError" in str(reason)  # noqa: PT017 - either outcome is well
    else:
        assert {n.program for n in played} == {synthesis.STRINGS}


# Time


REPEATS = {
    "opened, never closed": [OPEN, repeat("forward", "left") + BAR, BAR],
    "opened at the end": [OPEN, BAR, BAR + repeat("forward", "right")],
    "closed, never opened": [OPEN + repeat("backward", "right"), BAR + repeat("backward", "right"), BAR],
    "closed before the first note": [attributes() + repeat("backward", "left") + BAR, BAR, BAR],
    "one within another": [
        *[attributes() + repeat("forward", "left") + BAR] * 2,
        BAR + repeat("backward", "right") * 2,
    ],
    "endings from nowhere": [
        OPEN + '<barline location="right"><ending number="1" type="stop"/><repeat direction="backward"/></barline>',
        BAR + '<barline location="right"><ending number="2" type="start"/></barline>',
        BAR,
    ],
    "D.C., D.S. and a coda in a circle": [
        attributes() + direction("<words>D.C.</words>", 'dacapo="yes"') + BAR,
        direction("<words>D.S.</words>", 'dalsegno="segno"') + BAR,
        direction("<coda/>", 'tocoda="coda" coda="coda" segno="segno"') + BAR,
    ],
}


@pytest.mark.parametrize("case", REPEATS)
def test_repeats_are_not_unfolded_however_they_are_formed(notes: Notes, case: str) -> None:
    began = time.monotonic()
    assert onsets(notes(score(REPEATS[case]))) == list(range(12))
    assert time.monotonic() - began < 5.0


def test_a_tie_over_bars_is_one_note(notes: Notes) -> None:
    bars = [
        attributes() + note(duration=4, ties="start"),
        note(duration=4, ties="stop start"),
        note(duration=4, ties="stop"),
    ]
    assert notes(score(bars)) == [Note(0.0, pytest.approx(12 * Q_S), 60, 80, synthesis.STRINGS)]


def test_a_tie_of_1500_bars_is_one_note(notes: Notes) -> None:
    bars = [attributes() + note(ties="start"), *[note(ties="stop start")] * 1500, note(ties="stop")]
    assert notes(score(bars)) == [Note(0.0, pytest.approx(1502 * Q_S), 60, 80, synthesis.STRINGS)]


def test_grace_notes_take_no_time(notes: Notes) -> None:
    grace = "<note><grace/><pitch><step>D</step><octave>5</octave></pitch><voice>1</voice></note>"
    assert notes(score([attributes() + grace + BAR])) == notes(SIMPLE)


def transposing(chromatic: str, octaves: str = "") -> str:
    change = f"<octave-change>{octaves}</octave-change>" if octaves else ""
    semitones = f"<chromatic>{chromatic}</chromatic>" if chromatic else ""
    return f"<attributes><transpose><diatonic>0</diatonic>{semitones}{change}</transpose></attributes>"


@pytest.mark.parametrize(
    ("sign", "semitones"),
    [
        (transposing("-2"), -2),  # clarinet in B flat
        (transposing("0", "-1"), -12),  # contrabass
        (transposing("", "1"), 12),  # piccolo
        (transposing("-2", "-1"), -14),  # bass clarinet
        (transposing("0"), 0),
        (transposing("x", "1"), 0),
    ],
)
def test_a_transposing_instrument_sounds_where_it_sounds(notes: Notes, sign: str, semitones: int) -> None:
    written = [n.pitch for n in notes(score([OPEN]))]
    assert [n.pitch for n in notes(score([attributes() + sign + BAR]))] == [p + semitones for p in written]


def test_a_player_may_change_instruments(notes: Notes) -> None:
    played = notes(score([attributes() + BAR, transposing("-3") + BAR, transposing("-2") + BAR], [OPEN, BAR, BAR]))
    first, second = ([n.pitch for n in played if n.part == part] for part in (0, 1))
    moved = [0] * 4 + [-3] * 4 + [-2] * 4
    assert first == [pitch + by for pitch, by in zip(second, moved, strict=True)]


def test_a_pick_up_bar_begins_at_nought_in_all_parts(notes: Notes) -> None:
    upper, lower = [attributes() + note("G"), BAR], [attributes() + note("E"), note("E") * 4]
    assert onsets(notes(score(upper, lower))) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_parts_are_together_again_after_a_bar_of_the_wrong_length(notes: Notes) -> None:
    whole, faulty = [OPEN, BAR, note("G") * 4], [OPEN, note() * 3, note("G") * 4]
    played = notes(score(whole, faulty, whole))
    last = [round(n.onset_s / Q_S, 6) for n in played if n.pitch == 67]
    assert last == [8, 8, 8, 9, 9, 9, 10, 10, 10, 11, 11, 11]
    assert max(onsets(notes(score(whole, whole, whole)))) == max(onsets(played))


def test_the_bars_of_one_part_may_be_cut_otherwise_where_all_end_together(notes: Notes) -> None:
    assert onsets(notes(score([OPEN, BAR], [attributes() + BAR * 2]))) == sorted([*range(8)] * 2)


@pytest.mark.parametrize(
    ("beats", "unit", "beat_eighths"), [(3, 4, 2), (6, 8, 3), (9, 8, 3), (12, 8, 3), (2, 2, 4), (3, 8, 1)]
)
def test_at_fixed_tempo_every_notated_beat_lasts_the_same(
    notes: Notes, beats: int, unit: int, beat_eighths: int
) -> None:
    eighths = beats * 8 // unit
    played = notes(score([attributes(beats, unit, 2) + note() * eighths]))
    assert [n.onset_s for n in played[::beat_eighths]] == pytest.approx(
        np.arange(eighths // beat_eighths) * Q_S, abs=1e-6
    )


def test_the_beat_changes_where_the_metre_does(notes: Notes) -> None:
    played = notes(score([attributes(3, 4, 2) + note(duration=2) * 3, attributes(6, 8, 2) + note(duration=3) * 2]))
    assert onsets(played) == [0, 1, 2, 3, 4]


def test_written_tempo_is_taken_only_where_asked_for(notes: Notes) -> None:
    def metronome(unit: str) -> str:
        return f"<metronome>{unit}<per-minute>ca. 60</per-minute></metronome>"

    bars = [
        attributes() + note() * 4,
        direction("<words>Largo</words>", 'tempo="30"') + note() * 4,
        direction(metronome("<beat-unit>half</beat-unit>")) + note() * 4,
        direction(metronome("<beat-unit>quarter</beat-unit><beat-unit-dot/>"), 'tempo="240"') + note() * 4,
        direction(metronome("<beat-unit>quarter</beat-unit><beat-unit-dot/>")) + note() * 4,
    ]
    lengths = [n.end_s - n.onset_s for n in notes(score(bars), how=WRITTEN)]
    assert lengths == pytest.approx([0.6] * 4 + [2.0] * 4 + [0.5] * 4 + [0.25] * 4 + [2 / 3] * 4, abs=1e-5)
    assert onsets(notes(score(bars))) == list(range(20))


@pytest.mark.parametrize("tempo", ["0", "-60", "nan", "inf"])
def test_a_tempo_that_is_none_is_left_out(notes: Notes, tempo: str) -> None:
    mark = direction("<words>x</words>", f'tempo="{tempo}"')
    assert onsets(notes(score([attributes() + mark + BAR]), how=WRITTEN)) == [0, 1, 2, 3]


def test_written_dynamics_are_taken_only_where_asked_for(notes: Notes) -> None:
    marks = (direction(f"<dynamics><{mark}/></dynamics>") for mark in ("p", "ff", "sfz"))
    bars = [attributes() + note() + "".join(mark + note() for mark in marks)]
    assert [n.velocity for n in notes(score(bars), how=WRITTEN)] == [80, 49, 112, 112]
    assert [n.velocity for n in notes(score(bars))] == [80] * 4


def test_kern_is_read() -> None:
    import music21

    path = Path(music21.__file__).parent / "corpus/beethoven/opus18no1/movement1.krn"
    played = synthesis.read_notes(path, FIXED)
    assert len(played) > 3000
    assert {n.pitch for n in played if n.onset_s == 0.0} == {53, 65}  # the quartet opens on f in octaves
    assert 400 < max(n.end_s for n in played) < 700


# Instruments

NAMED = {
    45: "Violino pizzicato, Pizz.",
    48: "Violino I, Violini II, Viola, Bratschen, Violoncello e Basso, Contrabasso, Kontrabass, Archi, Vc.",
    56: "Trombe in C, Trompeten, Trompettes, Trumpet, Clarini, Cornet à pistons, brass.trumpet",
    57: "Tromboni, Posaune, Trombone alto, Bass Trombone, brass.trombone.bass",
    58: "Tuba, Basstuba, Ophicleide",
    60: "Corni in Es, Hörner, Cor en Fa, Cors, Horn in F, Waldhorn, brass.french-horn, brass.natural-horn",
    47: "Timpani, Pauken, Timbales, drum.timpani",
    68: "Oboi, Oboe, Hautbois, Hoboen, wind.reed.oboe",
    69: "Corno inglese, Englischhorn, Cor anglais, English Horn, wind.reed.english-horn",
    70: "Fagotti, Fagott, Basson, Bassoon, Contrafagotto, Kontrafagott, Contrebasson, wind.reed.contrabassoon",
    71: "Clarinetti in B, Klarinette, Clarinettes, Bass Clarinet, Bassetthorn, wind.reed.basset-horn",
    72: "Flauto piccolo, Piccolo, Ottavino, wind.flutes.flute.piccolo",
    73: "Flauti, Flöten, Grandes flûtes, Flo\u0308te, Alto Flute, wind.flutes.flute",
    46: "Arpa, Harfe, Harpe, Harp, pluck.harp",
    6: "Cembalo, Harpsichord, Clavecin",
    19: "Organo, Orgel, Orgue",
    8: "Celesta",
    0: "Pianoforte, Klavier",
    52: "Soprano, Alto, Tenore, Bass, Coro, Chor, Canto, voice.bass",
}  # fmt: skip


@pytest.mark.parametrize("program", NAMED)
def test_a_part_plays_the_instrument_of_its_name(program: int) -> None:
    found = {
        name: synthesis.select_program(SimpleNamespace(name=name, abbreviation="", instrument_sound=""))
        for name in NAMED[program].split(", ")
    }
    assert found == dict.fromkeys(found, program)


def test_the_instrument_sound_of_the_file_goes_before_the_name(notes: Notes) -> None:
    text = score([OPEN], [OPEN], names=("Violin", "Oboe"), sounds=("wind.flutes.flute", ""))
    assert {n.program for n in notes(text, how=WRITTEN)} == {73, 68}
    assert {n.program for n in notes(text)} == {synthesis.STRINGS}


# Sound


def test_a_unison_sounds_to_its_later_end() -> None:
    long, short = Note(0.0, 4.0, 60, 80, 48), Note(1.0, 2.0, 60, 90, 48)
    played = pretty_midi.PrettyMIDI(io.BytesIO(synthesis.encode_midi([long, short]))).instruments[0].notes
    assert [(n.start, n.end, n.velocity) for n in played] == [
        (0.0, pytest.approx(1.0), 80),
        (pytest.approx(1.0), pytest.approx(4.0), 90),
    ]
    together = synthesis.merge_unisons([long, Note(0.0, 2.0, 60, 90, 48)])
    assert together == [Note(0.0, 4.0, 60, 90, 48)]


def test_one_pitch_in_two_programs_is_two_notes() -> None:
    file = pretty_midi.PrettyMIDI(io.BytesIO(synthesis.encode_midi([Note(0, 4, 60, 80, 48), Note(1, 2, 60, 80, 73)])))
    assert {n.program: len(n.notes) for n in file.instruments} == {48: 1, 73: 1}


def test_more_programs_than_channels_lose_no_note() -> None:
    played = [Note(0.0, 1.0, 40 + program, 80, program) for program in range(20)] * 2
    file = pretty_midi.PrettyMIDI(io.BytesIO(synthesis.encode_midi(played)))
    assert len(file.instruments) <= synthesis.CHANNELS + 1
    assert sum(len(n.notes) for n in file.instruments) == 20


@pytest.fixture(scope="module")
def bank() -> bytes:
    return synthesis.find_soundfont(synthesis.BUILT_IN_SOUNDFONT).read_bytes()


def test_the_same_notes_give_the_same_bytes(notes: Notes, bank: bytes) -> None:
    played = notes(score([OPEN], [attributes() + note("E") * 4]))
    first, second = (synthesis.render(played, bank) for _ in range(2))
    assert first[0].tobytes() == second[0].tobytes()
    assert (first[0].dtype, first[0].shape[1], first[1]) == (np.float32, 2, 48000)


@pytest.mark.parametrize("length_s", [2.0, 0.3])
def test_an_orchestra_of_many_parts_sounds_as_its_notes_do_together(bank: bytes, length_s: float) -> None:
    played = [Note(k * 0.3, k * 0.3 + length_s, 30 + 5 * part + k, 40, 48) for part in range(15) for k in range(5)]
    together, _ = synthesis.render(played, bank)
    alone = [synthesis.render([n], bank)[0] for n in played]
    added = sum(np.pad(wave, ((0, len(together) - len(wave)), (0, 0))) for wave in alone)
    # In decibels of mel bands: the renderer's chorus moves with the time, so that waves cannot be compared.
    whole, parts = (
        librosa.power_to_db(librosa.feature.melspectrogram(y=wave.mean(axis=1), sr=48000, n_mels=64))
        for wave in (together, added)
    )
    difference_db = (whole - parts)[parts > parts.max() - 40.0]
    assert np.abs(difference_db).mean() < 2.5
    assert abs(difference_db.mean()) < 0.3


def test_a_layer_has_no_more_notes_at_once_than_voices() -> None:
    played = [Note(k * 0.1, k * 0.1 + 2.0, 30 + k % 90, 80, 48) for k in range(200)]
    groups = synthesis.split_into_layers(played)
    assert sorted((n for group in groups for n in group), key=lambda n: n.onset_s) == played
    for group in groups:
        busy = [sum(o.onset_s <= n.onset_s < o.end_s + synthesis.RELEASE_S for o in group) for n in group]
        assert max(busy) <= synthesis.MAX_POLYPHONY
    assert len(synthesis.split_into_layers(played[:5])) == 1


def test_pauses_are_not_rendered_and_every_run_keeps_its_place(bank: bytes) -> None:
    first, second = Note(0.0, 1.0, 60, 80, 48), Note(60.0, 60.75, 67, 80, 48)
    assert synthesis.split_at_pauses([second, first]) == [[first], [second]]
    assert synthesis.split_at_pauses([first, Note(3.5, 4.0, 67, 80, 48)]) == [[first, Note(3.5, 4.0, 67, 80, 48)]]
    wave, rate_hz = synthesis.render([first, second], bank)
    alone, _ = synthesis.render([Note(0.0, 0.75, 67, 80, 48)], bank)
    assert len(wave) / rate_hz == pytest.approx(62.25, abs=0.1)
    assert np.abs(wave[10 * rate_hz : 59 * rate_hz]).max() == 0.0
    place = 60 * rate_hz
    np.testing.assert_array_equal(wave[place : place + rate_hz // 2], alone[: rate_hz // 2])


def test_a_loud_orchestra_is_turned_down_rather_than_clipped(bank: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    chord = [Note(0.0, 0.5, pitch, 127, 56) for pitch in range(40, 88)]
    monkeypatch.setattr(synthesis.orchestra, "MAX_POLYPHONY", 100)
    turned_down, _ = synthesis.render(chord, bank)
    assert 0.1 < np.abs(turned_down).max() < synthesis.CLIPPING_LEVEL
    monkeypatch.setattr(synthesis.orchestra, "CHANNEL_VOLUMES", (100,))
    with pytest.raises(Unusable, match="too loud for the renderer: its wave would be clipped"):
        synthesis.render(chord, bank)


def test_a_soundfont_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"audio.soundfonts: no file .*nowhere.sf2; name an .sf2 file, or TimGM6mb"):
        synthesis.find_soundfont(str(tmp_path / "nowhere.sf2"))
    (tmp_path / "text.sf2").write_text("hello")
    with pytest.raises(UserError, match="is not an SF2 soundfont"):
        synthesis.find_soundfont(str(tmp_path / "text.sf2"))
