"""Which work, and whose: the spellings of taggers, languages and catalogues become one name, or a question."""

# ruff: noqa: E501
from __future__ import annotations

import struct
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from mutagen import apev2, id3

from symphony2vec import params
from symphony2vec.cli.corpus import corpus
from symphony2vec.clips import stage as clips
from symphony2vec.corpus import catalogue, recordings, repertoire, score_sets, settling, similarity, starter, tags
from symphony2vec.corpus.authority import load_authority
from symphony2vec.corpus.composers import resolve
from symphony2vec.corpus.movements import split_title
from symphony2vec.corpus.titles import IdentifiedRecording, UnidentifiedRecording, identify
from symphony2vec.corpus.vocabulary import normalize, remove_discs
from symphony2vec.corpus.works import parse
from symphony2vec.errors import UserError
from symphony2vec.project import Project, write_table

Run = Callable[..., Result]
MOVEMENTS = ("I. Allegro", "II. Andante", "III. Finale")
SPELLINGS = {
    "Johann Sebastian Bach": "J.S. Bach|J. S. Bach|JS Bach|Bach|Bach, Johann Sebastian|Bach, J. S.|Bach J.S.|"
    "Bach, Johann Sebastian (1685-1750)|Bach, Johann Sebastian, 1685-1750|JOHANN SEBASTIAN BACH|Johann Sebastian Bach "
    "(1685–1750)|Bach, Johann Sebastian [1685-1750]|Bach (composer)|Bach arr. Stokowski|Bach (transcr. Busoni)|"
    "Johann Sebastian Bach; arr. Leopold Stokowski|Иоганн Себастьян Бах",
    "Carl Philipp Emanuel Bach": "C.P.E. Bach|Bach, C. P. E.|CPE Bach|Bach, Carl Philipp Emanuel (1714-1788)",
    "Johann Christian Bach": "J.C. Bach|Bach, Johann Christian, 1735-1782|Bach (1735-1782)",
    "Wolfgang Amadeus Mozart": "W. A. Mozart|W.A. Mozart|Mozart (1756-1791)|Mozart|Mozart, Wolfgang Amadeus|"
    "Wolfgang Amadé Mozart|Моцарт",
    "Leopold Mozart": "Mozart, Leopold|L. Mozart|Mozart (1719-1787)",
    "Antonín Dvořák": "Antonin Dvorak|Dvorak|A. Dvořák|Dvořák, Antonín [1841-1904]|DVORAK, ANTONIN",
    "Pyotr Ilyich Tchaikovsky": "Tchaikovsky|Tschaikowsky, Peter Iljitsch|Чайковский|Пётр Ильич Чайковский|Chaikovskii|"
    "P.I. Tchaikovsky|Peter Tchaikovsky|Piotr Ilitch Tchaïkovski|Čajkovskij|Pjotr Iljitsch Tschaikowski (1840-1893)",
    "Sergei Rachmaninoff": "Rachmaninov|Sergej Rachmaninow|S. Rakhmaninov|Сергей Рахманинов|Rachmaninoff, Serge",
    "Dmitri Shostakovich": "Schostakowitsch|Dmitrij Schostakowitsch|Chostakovitch|D. Shostakovich|Шостакович",
    "Sergei Prokofiev": "Prokofieff|Prokofjew, Sergej|Serge Prokofiev|С. Прокофьев",
    "George Frideric Handel": "Händel|Haendel|Georg Friedrich Händel|G.F. Handel|Handel, George Frideric (1685-1759)|"
    "Händel, Georg Friedrich",
    "Leoš Janáček": "Janacek|Janáček, Leoš|L. Janáček",
    "Igor Stravinsky": "Strawinsky|Igor Strawinsky|Stravinskij, Igor|I. Stravinsky",
    "Modest Mussorgsky": "Moussorgsky|Musorgskij, Modest|Mussorgsky, arr. Ravel|Mussorgsky (orch. Ravel)|Mussorgsky-Ravel|"
    "Mussorgsky, Modest; Ravel, Maurice (orchestrator)",
    "Ludwig van Beethoven": "Beethoven|Beethoven, Ludwig van|L. van Beethoven|L.v. Beethoven|van Beethoven|"
    "Beethoven, Ludwig van, 1770-1827|Ludwig van Beethoven [composer]|Composer: Ludwig van Beethoven|Бетховен",
    "Joseph Haydn": "Haydn|Franz Joseph Haydn|F.J. Haydn|Haydn, Joseph (1732-1809)",
    "Michael Haydn": "Haydn, Michael|Johann Michael Haydn",
    "Richard Strauss": "R. Strauss|Strauss, Richard (1864-1949)|Richard Strauß",
    "Johann Strauss II": "Johann Strauss Jr.|Strauss, Johann (Sohn)|Johann Strauss (1825-1899)|Strauss II, Johann",
    "Johann Strauss I": "Johann Strauß Vater|Johann Strauss (1804-1849)|Johann Strauss Sr.",
    "Clara Schumann": "Schumann, Clara|Clara Wieck-Schumann",
    "Robert Schumann": "Schumann|R. Schumann|Schumann, Robert",
    "Felix Mendelssohn": "Mendelssohn|Felix Mendelssohn-Bartholdy",
    "Fanny Mendelssohn": "Fanny Hensel|Fanny Mendelssohn-Hensel",
    "Camille Saint-Saëns": "Saint-Saens|Saint-Saëns, Camille|C. Saint-Saëns",
    "Nikolai Rimsky-Korsakov": "Rimsky-Korsakov|Nikolai Rimskij-Korsakow|Римский-Корсаков",
    "Ralph Vaughan Williams": "Vaughan Williams|Vaughan Williams, Ralph",
    "Edward Elgar": "Sir Edward Elgar|Elgar, Edward",
    "Ferruccio Busoni": "Busoni after Bach",
    "Domenico Scarlatti": "D. Scarlatti|Scarlatti, Domenico",
    "John Adams": "John Adams (b. 1947)|Adams, John",
}
THIRD = """Symphony No. 3|Symphony No.3 in D minor|Symphony no. 3 in d minor|Symphony Nr. 3|Symphony 3|Symphony #3|
Symphony III|Third Symphony|3rd Symphony|Symphonie Nr. 3|Symphonie Nr. 3 d-moll|Symphonie Nr.3 in d-Moll|3. Symphonie|
3. Sinfonie d-moll|Dritte Symphonie|Sinfonie Nr. 3|Sinfonie 3|Symphonie n° 3|Symphonie n°3 en ré mineur|Symphonie no 3|
Troisième symphonie|Symphonie nº 3|Sinfonia III|Sinfonia n. 3|Sinfonia n. 3 in re minore|Sinfonia terza|Terza sinfonia|
Sinfonía n.º 3|Sinfonía nº 3 en re menor|Tercera sinfonía|Sinfonía No. 3|Symfonie nr. 3|SYMPHONY NO. 3|Symph. No. 3|
Symphony No. 3 [Disc 1]|Symphony No. 3 (CD 2)|Symphony No. 3, Disc 2|Symphony No. 3 (Live)|Symphony No. 3 "Nameless"|
Symphony No. 3 (1/2)|Symphony No. 3 - CD1|Симфония № 3|Szimfónia No. 3|Symphony Number 3"""
FIFTH = """Symphony No. 5|Symphony no. 5 in C minor, op. 67|Symphony No.5 In C Minor, Op.67|Symphony No. 5 in C minor Op 67|
Sinfonie Nr. 5 c-moll op. 67|Symphonie n° 5 en ut mineur, opus 67|Sinfonia n. 5 in do minore, Op. 67|Opus 67|Op. 67|
Sinfonía n.º 5 en do menor, Op. 67|Fifth Symphony|5. Symphonie|Schicksal: Sinfonie Nr. 5|Symphony in C minor, Op. 67|
Symphony No. 5 in C Minor, Op. 67 'Fate'|Symphony No. 5 "Fate"|Beethoven: Symphony No. 5|Symphony No. 5 [Disc 2]"""
OTHERS = {
    ("Ludwig van Beethoven", "op 55"): "Eroica|Symphony No. 3|Symphony No. 3 'Eroica'|Sinfonia eroica, Op. 55|Eroica Symphony",
    ("Ludwig van Beethoven", "op 73"): "Emperor Concerto|Piano Concerto No. 5|Klavierkonzert Nr. 5 Es-Dur|"
    "Concerto for Piano and Orchestra No. 5 in E flat major, Op. 73|Concerto pour piano n° 5|Concierto para piano n.º 5",
    ("Ludwig van Beethoven", "op 61"): "Violin Concerto|Violin Concerto in D|Konzert für Violine und Orchester D-Dur op. 61",
    ("Ludwig van Beethoven", "op 18/1"): "String Quartet No. 1 in F, Op. 18 No. 1|String Quartet, Op. 18/1|op. 18, no. 1|"
    "Streichquartett Nr. 1 F-dur op. 18 Nr. 1|Quatuor à cordes, Op. 18 n° 1",
    ("Wolfgang Amadeus Mozart", "k 550"): "Symphony No. 40|Sinfonie g-moll KV 550|K. 550|K550|KV 550|Symphony in G minor, K.550",
    ("Wolfgang Amadeus Mozart", "k 551"): "Jupiter Symphony|Symphony No. 41|Symphony No. 41 in C, K. 551 'Jupiter'",
    ("Wolfgang Amadeus Mozart", "k 525"): "Eine kleine Nachtmusik|Eine kleine Nachtmusik, K. 525|Serenade No. 13 in G, K.525",
    ("Johann Sebastian Bach", "bwv 1048"): "Brandenburg Concerto No. 3|BWV 1048|Brandenburgisches Konzert Nr. 3|BWV1048|"
    "Brandenburg Concerto No.3, BWV.1048|Concerto brandebourgeois n° 3",
    ("Johann Sebastian Bach", "bwv 232"): "B Minor Mass|Mass in B minor, BWV 232|h-Moll-Messe|Messe h-moll",
    ("Joseph Haydn", "hob i:104"): "Symphony No. 104|Hob. I:104|Symphony No. 104 in D, Hob.I/104 'London'|Sinfonie Nr. 104",
    ("Joseph Haydn", "hob viib:1"): "Cello Concerto in C, Hob. VIIb:1|Hob. VIIb/1",
    ("Franz Schubert", "d 759"): "Unfinished Symphony|Symphony No. 8 in B minor, D. 759|D759|Die Unvollendete, D 759",
    ("Franz Schubert", "d 944"): "Symphony No. 9|D. 944|Symphony in C major, D. 944 'The Great'",
    ("Antonín Dvořák", "op 95"): "New World Symphony|Symphony No. 9|From the New World|Aus der Neuen Welt, op. 95",
    ("Pyotr Ilyich Tchaikovsky", "op 74"): "Pathétique Symphony|Symphony No. 6|Symphonie Nr. 6 h-moll op. 74 'Pathétique'",
    ("Richard Strauss", "op 64"): "Eine Alpensinfonie|An Alpine Symphony|Alpensymphonie|Eine Alpensinfonie, op. 64",
    ("Hector Berlioz", "op 14"): "Symphonie fantastique|Symphonie fantastique, Op. 14|Fantastic Symphony",
    ("Igor Stravinsky", "title rite of spring"): "The Rite of Spring|Le sacre du printemps|Le Sacre du Printemps",
    ("Gustav Holst", "op 32"): "The Planets|Die Planeten",
    ("Antonio Vivaldi", "rv 269"): "Concerto in E major, RV 269 'La primavera'|RV 269|RV269",
}  # fmt: skip
NUMBERS = [
    ("Gustav Mahler", f"Symphony {n}", f"Sinfonie Nr. {n}|Symphony No. {n}|{n}. Sinfonie|Sinfonia n. {n}")
    for n in (1, 2, 4, 7)
]
VARIANTS = [(name, text) for name, texts in SPELLINGS.items() for text in texts.split("|")]
TITLES = [("Gustav Mahler", "Symphony 3", text.strip()) for text in THIRD.split("|")]
TITLES += [("Ludwig van Beethoven", "op 67", text.strip()) for text in FIFTH.split("|")]
TITLES += [(composer, work, text) for (composer, work), texts in OTHERS.items() for text in texts.split("|")]
TITLES += [(composer, work, text) for composer, work, texts in NUMBERS for text in texts.split("|")]


def flac(path: Path, **comments: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.sin(np.arange(800) * (len(str(path)) + hash(str(path)) % 97) / 100), 8000)
    opened: Any = mutagen.File(path)
    opened.update(comments)
    opened.save()


def settled(*rows: tuple[str, str, str]) -> list[IdentifiedRecording]:
    """Recordings of (composer, work, also), settled."""
    return settling.unify_names(
        [
            IdentifiedRecording(f"{i:03d}", c, w, str(i), "tags", work_aliases=(a,) if a else ())
            for i, (c, w, a) in enumerate(rows)
        ],
        {},
    )


# Composers and titles


def test_the_tables_are_large():
    assert len(VARIANTS) >= 80
    assert len(TITLES) >= 125


@pytest.mark.parametrize(("name", "text"), VARIANTS)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_composer_is_known_by_every_spelling(name, text, form):
    credit = resolve(unicodedata.normalize(form, text))
    assert (credit.name, credit.in_authority, credit.fault) == (name, True, "")


def test_every_name_of_the_authority_means_its_own_person():
    assert [person.name for person in load_authority() if resolve(person.name).name != person.name] == []


@pytest.mark.parametrize(
    ("text", "candidates"),
    [
        ("Strauss", {"Johann Strauss II", "Richard Strauss"}),
        ("Johann Strauss", {"Johann Strauss I", "Johann Strauss II"}),
        ("J. Bach", {"Johann Sebastian Bach", "Johann Christian Bach"}),
        ("Scarlatti", {"Alessandro Scarlatti", "Domenico Scarlatti"}),
        ("Couperin", {"Louis Couperin", "François Couperin"}),
        ("Rubinstein", {"Anton Rubinstein", "Nikolai Rubinstein"}),
        ("F. Mendelssohn Bartholdy", {"Felix Mendelssohn", "Fanny Mendelssohn"}),
        ("Boulanger", {"Lili Boulanger", "Nadia Boulanger"}),
    ],
)
def test_an_ambiguous_name_is_asked(text, candidates):
    assert not resolve(text).in_authority
    assert candidates <= set(resolve(text).candidates)
    hints = settling.collect_hints([IdentifiedRecording("x", text, "W", "1", "tags")])
    assert any(f'--composer "{text}={candidate}"' in hint for hint in hints for candidate in candidates)


@pytest.mark.parametrize(
    "text",
    [
        "Johannes Brahms; Antonín Dvořák",
        "Brahms / Dvořák",
        "Brahms & Dvořák",
        "Bach, Beethoven",
        "Mussorgsky/Ravel",
        "Ana Lima; Rui Sá",
    ],
)
def test_a_piece_by_two_is_nobodys(text):
    recording = identify("x/y/z.flac", {"composer": text, "work": "W", "title": "T"})
    assert isinstance(recording, UnidentifiedRecording)
    assert "names several composers" in recording.reason


@pytest.mark.parametrize("text", ["Various Artists", "Anonymous", "Traditional", "Unknown Composer", "[unknown]"])
def test_nobody_is_no_composer(text):
    assert resolve(text).fault


def test_an_unknown_composer_keeps_the_name_without_dates():
    assert resolve("Uematsu, Nobuo (1959-)").name == "Nobuo Uematsu"
    assert {
        row.composer
        for row in settled(("Nobuo Uematsu", "A", ""), ("Uematsu, Nobuo", "B", ""), ("NOBUO UEMATSU", "C", ""))
    } == {"Nobuo Uematsu"}


def test_initials_of_an_unknown_composer_are_asked():
    lines = [str(q) for q in similarity.find_similar_names([("N. Uematsu", "A", "1"), ("Nobuo Uematsu", "B", "1")])]
    assert lines == [
        "'N. Uematsu' and 'Nobuo Uematsu' may be one composer; --composer \"N. Uematsu=Nobuo Uematsu\" merges them"
    ]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Musorgskij, Modest Petrovič (1839-1881)", "Modest Mussorgsky"),
        ("Rachmaninow, Sergiusz", "Sergei Rachmaninoff"),
        ("J. S. Bach - Leopold Stokowski", "Johann Sebastian Bach"),
        ("Bach - Busoni", "Johann Sebastian Bach"),
    ],
)
def test_patronymics_given_names_of_other_languages_and_arrangers_do_not_hide_the_composer(text, name):
    assert (resolve(text).name, resolve(text).in_authority) == (name, True)


@pytest.mark.parametrize("text", ["Trad. arr. Britten", "Anon. (15th c.)", "Gustav Mahler, Friedrich Rückert"])
def test_nobody_arranged_and_a_composer_with_a_poet_are_not_placed(text):
    assert resolve(text).fault


def test_the_czech_sign_of_a_number_is_one():
    assert parse("Symfonie č. 4", "Bohuslav Martinů").number == 4


def test_a_bare_surname_means_the_owner_of_the_catalogue():
    rows = settled(
        ("Bach", "Sinfonia in D, Wq. 183", ""), ("Bach", "Suite No. 3, BWV 1068", ""), ("Haydn", "Symphony, MH 334", "")
    )
    assert [row.composer for row in rows] == ["Carl Philipp Emanuel Bach", "Johann Sebastian Bach", "Michael Haydn"]


@pytest.mark.parametrize(("composer", "work", "text"), TITLES)
def test_a_work_is_known_by_every_spelling(composer, work, text):
    head, _ = split_title(f"{text}: I. Allegro", composer)
    for name in (parse(text, composer), parse(head, composer)):
        if work.startswith("Symphony"):
            assert (name.ordinal, name.catalogue) == (work, frozenset())
        else:
            assert name.catalogue == {work}


@pytest.mark.parametrize(
    ("title", "work", "movement"),
    [
        (
            "Symphony no. 5 in C minor, op. 67: I. Allegro con brio",
            "Symphony no. 5 in C minor, op. 67",
            "I. Allegro con brio",
        ),
        ("Symphony No.5 in C minor, Op.67 - I. Allegro", "Symphony No.5 in C minor, Op.67", "I. Allegro"),
        ("Symphony No. 5 in C minor, Op. 67, I. Allegro", "Symphony No. 5 in C minor, Op. 67", "I. Allegro"),
        ("Symphony No. 5 in C minor Op. 67 Allegro con brio", "Symphony No. 5 in C minor Op. 67", "Allegro con brio"),
        ("Symphony No. 5 / 1. Allegro", "Symphony No. 5", "1. Allegro"),
        ("Symphony No. 5 (1st movement)", "Symphony No. 5", "1st movement"),
        ("Sinfonie Nr. 5, 2. Satz", "Sinfonie Nr. 5", "2. Satz"),
        ("Beethoven: Symphony No. 5: I", "Symphony No. 5", "I"),
        (
            "Symphony No. 5 in C minor, Op. 67 'Fate': III. Allegro",
            "Symphony No. 5 in C minor, Op. 67 'Fate'",
            "III. Allegro",
        ),
        ("Piano Sonata No. 8: Adagio cantabile", "Piano Sonata No. 8", "Adagio cantabile"),
        ("Sinfonie D-dur Hob. I: 101 'Die Uhr': 1. Adagio", "Sinfonie D-dur Hob. I:101 'Die Uhr'", "1. Adagio"),
        ("Fidelio, Op. 72: Act 1: Overture", "Fidelio, Op. 72", "Act 1: Overture"),
        ("I. Allegro con brio", "", "I. Allegro con brio"),
        ("Allegro - Andante", "", "Allegro - Andante"),
        ("Waltz No. 2", "", "Waltz No. 2"),
    ],
)
def test_a_title_is_cut_into_work_and_movement(title, work, movement):
    assert split_title(title, "Ludwig van Beethoven") == (work, movement)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Mahler 3 [Disc 1]", "Mahler 3"), ("Symphonies (CD2)", "Symphonies"), ("CD 01", ""), ("disk-2", ""), ("Requiem [1/3]", "Requiem"),
        ("Symphonies, Vol. II", "Symphonies"), ("Disc 2 of 3", ""), ("Symphonien (Disc 2: Nr. 5)", "Symphonien"), ("Ring - Disque 4", "Ring"),
        ("Discovery", "Discovery"), ("CDs", "CDs"), ("Volcano 5", "Volcano 5"), ("Symphony 5", "Symphony 5"),
    ],
)  # fmt: skip
def test_discs_and_volumes_are_no_part_of_a_work(text, plain):
    assert remove_discs(text) == plain


# Works of a library


def test_a_title_with_number_and_opus_links_those_that_have_one_of_them():
    rows = settled(
        ("A B", "Symphony No. 5", ""),
        ("A B", "Symphony No. 5 in C minor, Op. 30", ""),
        ("A B", "Op. 30", ""),
        ("A B", "Symphony No. 6", ""),
    )
    assert [row.work for row in rows] == ["Symphony No. 5 in C minor, Op. 30"] * 3 + ["Symphony No. 6"]


def test_one_opus_of_several_works_and_two_numberings_stay_apart():
    rows = settled(
        ("A B", "String Quartet No. 1, Op. 18 No. 1", ""), ("A B", "String Quartet No. 2, Op. 18 No. 2", ""), ("A B", "String Quartet No. 2, Op. 18", ""),
        ("Dvorak", "Symphony No. 5, Op. 95", ""), ("Dvorak", "Symphony No. 5, Op. 76", ""), ("Dvorak", "Symphony No. 9", ""),
    )  # fmt: skip
    works = [row.work for row in rows]
    assert works[1] == works[2] != works[0]
    assert works[3] == works[5] != works[4]


def test_a_collection_in_the_tag_of_the_work_joins_nothing():
    rows = settled(
        *(("A B", "Orchestral Works", f"Symphony No. {number}") for number in (1, 2)), ("A B", "Symphony No. 1", "")
    )
    assert [row.work for row in rows] == ["Symphony No. 1", "Symphony No. 2", "Symphony No. 1"]


def test_instruments_and_suites_tell_works_apart():
    rows = settled(
        *(
            ("A B", work, "")
            for work in ("Piano Concerto No. 1", "Violin Concerto No. 1", "Carmen Suite No. 1", "Peer Gynt Suite No. 1")
        )
    )
    assert len({row.work for row in rows}) == 4


@pytest.mark.parametrize(
    ("one", "other", "asked"),
    [
        ("Symphony in D minor", "Symphony No. 3 in D minor", True),
        ("Symphony in D minor", "Symphony No. 3 in F major", False),
        ("Symphony No. 40", "Symphony in G minor, K. 550", True),
        ("Symphony No. 40", "Symphony No. 41, K. 551", False),
        ("Concerto No. 1", "Piano Concerto No. 1", True),
        ("Violin Concerto No. 1", "Piano Concerto No. 1", False),
        ("String Quartets, Op. 18", "String Quartet, Op. 18 No. 4", True),
        ("String Quartet, Op. 18 No. 1", "String Quartet, Op. 18 No. 4", False),
        ("Ballet, Op. 71", "Ballet Suite, Op. 71a", True),
        ("Complete Symphonies", "Symphony No. 4", True),
        ("Symphonies 1-3", "Symphony No. 4", False),
        ("Symphonies 1-3", "Symphony No. 2", True),
        ("Symphonies Nos. 3 & 4", "Symphony No. 4", True),
        ("Messiah", "Messiah, Part 1", True),
        ("Oedipus", "Oedipus Rex", True),
        ("The Firebrd", "The Firebird", True),
        ("Work 1", "Work 2", False),
        ("Requiem", "Requiem in D minor, K. 626", True),
        ("Overture", "Coriolan Overture, Op. 62", False),
        ("Peer Gynt, Op. 23", "Peer Gynt Suite No. 1, Op. 46", True),
    ],
)  # fmt: skip
def test_works_that_nothing_tells_apart_are_asked(one, other, asked):
    found = similarity.find_similar_names([("A B", one, "1"), ("A B", other, "1")])
    assert bool(found) is asked
    assert all(question.option.startswith('--work "A B: ') for question in found)


def test_albums_that_share_a_titled_movement_are_asked():
    rows = [
        ("A B", "Best of", "01 Valse triste (x)"),
        ("A B", "Orchestral Gems", "7 Valse triste"),
        ("A B", "Third", "1 Allegro"),
    ]
    assert [(q.name, q.other) for q in similarity.find_similar_names(rows)] == [("Best of", "Orchestral Gems")]


@pytest.mark.parametrize("corpus_of", [starter, score_sets.OPENSCORE, score_sets.QUARTETS])
def test_the_packaged_corpora_ask_nothing(corpus_of):
    assert (
        similarity.find_similar_names((row.composer, row.work, row.movement) for row in corpus_of.list_movements())
        == []
    )


def test_two_recordings_of_a_work_are_told_apart_by_who_plays():
    rows = [
        identify(f"{i}/1.flac", {"composer": "Mahler", "title": "Symphony No. 1: I. Langsam", "conductor": c})
        for i, c in enumerate(("Abbado", "Solti"))
    ]
    assert [row.movement for row in settling.unify_names(rows, {})] == ["I. Langsam (Abbado)", "I. Langsam (Solti)"]


@pytest.mark.parametrize(
    ("path", "comments", "composer"),
    [
        ("Karajan/Beethoven 5/01.flac", {}, "Ludwig van Beethoven"),
        ("Herbert von Karajan/Mahler - Symphony No. 5/01.flac", {}, "Gustav Mahler"),
        ("Berliner Philharmoniker/Brahms/Symphony No. 1/01.flac", {}, "Johannes Brahms"),
        ("Some Conductor/Disc/01.flac", {"artist": "Some Conductor"}, None),
        ("Berliner Philharmoniker/Album/01.flac", {}, None),
        ("Nobuo Uematsu/Final Fantasy/01.flac", {}, "Nobuo Uematsu"),
        ("x.flac", {"artist": "Ludwig van Beethoven", "title": "Symphony No. 5: I"}, "Ludwig van Beethoven"),
        ("x.flac", {"artist": "Leonard Bernstein", "title": "Symphony No. 5: I"}, None),
        ("x.flac", {"albumartist": "Beethoven; Berliner Philharmoniker, Karajan", "title": "Symphony No. 5: I"}, "Ludwig van Beethoven"),
        ("x.flac", {"composer": "Herbert von Karajan", "title": "Symphony No. 5: I"}, None),
        ("Beethoven - Symphony No. 5/01.flac", {}, "Ludwig van Beethoven"),
        ("Classical/Brahms/Symphony No. 1/01.flac", {}, "Johannes Brahms"),
    ],
)  # fmt: skip
def test_who_performs_is_not_the_composer(path, comments, composer):
    recording = identify(path, comments)
    if composer is None:
        assert isinstance(recording, UnidentifiedRecording)
    else:
        assert isinstance(recording, IdentifiedRecording)
        assert settling.unify_names([recording], {})[0].composer == composer


def test_a_tag_of_the_work_that_contradicts_the_title_is_not_guessed():
    recording = identify(
        "a/b/c.flac", {"composer": "Mahler", "work": "Symphony No. 5", "title": "Symphony No. 6: I. Allegro"}
    )
    assert isinstance(recording, UnidentifiedRecording)
    assert recording.reason == "the tag of the work says 'Symphony No. 5' and the title 'Symphony No. 6'"


# Tags


def test_every_spelling_of_the_keys_of_id3(tmp_path):
    for key in ("WORK", "Work", "work"):
        file = tmp_path / f"{key}.mp3"
        soundfile.write(file, np.zeros(2000), 16000, format="MP3")
        opened: Any = mutagen.File(file)
        opened.add_tags()
        opened.tags.add(id3.TXXX(encoding=3, desc=key, text="W"))
        opened.tags.add(id3.TXXX(encoding=3, desc="Movementname", text="M"))
        opened.tags.add(id3.MVIN(encoding=3, text="2/4"))
        opened.tags.add(id3.TIT1(encoding=3, text="G"))
        opened.tags.add(id3.TCOM(encoding=3, text=["A", "B"]))
        opened.save(v2_version=3, v23_sep="\0")
        assert tags.read_tags(file) == {
            "composer": "A / B",
            "work": "W",
            "grouping": "G",
            "movement": "M",
            "movement_number": "2/4",
        }


def test_vorbis_comments_in_any_case_and_a_movement_that_is_a_name(tmp_path):
    flac(tmp_path / "x.flac", Composer="A", WoRk="W", Movement="Andante", ALBUM_ARTIST="P", Conductor="K")
    found = tags.read_tags(tmp_path / "x.flac")
    assert found == {"composer": "A", "work": "W", "movement": "Andante", "albumartist": "P", "conductor": "K"}


def test_the_info_chunk_of_a_wav(tmp_path):
    file = tmp_path / "x.wav"
    soundfile.write(file, np.zeros(100), 8000)
    items = b"".join(
        name + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
        for name, text in ((b"INAM", b"T\xe9\0"), (b"IART", b"P"), (b"IMUS", b"C"), (b"IPRD", b"Al"))
    )
    chunk = b"LIST" + struct.pack("<I", len(items) + 4) + b"INFO" + items
    file.write_bytes(file.read_bytes() + chunk)
    assert tags.read_tags(file) == {"composer": "C", "album": "Al", "title": "Té", "artist": "P"}


def test_atoms_and_ape_items(tmp_path):
    atoms = {
        "\xa9wrt": ["C"],
        "\xa9wrk": ["W"],
        "\xa9mvn": ["M"],
        "\xa9mvi": [2],
        "trkn": [(3, 9)],
        "disk": [(1, 0)],
        "----:com.apple.iTunes:CONDUCTOR": [b"K"],
    }
    pairs = dict(tags._read_pairs(atoms))
    assert pairs == {
        "\xa9wrt": ["C"],
        "\xa9wrk": ["W"],
        "\xa9mvn": ["M"],
        "\xa9mvi": ["2"],
        "trkn": ["3/9"],
        "disk": ["1"],
        "CONDUCTOR": ["K"],
    }
    ape = apev2.APEv2()
    ape["Composer"] = ["A", "B"]
    assert list(tags._read_pairs(ape)) == [("Composer", ["A", "B"])]


# What a person meets


@pytest.fixture
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("music")


@pytest.fixture
def run(project: Project) -> Run:
    def call(*arguments: str | Path) -> Result:
        return CliRunner().invoke(corpus, [str(one) for one in arguments], obj=project.root, catch_exceptions=False)

    return call


def works_of(project: Project) -> dict[str, set[str]]:
    rows, faults = catalogue.read(project.corpus("recordings"))
    assert not faults
    return {name: {row.work for row in rows if row.composer == name} for name in sorted({row.composer for row in rows})}


def test_case_identity_1_the_work_of_a_movement_is_the_whole_work(run, music, project):
    for number in (5, 6, 7, 8):
        for i, movement in enumerate(MOVEMENTS):
            title = f"Symphony no. {number} in C minor, op. {60 + number}: {movement}"
            flac(
                music / f"{number}-{i}.flac",
                composer="Ana Lima",
                work=title,
                title=title,
                album="Symphonies 5-8",
                tracknumber=str(i + 1),
            )
    assert run("import", music).exit_code == 0
    assert works_of(project) == {"Ana Lima": {f"Symphony No. {n} in C minor, Op. {60 + n}" for n in (5, 6, 7, 8)}}
    rows, _ = catalogue.read(project.corpus("recordings"))
    assert [row.movement for row in rows[:3]] == list(MOVEMENTS)
    assert rows[0].printed_work == "Symphony no. 5 in C minor, op. 65: I. Allegro"
    assert run("check", "recordings").exit_code == 0


def test_case_identity_2_an_album_or_a_disc_is_not_the_work(run, music, project):
    albums = (
        "Mahler 3 / Bernstein",
        "Gustav Mahler: Symphonie Nr. 3",
        "Mahler: Symphony No. 3 [Disc 1]",
        "Mahler: Symphony No. 3 [Disc 2]",
    )
    for k, album in enumerate(albums):
        for i, movement in enumerate(MOVEMENTS):
            flac(
                music / f"{k}/{i}.flac",
                composer="Gustav Mahler",
                title=f"Symphony No. 3 in D minor: {movement}",
                album=album,
            )
            flac(music / f"{k}/bare {i}.flac", composer="Gustav Mahler", title=movement, album=album)
    run("import", music)
    assert works_of(project) == {"Gustav Mahler": {"Symphony No. 3 in D minor"}}


def test_case_identity_3_one_composer_as_taggers_spell_them(run, music, project):
    names = ("Johann Sebastian Bach", "J.S. Bach", "Bach, Johann Sebastian (1685-1750)", "Bach, Johann Sebastian, 1685-1750",
             "Wolfgang Amadeus Mozart", "W. A. Mozart", "Mozart (1756-1791)", "Antonin Dvorak", "Antonín Dvořák")  # fmt: skip
    for i, name in enumerate(names):
        flac(music / f"{i}.flac", composer=name, album="Album", title=str(i))
    output = run("import", music, "--dry-run").output
    assert "all 3 composers" in output
    assert "9 spellings became 3 composers:" in output
    assert "Wolfgang Amadeus Mozart = Mozart (1756-1791) = W. A. Mozart = Wolfgang Amadeus Mozart" in output


def test_case_identity_4_the_conductor_is_not_the_class(run, music, project):
    for album, title in (("Beethoven 5", "Beethoven: Symphony No. 5: I"), ("Brahms 1", "Brahms: Symphony No. 1: I")):
        flac(music / f"Herbert von Karajan/{album}/01.flac", artist="Herbert von Karajan", album=album, title=title)
    run("import", music)
    assert works_of(project) == {
        "Johannes Brahms": {"Symphony No. 1 in C minor, Op. 68"},
        "Ludwig van Beethoven": {"Symphony No. 5 in C minor, Op. 67"},
    }


def test_alike_works_are_asked_refused_merged_and_remembered(run, music, project):
    for work in ("Symphony in D minor", "Symphony No. 3 in D minor", "Symphony No. 4"):
        flac(music / f"{work}.flac", composer="Ana Lima", work=work, title="Allegro")
    option = '--work "Ana Lima: Symphony in D minor=Symphony No. 3 in D minor"'
    assert option in run("import", music).output
    refused = run("check", "recordings")
    assert refused.exit_code == 1
    assert option in refused.output
    assert run("check", "recordings", "--allow-alike").exit_code == 0
    run("import", music, "--work", "Ana Lima: Symphony in D minor=Symphony No. 3 in D minor")
    for _ in range(2):
        assert works_of(project) == {"Ana Lima": {"Symphony No. 3 in D minor", "Symphony No. 4"}}
        assert run("check", "recordings").exit_code == 0
        assert "may be one" not in run("import", music).output


def test_works_that_are_two_are_kept_apart(run, music, project):
    for work in ("Symphony in D minor", "Symphony No. 3 in D minor"):
        flac(music / f"{work}.flac", composer="Ana Lima", work=work, title="Allegro")
    run("import", music, "--apart", "Ana Lima: Symphony in D minor=Symphony No. 3 in D minor")
    assert len(works_of(project)["Ana Lima"]) == 2
    assert run("check", "recordings").exit_code == 0


@pytest.mark.parametrize("option", ["--work", "--apart"])
def test_a_decision_that_cannot_be_read_is_an_error(run, music, option):
    flac(music / "a.flac", composer="A B", work="W", title="T")
    with pytest.raises(UserError, match=rf'{option} "A=B" must read "COMPOSER: NAME=OTHER"'):
        run("import", music, option, "A=B")


def test_the_split_refuses_works_that_may_be_one(project: Project, changed: Callable[..., params.Params]):
    import pandas as pd

    names = ["Symphony in D minor", "Symphony No. 3 in D minor", "Symphony No. 4", "Symphony No. 5"]
    rows = [
        {"composer": c, "work": w, "movement": "1", "performance": "", "file": f"{c}{w}.flac", "duration_s": 60.0}
        for c in ("A B", "C D")
        for w in names
    ]
    write_table(project.movements, pd.DataFrame(rows))
    with pytest.raises(
        UserError, match=r"a split by work needs one name for each work: A B: 'Symphony in D minor' and"
    ):
        clips.run(project, changed())
    clips.run(project, changed(clips__ambiguous_works="allow"))
    assert project.clips.is_file()


def test_old_catalogues_read_and_the_printed_names_come_back(tmp_path):
    row = catalogue.Movement(
        "A", "W", "1", "x.flac", "recording", "CC0", "here", printed_work="w", printed_composer="a"
    )
    catalogue.write(tmp_path, [row])
    assert catalogue.read(tmp_path) == ([row], [])
    (tmp_path / "catalogue.csv").write_text(
        "composer,work,movement,path,kind,licence,origin\nA,W,1,x.flac,recording,,\n"
    )
    assert catalogue.read(tmp_path)[0][0].printed_work == ""


def test_an_album_of_unknown_works_is_one_work(music):
    flac(music / "a.flac", composer="A B", album="Album [Disc 2]", title="Allegro")
    assert recordings.survey(music).recordings[0].work == "Album"


@pytest.mark.parametrize(
    ("composer", "work", "texts"),
    [
        ("Igor Stravinsky", "title rite of spring", "Le sacre du printemps (The Rite of Spring)|Весна священная"),
        (
            "Modest Mussorgsky",
            "title pictures at an exhibition",
            "Pictures at an Exhibition (Orch. Ravel)|Картинки с выставки",
        ),
        (
            "Gustav Mahler",
            "title das lied von der erde",
            "Das Lied von der Erde (The Song of the Earth)|Le Chant de la Terre",
        ),
        ("Franz Schubert", "d 759", "Die Unvollendete|The Unfinished"),
        ("Joseph Haydn", "hob i:45", "Abschiedssinfonie|Die Abschiedssymphonie"),
        (
            "Camille Saint-Saëns",
            "title carnival of the animals",
            "Le carnaval des animaux|The Carnival of the Animals|Karneval der Tiere",
        ),
        ("Hector Berlioz", "op 9", "Roman Carnival Overture|Le carnaval romain, Op. 9"),
    ],
)
def test_a_title_in_another_language_or_with_its_translation_is_the_same_work(composer, work, texts):
    assert {parse(text, composer).catalogue for text in texts.split("|")} == {frozenset({work})}


def test_a_numeral_behind_a_comma_begins_the_movement_of_a_work_without_a_number():
    assert split_title("La Mer, I. De l'aube", "Claude Debussy") == ("La Mer", "I. De l'aube")
    assert split_title("Adagio, I. Teil")[0] == ""


def test_a_shelf_is_not_the_composer_whom_the_name_of_the_file_states():
    recording = identify("rips/new/01 - Brahms - Symphony No. 1 - 1 Allegro.mp3", {})
    assert (recording.composer, recording.work) == ("Johannes Brahms", "Symphony No. 1")


def test_one_concerto_under_two_opus_numbers_is_asked():
    rows = [("A B", f"Violin Concerto No. 1 in A minor, Op. {opus}", "1") for opus in (77, 99)]
    assert len(similarity.find_similar_names(rows)) == 1


def test_the_suite_of_a_ballet_whose_title_is_in_another_language_is_asked():
    rows = [("Igor Stravinsky", work, "1") for work in ("L'oiseau de feu", "The Firebird Suite (1919)")]
    assert len(similarity.find_similar_names(rows)) == 1


@pytest.mark.parametrize(
    ("text", "composer", "number"),
    [
        ("Pastorale - Karajan - Berliner Philharmoniker (1965) [FLAC]", "Ludwig van Beethoven", {"op 68"}),
        ("Matthäuspassion / Karajan", "Johann Sebastian Bach", {"bwv 244"}),
        ("Eroica / Pastorale", "Ludwig van Beethoven", set()),
    ],
)
def test_a_title_behind_or_before_a_performer_means_the_one_work_that_it_names(text, composer, number):
    assert parse(text, composer).catalogue == number


def test_a_part_of_a_cycle_does_not_contradict_the_cycle():
    tags = {"composer": "Smetana", "work": "Má vlast", "title": "Vltava", "album": "Má vlast"}
    assert isinstance(identify("x.flac", tags), IdentifiedRecording)


# The repertoire: one title in several languages, several works under one title


def test_every_row_of_the_repertoire_is_sound():
    for composer, rows in repertoire.load_repertoire().items():
        assert resolve(composer).name == composer
        for row in rows:
            for name in filter(None, row["names"].split("=")):
                assert name == repertoire.to_phrase(normalize(name))


def one_work(composer: str, texts: str) -> set[str]:
    return {row.work for row in settled(*((composer, text, "") for text in texts.split("|")))}


def question_pairs(composer: str, *works: str) -> set[frozenset[str]]:
    named = [row.work for row in settled(*((composer, work, "") for work in works))]
    return {
        frozenset((q.name, q.other)) for q in similarity.find_similar_names((composer, work, "1") for work in named)
    }


@pytest.mark.parametrize(
    ("composer", "texts"),
    [
        ("Maurice Ravel", "Concerto pour la main gauche|Piano Concerto for the Left Hand in D major|Klavierkonzert für die linke Hand|Piano Concerto in D"),
        ("Bedřich Smetana", "Má vlast: II. Vltava|The Moldau|Die Moldau|Mein Vaterland|Vltava"),
        ("Claude Debussy", "La mer|The Sea|Das Meer|La Mer, L. 109|La mer, trois esquisses symphoniques"),
        ("Claude Debussy", "Prélude à l'après-midi d'un faune|Prelude to the Afternoon of a Faun|Vorspiel zum Nachmittag eines Fauns"),
        ("Ottorino Respighi", "Pini di Roma|Pines of Rome|Les pins de Rome|Pinien von Rom"),
        ("Igor Stravinsky", "Le sacre du printemps|The Rite of Spring|Frühlingsopfer"),
        ("Richard Strauss", "Ein Heldenleben|A Hero's Life|Une vie de héros"),
        ("Richard Strauss", "Also sprach Zarathustra|Thus Spoke Zarathustra|Ainsi parlait Zarathoustra, op. 30"),
        ("Modest Mussorgsky", "Kartinki s vystavki|Pictures at an Exhibition|Bilder einer Ausstellung|Tableaux d'une exposition"),
        ("Igor Stravinsky", "L'oiseau de feu: Suite (1919)|The Firebird Suite (1919)|Firebird Suite (1919 version)|Der Feuervogel, Suite 1919"),
        ("George Frideric Handel", "Water Music Suite No. 1 in F|Water Music Suite No. 1 in F, HWV 348|Wassermusik, Suite Nr. 1 F-Dur"),
        ("Felix Mendelssohn", "Ein Sommernachtstraum: Ouvertüre op. 21|Overture to A Midsummer Night's Dream|A Midsummer Night's Dream, Op. 21"),
        ("Edvard Grieg", "Peer Gynt Suite No. 1|Peer-Gynt-Suite Nr. 1|Peer Gynt, 1. Suite, Op. 46"),
        ("Igor Stravinsky", "Symphony of Psalms|Symphonie de psaumes|Psalmensinfonie"),
        ("Johann Strauss II", "Kaiserwalzer|Emperor Waltz|Valse de l'empereur"),
    ],
)  # fmt: skip
def test_one_title_in_several_languages_is_one_work(composer, texts):
    assert len(one_work(composer, texts)) == 1


@pytest.mark.parametrize(
    ("composer", "works", "questions"),
    [
        ("Felix Mendelssohn", ("A Midsummer Night's Dream, Op. 21", "A Midsummer Night's Dream, Op. 61"), 1),
        ("Felix Mendelssohn", ("A Midsummer Night's Dream", "Ein Sommernachtstraum, op. 21", "Ein Sommernachtstraum, op. 61"), 2),
        ("George Frideric Handel", ("Water Music Suite No. 1", "Water Music Suite No. 2", "Water Music, HWV 350"), 0),
        ("George Frideric Handel", ("Wassermusik", "Water Music Suite No. 2 in D"), 1),
        ("George Frideric Handel", ("Suite No. 1 in B flat", "Water Music Suite No. 1"), 0),
        ("Edvard Grieg", ("Peer Gynt Suite No. 1", "Peer Gynt, 2. Suite"), 0),
        ("Edvard Grieg", ("Peer Gynt", "Peer Gynt Suite No. 1", "Peer Gynt Suite No. 2"), 2),
        ("Igor Stravinsky", ("L'oiseau de feu", "The Firebird Suite (1919)", "Der Feuervogel: Suite (1945)"), 3),
        ("Wolfgang Amadeus Mozart", ("Mass in C major", "Coronation Mass"), 1),
        ("Maurice Ravel", ("Piano Concerto in G", "Concerto pour la main gauche"), 0),
        ("Antonio Vivaldi", ("Le quattro stagioni", "La primavera"), 1),
        ("A B", ("Pini di Siena", "Pines of Siena"), 1),
        ("A B", ("Drei Tänze", "Three Dances"), 1),
        ("A B", ("Four Songs for Orchestra", "Vier Lieder für Orchester"), 1),
        ("A B", ("Romanian Folk Dances, Op. 6", "Rumänische Volkstänze"), 1),
        ("A B", ("Drei Orchesterstücke", "Three Pieces for Orchestra"), 1),
        ("A B", ("Three Dances", "Four Dances"), 0),
        ("A B", ("Gloria", "Gloria in D, Op. 4"), 1),
        ("A B", ("Suite (1911)", "Suite (1945)"), 1),
    ],
)  # fmt: skip
def test_one_title_of_several_works_joins_none_and_is_asked(composer, works, questions):
    assert len(one_work(composer, "|".join(works))) == len(works)
    assert len(question_pairs(composer, *works)) >= questions
    assert bool(question_pairs(composer, *works)) == bool(questions)


@pytest.mark.parametrize(
    ("composer", "bare", "titles"),
    [
        ("Felix Mendelssohn", "A Midsummer Night's Dream", ("A Midsummer Night's Dream, Op. 21", "A Midsummer Night's Dream, Op. 61")),
        ("George Frideric Handel", "Water Music", ("Water Music Suite No. 1, HWV 348", "Water Music Suite No. 2, HWV 349")),
        ("A B", "Symphony No. 5", ("Symphony No. 5, Op. 76", "Symphony No. 5, Op. 95")),
        ("A B", "Masquerade", ("Masquerade Suite, Op. 3", "Masquerade Suite, Op. 9")),
    ],
)  # fmt: skip
def test_a_tag_of_the_work_that_fits_two_numbers_joins_them_not(composer, bare, titles):
    rows = settled(*((composer, bare, title) for title in titles), *((composer, title, "") for title in titles))
    works = [row.work for row in rows]
    assert works[:2] == works[2:]
    assert works[0] != works[1]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("rips/x/01 - Uematsu - Final Fantasy VII - Opening.mp3", ("Uematsu", "Final Fantasy VII", "Opening")),
        ("rips/Final Fantasy/01 - Nobuo Uematsu - Opening.mp3", ("Nobuo Uematsu", "Final Fantasy", "Opening")),
        ("from_bob/2019/01 - Uematsu - Final Fantasy VII - Opening.mp3", ("Uematsu", "Final Fantasy VII", "Opening")),
        ("Downloads/01 - Mahler - Symphony No. 1 - I. Langsam.mp3", ("Gustav Mahler", "Symphony No. 1", "I. Langsam")),
        ("Nobuo Uematsu/Final Fantasy/01 - Opening - Bombing Mission.mp3", ("Nobuo Uematsu", "Final Fantasy", "01 - Opening - Bombing Mission")),
        ("Uematsu/Final Fantasy/01 - Allegro - Presto.mp3", ("Uematsu", "Final Fantasy", "01 - Allegro - Presto")),
        ("A-F/Ferrán/Works/01 Opening.mp3", ("Ferrán", "Works", "01 Opening")),
        ("A/W/part/1.mp3", ("A", "W", "part / 1")),
        ("2019/Ana Lima/Songs/1.mp3", ("Ana Lima", "Songs", "1")),
        ("rips/x/01 - Opening.mp3", None),
        ("rips/x/01 - Uematsu - Opening.mp3", None),
        ("downloads/01 - Opening.mp3", None),
        ("bobs music/album/01 - Uematsu - Game - Opening.mp3", None),
    ],
)  # fmt: skip
def test_a_generic_folder_is_not_the_composer(path, names):
    recording = identify(path, {})
    if names is None:
        assert isinstance(recording, UnidentifiedRecording)
        assert not recording.composer or recording.composer in path.split("/")[-1]
    else:
        assert isinstance(recording, IdentifiedRecording)
        assert (recording.composer, recording.work, recording.movement) == names
