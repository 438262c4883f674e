"""Free sets of recordings, from small folders with their layout: a list by numbers, and titles in file names."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner

from conftest import RATE_HZ, ROOT, music
from symphony2vec.cli import cli
from symphony2vec.corpus import catalogue, recording_sets
from symphony2vec.errors import UserError
from symphony2vec.project import Project

MUSICNET = """id,composer,composition,movement,ensemble,source,transcriber,catalog_name,seconds
1733,Schubert,Piano Sonata in A major,2. Andantino,Solo Piano,a source,a person,D959,546
1768,Schubert,Piano Sonata in A major,2. Andante,Solo Piano,a source,a person,D664,290
1788,Mozart,String Quartet No 19 in C major,1. Adagio - Allegro,String Quartet,one source,a person,K465,513
1792,Mozart,String Quartet No 19 in C major,1. Adagio - Allegro,String Quartet,another source,a person,K465,472
2104,Haydn,Quartet No 53 in D major,1. Allegro moderato,String Quartet,a source,a person,OP64NO5,371
2075,Cambini,Wind Quintet No 1 in B-flat Major,1. Allegro maestoso,Wind Quintet,a source,a person,JOHN1,329
2156,Brahms,String Sextet No 1 in B-flat major,"2. Andante, ma moderato",String Sextet,a source,a person,OP18,606
2195,Bach,"WTK I, No 3: Prelude and Fugue in C-sharp major",2. Fugue,Solo Piano,a source,a person,BWV848,155
2300,Beethoven,Not Downloaded,1. Allegro,Solo Piano,a source,a person,OP2NO1,100
"""
MUSOPEN = (
    "Beethoven_SymphonyNo.3Eroica/LudwigVanBeethoven-SymphonyNo.3InEFlatMajorEroicaOp.55-01-AllegroConBrio",
    "Beethoven_SymphonyNo.3Eroica/LudwigVanBeethoven-SymphonyNo.3InEFlatMajorEroicaOp.55-02-MarciaFunebreAdagioAssai",
    "Beethoven_CoriolanOverture/LudwigVanBeethoven-CoriolanOverture",
    "Mozart_SymphonyNo.40inGMinor/WolfgangAmadeusMozart-SymphonyNo.40InGMinorK.550-01-MoltoAllegro",
    "Borodin_StringQuartetNo.2inDMajor/AlexanderBorodin-StringQuartetNo.2InDMajor-04-FinaleAndante-Vivace",
    "Bach_GoldbergVariations/JohannSebastianBach-01-GoldbergVariationsBwv.988-Aria",
)


def write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, music(3.0, seed), RATE_HZ)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (root / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    return Project(root)


@pytest.fixture
def musicnet(tmp_path: Path) -> Path:
    folder = tmp_path / "unpacked"
    for number in (1733, 1768, 1788, 1792, 2104, 2075, 2156):
        write(folder / "musicnet" / "train_data" / f"{number}.wav", number)
    write(folder / "musicnet" / "test_data" / "2195.wav", 2195)
    write(folder / "musicnet" / "train_data" / "0000.wav", 1)  # not in the list
    (folder / recording_sets.MUSICNET_LIST).write_text(MUSICNET, encoding="utf-8")
    return folder


def command(project: Project, *words: str | Path) -> str:
    words = ("--project", str(project.root), "corpus", "recordings", *map(str, words))
    return str(CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False).output)


def works(project: Project, name: str) -> dict[str, tuple[str, str, str]]:
    movements, faults = catalogue.read(project.corpus(name))
    assert not faults
    return {Path(row.path).stem: (row.composer, row.work, row.movement) for row in movements}


def test_recordings_of_musicnet_get_their_titles_from_its_list(project, musicnet):
    output = command(project, "musicnet", musicnet)
    found = works(project, "musicnet")
    assert set(found) == {"1733", "1768", "1788", "1792", "2104", "2075", "2156", "2195"}
    assert found["1733"][:2] == ("Franz Schubert", "Piano Sonata in A major, D. 959")
    assert found["1768"][1] == "Piano Sonata in A major, D. 664"  # another work of that title
    assert found["1788"][1] == found["1792"][1]  # one work in two recordings
    assert found["1788"][2] != found["1792"][2]
    assert found["2104"][1] == "Quartet No. 53 in D major, Op. 64 No. 5"
    assert found["2075"][:2] == ("Cambini", "Quintet No. 1 in B flat major")
    assert found["2156"][2] == "2. Andante, ma moderato"
    assert found["2195"][0] == "Johann Sebastian Bach"
    movements, _ = catalogue.read(project.corpus("musicnet"))
    assert {(row.kind, row.licence) for row in movements} == {("recording", "CC BY 4.0")}
    assert "is not the list of version 1.0" in output
    assert "1 of the 9 recordings of the list are not there, such as 2300.wav" in output
    assert "0000.wav: not in the table" in output
    assert not list(musicnet.glob("**/catalogue.csv"))


def test_recordings_of_musopen_get_their_titles_from_their_names(project, tmp_path):
    folder = tmp_path / "unpacked"
    for seed, name in enumerate(MUSOPEN):
        write(folder / f"{name}.flac", seed)
    write(folder / f"{MUSOPEN[0]}.ogg", 77)  # the same recording once more
    write(folder / "readme sound.flac", 78)
    output = command(project, "musopen", folder)
    found = list(works(project, "musopen").values())
    assert len(found) == len(MUSOPEN)
    assert {name[:2] for name in found if name[0] == "Ludwig van Beethoven"} == {
        ("Ludwig van Beethoven", "Symphony No. 3 in E flat major, Op. 55"),
        ("Ludwig van Beethoven", "Coriolan Overture"),
    }
    assert ("Wolfgang Amadeus Mozart", "Symphony No. 40 in G minor, K. 550", "1. Molto Allegro") in found
    assert ("Alexander Borodin", "String Quartet No. 2 in D major", "4. Finale Andante-Vivace") in found
    assert ("Johann Sebastian Bach", "Goldberg Variations Bwv. 988", "1. Aria") in found
    assert "readme sound.flac: not in the table" in output


def test_the_sets_are_listed_with_licence_and_address(project):
    output = command(project)
    for one in recording_sets.SETS.values():
        assert f"{one.name}: {one.content}" in output
        assert one.licence in output
        assert one.address in output


def test_what_is_missing_is_one_line_that_says_where_to_get_it(project, musicnet, tmp_path):
    (tmp_path / "empty").mkdir()
    for words, line in {
        ("other", tmp_path): r"^there is no set 'other'; there is musicnet, musopen$",
        ("musicnet",): r"^pass the folder to which you unpacked it",
        ("musicnet", tmp_path / "nowhere"): r"nowhere is no folder; pass the one",
        ("musicnet", tmp_path / "empty"): r"^no musicnet_metadata.csv below .*; download it from https://zenodo",
        (
            "musopen",
            tmp_path / "empty",
        ): r"^no recording of musopen below .*; get the FLAC .* and unpack it there$",
    }.items():
        with pytest.raises(UserError, match=line):
            command(project, *words)
    (musicnet / recording_sets.MUSICNET_LIST).write_text("number,title\n1,a\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"musicnet_metadata.csv"):
        command(project, "musicnet", musicnet)
    assert not project.corpus("musicnet").exists()
