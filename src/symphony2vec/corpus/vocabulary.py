"""The words of work titles in the languages of record labels: genres, instruments, keys, numbers and discs.

All patterns expect normalized text: lower case, without accents (see `normalize`).
"""

from __future__ import annotations

import re
import unicodedata

# English name: the normalized words for it in the singular; after the bar in the plural, which names a collection.
_GENRES = {
    "Sinfonia concertante": "sinfonia concertante, symphonie concertante, konzertante sinfonie, sinfonia concertant",
    "Chamber Symphony": "chamber symphony, kammersymphonie, kammersinfonie, symphonie de chambre, sinfonia da camera",
    "Sinfonietta": "sinfonietta, simfonietta, symfonietta, symphonietta, симфониетта",
    "Symphonic Poem": "symphonic poem, tone poem, tondichtung, sinfonische dichtung, symphonische dichtung, "
    "poeme symphonique, poema sinfonico | symphonic poems, tone poems, tondichtungen, poemes symphoniques",
    "Symphonic Dances": "symphonic dances, sinfonische tanze, symphonische tanze, danses symphoniques, "
    "danze sinfoniche, danzas sinfonicas, symfoniske danser, symfonicke tance, симфонические танцы",
    "Symphony": "symphony, symphonie, sinfonie, sinfonia, symfonie, symfonia, symfoni, simfonia, szimfonia, sinfoni, "
    "simfonija, симфония, симфонии, sym., symph., sinf. | symphonies, symphonien, sinfonien, sinfonias, symfonier",
    "Concerto for Orchestra": "concerto for orchestra, konzert fur orchester, concerto pour orchestre, "
    "concerto per orchestra, concierto para orquesta",
    "Brandenburg Concerto": "brandenburg concerto, brandenburgisches konzert, brandenburgische konzert, "
    "concerto brandebourgeois, concerto brandeburghese, concierto de brandeburgo, concerto brandenburgo "
    "| brandenburg concertos, brandenburg concerti, brandenburgische konzerte, concertos brandebourgeois, "
    "concerti brandeburghesi, conciertos de brandeburgo",
    "Concerto grosso": "concerto grosso | concerti grossi",
    "Concertino": "concertino",
    "Concerto": "concerto, konzert, concierto, koncert, konsert, концерт, conc. | concertos, concerti, konzerte, "
    "conciertos",
    "Quartet": "quartet, quartett, quatuor, quartetto, cuarteto, kvartet, kwartet, квартет "
    "| quartets, quartette, quatuors, quartetti, cuartetos",
    "Quintet": "quintet, quintett, quintette, quintetto, quinteto, kvintet, квинтет | quintets, quintetti, quintetos",
    "Sextet": "sextet, sextett, sextuor, sestetto, sexteto | sextets",
    "Septet": "septet, septett, septuor, settimino, septeto",
    "Octet": "octet, oktett, octuor, ottetto, octeto",
    "Nonet": "nonet, nonett",
    "Trio": "trio, трио | trios",
    "Sonatina": "sonatina, sonatine",
    "Sonata": "sonata, sonate, соната | sonatas, sonaten, sonates",
    "Orchestral Suite": "orchestral suite, orchestersuite, suite pour orchestre, suite orchestrale, "
    "ouverture suite, overture suite | orchestral suites, orchestersuiten",
    "Suite": "suite, сюита | suites, suiten",
    "Partita": "partita | partitas, partiten",
    "Overture": "overture, ouverture, ouverture, obertura, увертюра | overtures, ouverturen, ouvertures, oberturas",
    "Serenade": "serenade, serenata, serenada, серенада | serenades, serenaden, serenate",
    "Divertimento": "divertimento | divertimenti, divertimentos",
    "Cassation": "cassation, kassation",
    "Requiem": "requiem, реквием, messa da requiem, missa pro defunctis",
    "Mass": "mass, messe, missa, misa, messa, месса | masses, messen",
    "Cantata": "cantata, kantate, cantate, кантата | cantatas, kantaten, cantates",
    "Oratorio": "oratorio, oratorium",
    "Rhapsody": "rhapsody, rhapsodie, rapsodia, rapsodie, рапсодия | rhapsodies, rhapsodien",
    "Fantasia": "fantasia, fantasy, fantasie, phantasie, fantaisie, fantasia",
    "Variations": "variations, variationen, variazioni, variaciones, вариации",
    "Romance": "romance, romanze, romanza",
    "Prelude": "prelude, praludium, preludio, preludium | preludes, preludien, preludi",
    "Nocturne": "nocturne, notturno, nocturno | nocturnes",
    "Ballade": "ballade, ballad | ballades",
    "Waltz": "waltz, walzer, valse, valzer, vals | waltzes, valses",
    "March": "march, marsch, marche, marcia, marcha | marches, marsche",
    "Hungarian Dance": "hungarian dance, ungarischer tanz, danse hongroise, danza ungherese "
    "| hungarian dances, ungarische tanze, danses hongroises",
    "Slavonic Dance": "slavonic dance, slawischer tanz, danse slave | slavonic dances, slawische tanze, danses slaves",
    "Etude": "etude, study | etudes, studies",
    "Mazurka": "mazurka | mazurkas",
    "Polonaise": "polonaise | polonaises",
    "Toccata": "toccata, toccate",
    "Passacaglia": "passacaglia",
    "Stabat Mater": "stabat mater",
    "Te Deum": "te deum",
    "Magnificat": "magnificat",
    "Gloria": "gloria",
    "Incidental Music": "incidental music, schauspielmusik, buhnenmusik, musique de scene, musiche di scena, "
    "musica incidental, musica de escena, scenisk musik, scenemusikk, музыка к драме",
}  # fmt: skip
# Genres that movements have, too: they identify a work only with a number, a key or a catalogue number.
WEAK_GENRES = {
    "Romance", "Prelude", "Nocturne", "Ballade", "Waltz", "March", "Etude", "Mazurka", "Polonaise", "Toccata",
    "Passacaglia", "Trio", "Overture", "Variations", "Fantasia", "Gloria", "Magnificat", "Serenade",
}  # fmt: skip
_INSTRUMENTS = {
    "Piano": "piano klavier pianoforte clavier fortepiano pf",
    "Violin": "violin violine violinen violon violons violino violini geige violins skripka",
    "Viola": "viola bratsche alto",
    "Cello": "cello violoncello violoncelle violonchelo violoncell violoncelli celli cellos",
    "Double Bass": "kontrabass contrabass contrebasse contrabbasso bass",
    "Flute": "flute flote flauto flauta fluit flutes floten",
    "Oboe": "oboe hautbois hoboe oboen",
    "Clarinet": "clarinet klarinette clarinette clarinetto clarinete klarinetten",
    "Bassoon": "bassoon fagott basson fagotto fagot bassoons",
    "Horn": "horn cor corno trompa waldhorn horns horner",
    "Trumpet": "trumpet trompete trompette tromba trompeta trumpets",
    "Trombone": "trombone posaune",
    "Harp": "harp harfe harpe arpa",
    "Guitar": "guitar gitarre guitare chitarra guitarra",
    "Organ": "organ orgel orgue organo",
    "Harpsichord": "harpsichord cembalo clavecin clavicembalo",
    "Saxophone": "saxophone saxophon",
    "String": "string strings streich streicher cordes archi cuerda cuerdas smyccovy",
}
_COMPOUND = {
    "konzert": "Concerto", "konzerte": "Concerto", "sonate": "Sonata", "sonaten": "Sonata", "quartett": "Quartet",
    "quintett": "Quintet", "trio": "Trio", "sextett": "Sextet", "oktett": "Octet", "serenade": "Serenade",
    "kvartett": "Quartet", "concert": "Concerto", "sonata": "Sonata", "kwartet": "Quartet",
}  # fmt: skip


def _forms() -> list[tuple[str, str, bool]]:
    forms = []
    for name, words in _GENRES.items():
        for plural, part in enumerate(words.split("|")):
            forms += [(form.strip(), name, bool(plural)) for form in part.split(",") if form.strip()]
    return sorted(set(forms), key=lambda form: (-len(form[0]), form))


GENRES = {form: (name, plural) for form, name, plural in reversed(_forms())}
INSTRUMENTS = {word: name for name, words in _INSTRUMENTS.items() for word in words.split()}
COMPOUNDS = {
    first + ending: (name, genre)
    for first, name in INSTRUMENTS.items()
    for stem, genre in _COMPOUND.items()
    for ending in (stem, f"s{stem}", f"n{stem}", f"en{stem}")
} | {f"string{ending}": ("String", genre) for ending, genre in _COMPOUND.items()}
_edge = r"(?<![^\W\d_])(?:{})(?![^\W\d_])"
GENRE = re.compile(_edge.format("|".join(re.escape(form) for form, _, _ in _forms())))
COMPOUND = re.compile(_edge.format("|".join(sorted(map(re.escape, COMPOUNDS), key=len, reverse=True))))
INSTRUMENT = re.compile(_edge.format("|".join(sorted(INSTRUMENTS, key=len, reverse=True))))

ORDINALS = {
    word: number
    for number, words in enumerate(
        (
            "first erste erster erstes premiere premier prima primera primo primer",
            "second zweite zweiter zweites deuxieme seconda segunda secondo segundo seconde",
            "third dritte dritter drittes troisieme terza tercera terzo tercer",
            "fourth vierte vierter viertes quatrieme quarta cuarta quarto cuarto",
            "fifth funfte funfter funftes cinquieme quinta quinto",
            "sixth sechste sechster sechstes sixieme sesta sexta sesto sexto",
            "seventh siebte siebente siebter siebtes septieme settima septima settimo",
            "eighth achte achter achtes huitieme ottava octava ottavo",
            "ninth neunte neunter neuntes neuvieme nona novena nono",
            "tenth zehnte zehnter dixieme decima",
        ),
        start=1,
    )
    for word in words.split()
}
# English words of titles and their translations. They show that two titles may mean one work, not that they do.
_TITLE_WORDS = {
    "two": "zwei deux due dos dva",
    "three": "drei trois tre tres tri",
    "four": "vier quatre quattro cuatro ctyri",
    "five": "funf cinq cinque cinco",
    "six": "sechs six sei seis",
    "piece": "pieces stuck stucke pezzi pezzo pieza piezas",
    "dance": "dances tanz tanze danse danses danza danze danzas tanec tance tanc tancok taniec",
    "song": "songs lied lieder chant chants chanson chansons canto canti canzone cancion canciones pisen pisne piesn",
    "string": "strings streicher cordes archi cuerdas smycce",
    "wind": "winds blaser vents fiati vientos",
    "orchestra": "orchestral orchester orchesterstucke orchestre orquesta orchestrale orkester",
    "night": "nacht nuit notte noche noc",
    "day": "tag jour giorno dia",
    "year": "jahr annee anno ano",
    "spring": "fruhling printemps primavera jaro",
    "summer": "sommer ete estate verano leto",
    "autumn": "herbst automne autunno otono podzim",
    "winter": "hiver inverno invierno zima",
    "season": "seasons jahreszeiten saisons stagioni estaciones",
    "forest": "woods wald foret bosco bosque les",
    "festive": "festival festlich festliche fete fetes festa festiva festivo fiesta",
    "death": "tod mort morte muerte",
    "life": "leben vie vita vida",
    "love": "liebe amour amore amor laska",
    "dream": "traum reve sogno sueno sen",
    "spanish": "spanisch spanische espagnol espagnole espagnoles spagnolo spagnola espanol espanola espanolas",
    "hungarian": "ungarisch ungarische hongrois hongroise hongroises ungherese hungaro hungara magyar",
    "russian": "russisch russische russe russes russo ruso rusa",
    "italian": "italienisch italienische italien italienne italiano italiana",
    "slavonic": "slavic slawisch slawische slave slaves slavo eslava slovanske slovansky",
    "romanian": "rumanisch rumanische roumain roumaine roumaines rumeno rumene romane rumunske",
    "norwegian": "norwegisch norwegische norvegien norvegienne norske norsk",
    "french": "franzosisch francais francaise",
    "german": "deutsch deutsche deutsches allemand allemande tedesco aleman",
    "english": "englisch anglais anglaise",
    "theme": "thema themes tema",
    "folk": "volks populaire populaires popolare popolari popular populares",
    "sea": "meer mer mare mar",
    "king": "konig roi re rey kral",
    "bird": "vogel oiseau oiseaux uccello uccelli pajaro",
    "little": "small klein kleine kleines petit petite piccolo piccola pequena mala",
    "great": "gross grosse grand grande",
    "new": "neu neue neuen nouveau nouvelle nuovo nuova nuevo novy",
    "world": "welt monde mondo mundo svet",
    "child": "children kinder enfant enfants bambini ninos",
    "symphonic": "symphonisch symphonische sinfonische symphonique symphoniques sinfonico sinfonica sinfonici",
    "lake": "see lac lago jezero",
    "blue": "blau blaue bleu blu azul",
    "city": "stadt ville citta ciudad",
    "hero": "held heros eroe heroe",
    "black": "schwarz schwarze noir noire nero negro",
    "white": "weiss weisse blanc blanche bianco blanco",
    "old": "alt alte alten ancien anciens antico antiche antigua",
    "garden": "gardens garten jardin jardins giardino giardini jardines",
    "moon": "mond lune luna",
    "sun": "sonne soleil sole sol",
}
TITLE_WORDS = {word: english for english, words in _TITLE_WORDS.items() for word in words.split()}

_number = r"(?:no|nr|nro|nos|nrn|num|numero|nummer|number|cislo|szam|(?:c|sz)(?=\.)|n)\s*[.°:_]{0,2}\s*(?:o\b\.?)?\s*"
_count = r"(?P<{}>\d{{1,4}}|[ivx]{{1,6}}(?=[^\w.]|\.?$|\.(?!\s*\w)))"
NUMBER = re.compile(rf"(?<![^\W_])(?:{_number}|#\s*){_count.format('count')}(?![^\W_])")
BARE_NUMBER = re.compile(
    rf"\s*[,-]?\s*(?!\d{{4}}){_count.format('count')}(?![^\W_])(?!\s*(?:movements|pieces|parts|satze))"
)
_suffix = r"(?:st|nd|rd|th|er|ere|re|e|eme|ieme|te|[.ºª]|a|o)?"
_ordinal = "|".join(sorted(ORDINALS, key=len, reverse=True))
ORDINAL_BEFORE = re.compile(rf"(?<![^\W_])(?:(?P<digits>\d{{1,3}}){_suffix}|(?P<word>{_ordinal}))\s+$")
ORDINAL_AFTER = re.compile(rf"\s+(?P<word>{_ordinal})(?![^\W_])")
NUMBER_LIST = re.compile(r"\d{1,3}\s*(?:-|–|—|&|\+|,|and|und|et|e|y|bis|to)\s*(?=(?:no|nr)?\.?\s*\d{1,3}(?![\d.]))")

_LETTERS = {"do": "c", "ut": "c", "re": "d", "mi": "e", "fa": "f", "sol": "g", "la": "a", "si": "b"}
_FLAT, _SHARP = r"(?:flat|bemolle|bemol|b)", r"(?:sharp|diese|diesis|sostenido|sustenido|#)"
_MODES = {"minor": "minor|mineur|minore|menor|moll|mol|min|klein", "major": "major|majeur|maggiore|mayor|dur|maj|groot"}
_mode = f"(?:(?P<minor>{_MODES['minor']})|(?P<major>{_MODES['major']}))"
_accidental = rf"(?:[\s-]*(?:(?P<flat>{_FLAT})|(?P<sharp>{_SHARP})))?"
_names = "|".join(_LETTERS)
KEYS = (
    # "c-moll", "cis-Moll", "B-dur": in German h is B, and b is B flat
    re.compile(
        r"(?<![^\W_])(?:in\s+)?(?P<german>cis|ces|dis|des|es|eis|fis|fes|gis|ges|ais|as|[a-h])[\s-]*"
        r"(?:(?P<minor>moll)|(?P<major>dur))(?![^\W_])"
    ),
    re.compile(rf"(?<![^\W_])(?:(?:in|en)\s+)?(?P<tone>[a-g]){_accidental}[\s-]+{_mode}(?![^\W_])"),
    re.compile(rf"(?<![^\W_])(?:(?:in|en)\s+)?(?P<tone>{_names}){_accidental}[\s-]+{_mode}(?![^\W_])"),
    re.compile(rf"(?<![^\W_])(?:in|en)\s+(?P<tone>[a-g]){_accidental}(?![^\W_'’-])"),
)


def normalize(text: str) -> str:
    """Return a text in lower case and without Latin, Greek or Cyrillic accents.

    Examples:
        >>> normalize("Dvořák, Größe, B♭")
        'dvorak, grosse, b flat '
    """
    text = text.replace("♭", " flat ").replace("♯", " sharp ").replace("ß", "ss")
    signs = unicodedata.normalize("NFKD", text)
    return "".join(sign for sign in signs if not "\u0300" <= sign <= "\u036f").casefold()


def format_key(match: re.Match[str]) -> str:
    """Return the English name of a key that one of `KEYS` matched: "C minor", "B flat major"; "D" without a mode."""
    parts = match.groupdict()
    mode = next((name for name in ("minor", "major") if parts.get(name)), "")
    german = parts.get("german")
    if german:
        tone = {"h": "b", "b": "b flat", "as": "a flat", "es": "e flat"}.get(german, german)
        if tone == german and len(german) > 1:
            tone = f"{german[0]} {'sharp' if german.endswith('is') else 'flat'}"
    else:
        tone = _LETTERS.get(parts["tone"], parts["tone"])
        tone += " flat" if parts.get("flat") else " sharp" if parts.get("sharp") else ""
    return f"{tone[0].upper()}{tone[1:]} {mode}".strip()


def parse_numeral(numeral: str) -> int:
    """Return the value of a number in digits or Roman numerals.

    Examples:
        >>> parse_numeral("41"), parse_numeral("xiv")
        (41, 14)
    """
    if numeral.isdigit():
        return int(numeral)
    values = [{"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}[sign] for sign in numeral.casefold()]
    return sum(-low if low < high else low for low, high in zip(values, [*values[1:], 0], strict=True))


_count_words = r"(?:\d{1,3}|[ivx]{1,5}|[a-d]|one|two|three|four|five|eins|zwei|drei|un|deux|trois|uno|due|dos)"
_disc = (
    rf"(?:cd|dvd|sacd|lp|dis[ck]|disque|disco|disk|platte)[\s._#:°-]*(?:no|nr)?[\s._]*{_count_words}(?![^\W_])"
    rf"(?:\s*(?:of|von|de|di|/)\s*\d{{1,3}})?"
)
_volume = rf"(?:vol|volume|volumen|volume|folge)[\s._#-]*{_count_words}(?![^\W_])"
_of = r"\d{1,2}\s*(?:/|of|von|de|di|sur)\s*\d{1,2}"
DISC = re.compile(
    rf"\s*[-–—,:/]?\s*(?:[(\[{{]\s*(?:{_disc}|{_volume}|{_of})(?:\s*[:-][^)\]}}]*)?\s*[)\]}}]"
    rf"|(?<![^\W_])(?:{_disc}|{_volume})(?:\s*[:-](?=\s|$))?)",
    re.IGNORECASE,
)


def remove_discs(text: str) -> str:
    """Return a title or the name of a folder without its disc and volume: "[Disc 1]", "CD2", "(1/3)", "Vol. II".

    Examples:
        >>> remove_discs("Symphony No. 3 [Disc 1]")
        'Symphony No. 3'
    """
    plain = DISC.sub(" ", text)
    return " ".join(plain.split()).strip(" -–—,:;/_") if plain != text else text
