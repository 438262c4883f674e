"""The stage `features`: mel spectrogram, MFCC and chroma of every clip, and the near-duplicates among the clips.

    Reads   out/clips/clips.csv, out/audio/<movement>.flac
    Writes  out/features/mel.npy            (clips, 64, 431) float32: mel spectrogram in dB relative to the clip's
                                            maximum
            out/features/mfcc.npy           (clips, 13, 431) float32: MFCC of librosa's 128-band mel spectrogram
            out/features/chroma.npy         (clips, 12, 431) float32: chroma in [0, 1], tuning estimated per clip
            out/features/near_duplicates.csv    clip, other_clip, shared_s, similarity: clips that contain the same
                                            sound, for the leak check of every split (symphony2vec.clips.leaks)
            out/features/mel.png, mfcc.png, chroma.png: Figures 3, 2 and 1 of the paper

Rows are in the order of clips.csv, arrays in C order. See `symphony2vec.features.representations`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import threadpoolctl

from symphony2vec import figures, parallel
from symphony2vec.clips import leaks
from symphony2vec.errors import Unusable, UserError
from symphony2vec.features import representations
from symphony2vec.features.representations import Recipe, represent
from symphony2vec.params import Params
from symphony2vec.project import Project, atomic_file, atomic_folder, read_table, write_table

EXAMPLES = 9  # clips in a figure, at most
PROGRESS = "done"  # file that lists the finished movements


@dataclass(frozen=True)
class ExtractionTask:
    """The clips of one movement: their rows in the arrays in `folder`, and the first sample of each."""

    audio: Path
    rows: tuple[int, ...]
    starts: tuple[int, ...]
    folder: Path
    recipe: Recipe


def run(project: Project, params: Params, backend: str | None = None) -> None:
    """Run the stage `features`; `backend` as in `parallel.spread`."""
    clips, audio = read_table(project.clips, "clips"), project.out("audio")
    recipe = Recipe(params.audio.sample_rate_hz, params.clips.duration_s, params.features)
    with atomic_folder(project.out("features"), _partial_folder(project, recipe)) as folder:
        extract(clips, audio, folder, recipe, backend)
        _draw_examples(clips, folder, recipe)
        pairs = leaks.find_near_duplicates(clips, audio, recipe.rate_hz, recipe.duration_s, backend)
        write_table(folder / leaks.FILE, pairs)
        (folder / PROGRESS).unlink()
    _warn_of_shared_sound(pairs, clips)


def extract(clips: pd.DataFrame, audio: Path, folder: Path, recipe: Recipe, backend: str | None = None) -> None:
    """Write the three arrays of all clips into `folder`, movement by movement, on all cores or on a cluster.

    Movements that an interrupted call has finished (listed in the file `done`) are not computed again.

    Args:
        clips: the index of clips (clip, file, start_s).
        audio: folder of the audio files.
        folder: where the arrays are written.
        recipe: sample rate, duration and settings.
        backend: as in `parallel.spread`.

    Raises:
        UserError: an audio file cannot be read.
    """
    for name, shape in recipe.shapes.items():
        if not (folder / f"{name}.npy").is_file():
            _allocate(folder / f"{name}.npy", (len(clips), *shape))
    progress = folder / PROGRESS
    finished = set(progress.read_text(encoding="utf-8").splitlines()) if progress.is_file() else set()
    tasks = [
        ExtractionTask(
            audio / str(file),
            tuple(rows["clip"]),
            tuple(round(start * recipe.rate_hz) for start in rows["start_s"]),
            folder,
            recipe,
        )
        for file, rows in clips.groupby("file", sort=True)
        if file not in finished
    ]

    def warm_up() -> None:
        represent(np.random.default_rng(0).standard_normal(recipe.samples).astype(np.float32), recipe)

    # On a network file system two machines that map one file and write to the same page overwrite each other.
    remote = parallel.resolve_backend(backend) != parallel.PROCESSES
    function: Callable[[ExtractionTask], Any] = compute_movement if remote else write_movement
    with progress.open("a", encoding="utf-8") as log:
        for index, result in parallel.spread(function, tasks, "features", "movement", warm_up, backend):
            task = tasks[index]
            if isinstance(result, Unusable):
                raise UserError(f"{task.audio}: {result}; `dvc repro -f audio` makes it again")
            if remote:
                for name, array in _open_arrays(task).items():
                    array[list(task.rows)] = result[name]
            log.write(f"{task.audio.name}\n")
            log.flush()


def write_movement(task: ExtractionTask) -> int:
    """Compute the clips of one movement and write them to their rows; return the number of clips."""
    arrays = _open_arrays(task)
    for row, clip in zip(task.rows, _represent_clips(task), strict=True):
        for name, values in clip.items():
            arrays[name][row] = values
    return len(task.rows)


def compute_movement(task: ExtractionTask) -> dict[str, np.ndarray]:
    """Return the representations (clips, F, T) float32 of one movement by name, without writing them."""
    clips = list(_represent_clips(task))
    return {name: np.stack([clip[name] for clip in clips]) for name in task.recipe.shapes}


def _represent_clips(task: ExtractionTask) -> Iterator[dict[str, np.ndarray]]:
    """Yield the representations of each clip of a movement.

    Single-threaded: the last bit of a matrix product depends on the number of threads, and products of this size gain
    nothing from more of them.
    """
    try:
        with threadpoolctl.threadpool_limits(1), soundfile.SoundFile(task.audio) as file:
            for start in task.starts:
                file.seek(start)
                wave = file.read(task.recipe.samples, dtype="float32", fill_value=0.0)
                yield represent(wave, task.recipe)
    except (soundfile.LibsndfileError, OSError) as error:
        raise Unusable(f"cannot be read ({error})") from None


def _open_arrays(task: ExtractionTask) -> dict[str, np.ndarray]:
    """Map the arrays of all clips for writing."""
    return {name: np.load(task.folder / f"{name}.npy", mmap_mode="r+") for name in task.recipe.shapes}


def _allocate(path: Path, shape: tuple[int, ...]) -> None:
    """Write an array of zeros and reserve its disk space: on a full disk a mapped file would kill the process."""
    with atomic_file(path) as partial:
        np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape).flush()
        if hasattr(os, "posix_fallocate"):  # Linux and other Unix, not macOS or Windows
            with partial.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)


def _partial_folder(project: Project, recipe: Recipe) -> Path:
    """Return the folder of unfinished work on these clips with these settings and this code; remove all others."""
    code = [Path(path).read_text(encoding="utf-8") for path in (__file__, representations.__file__)]
    versions = [importlib.metadata.version(name) for name in ("librosa", "numpy")]
    inputs = [recipe.rate_hz, recipe.duration_s, recipe.settings.model_dump(), code, versions]
    key = hashlib.sha256(project.clips.read_bytes() + json.dumps(inputs).encode()).hexdigest()[:16]
    target = project.out(".partial", f"features-{key}")
    for folder in target.parent.glob("features-*"):
        if folder != target:
            shutil.rmtree(folder)
    return target


def _warn_of_shared_sound(pairs: pd.DataFrame, clips: pd.DataFrame) -> None:
    """Print a warning if two works share sound, which a split by work cannot keep together."""
    works = clips.set_index("clip")[["composer", "work"]].agg(" / ".join, axis=1)
    titles = pd.DataFrame({"work": pairs["clip"].map(works), "other": pairs["other_clip"].map(works)})
    titles = titles[titles["work"] != titles["other"]]
    if len(titles):
        work, other = titles.iloc[0]
        print(
            f"features: {len(titles)} pairs of clips of different works contain the same sound, such as '{work}' and "
            f"'{other}'; see {leaks.FILE}, and leave one of the two out of the corpus"
        )


def _draw_examples(clips: pd.DataFrame, folder: Path, recipe: Recipe) -> None:
    """Draw Figures 1 to 3: the middle clip of each composer."""
    frame_s, floor_db = recipe.settings.hop_samples / recipe.rate_hz, -recipe.settings.dynamic_range_db
    styles: dict[str, Any] = {
        "mel": ("Mel spectrograms", "dB below the clip's maximum", "mel band", (floor_db, 0.0)),
        "mfcc": ("MFCC", "coefficient", "coefficient", None),
        "chroma": ("Chromagrams", "strength", "pitch class (0 is C)", (0.0, 1.0)),
    }
    middle = {str(name): rows["clip"].iloc[len(rows) // 2] for name, rows in clips.groupby("composer", sort=True)}
    for name, (label, unit, bins, limits) in styles.items():
        array = np.load(folder / f"{name}.npy", mmap_mode="r")
        examples = {composer: array[clip] for composer, clip in list(middle.items())[:EXAMPLES]}
        if limits is None:  # without the first coefficient: it is the level, many times larger than the others
            limits = np.quantile([example[1:] for example in examples.values()], (0.002, 0.998))
        figures.save(folder / f"{name}.png", figures.examples(examples, label, unit, bins, frame_s, limits))
