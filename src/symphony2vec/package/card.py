"""The model card of a package: what it is, what it was trained on, what it is worth, where it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CROPPED = ("CropEncoder", "EncoderClassifier")  # of ALI
MIDDLE = "- Of each clip it hears the middle crop alone, 32 bands of 32 frames; of ALI the readout `crops` hears all."
UNPROBED = "Not probed yet: the stage `probe` adds its accuracy."


def text(config: Mapping[str, Any], scores: Mapping[str, Any] | None) -> str:
    """The card as Markdown.

    Args:
        config: the plain values of `contents.Config`.
        scores: what the probe found of this readout (see `symphony2vec.evaluation.probe.score`), where it has run.
    """
    subject, hearing = config["subject"], config["hearing"]
    classifier = config["build"]["method"].startswith("probabilities")
    middle = "crop" in config["build"] or (config["build"]["name"] in CROPPED and not config["readout"])
    gives = "one probability of each composer" if classifier else "one vector"
    name = f"{subject['model']}-{subject['representation']}"
    return "\n".join(
        [
            f"# {name}{' ' + config['readout'] if config['readout'] else ''}, {subject['fold']}",
            "",
            f"A model of symphony2vec (stage `{subject['stage']}`). It hears {hearing['duration_s']:g} seconds of mono "
            f"sound at {hearing['sample_rate_hz']} Hz as {_REPRESENTATIONS[hearing['representation']]}, and "
            f"gives {gives} for them.",
            "",
            "## Data",
            *_data(config["data"], subject["fold"]),
            "",
            "## Accuracy",
            *(_accuracy(scores) if scores else [UNPROBED]),
            "",
            "## Intended use",
            "Comparing passages and recordings of orchestral music: search by similarity, maps of a collection,",
            "features for a small classifier of one's own.",
            "",
            "## Limits",
            *([MIDDLE] if middle else []),
            "- It names only composers it was trained on; of any other music its probabilities mean nothing.",
            "- It was trained on the music above, in that sound. Of other instruments, halls, voices or recordings its",
            "  accuracy is not known, and likely lower.",
            "- It is no judge of authorship: an accuracy such as the one above is wrong too often for that.",
            "- Recordings are brought to one loudness before they are heard: the vectors know nothing of level.",
            "",
        ]
    )


_REPRESENTATIONS = {"mel": "a mel spectrogram", "mfcc": "MFCC", "chroma": "a chromagram"}


def _data(data: Mapping[str, Any], fold: str) -> list[str]:
    played = " (played by one synthesized orchestra)" if any("score" in one["kind"] for one in data["licences"]) else ""
    composers = ", ".join(f"{name} ({count} clips)" for name, count in data["composers"].items())
    sides = ", ".join(f"{side} {own['clips']} clips of {own['works']} works" for side, own in data["sides"].items())
    lines = [f"Corpus `{data['corpus']}`{played}: {composers}.", f"Drawn split {fold}: {sides}.", "", "Licences:"]
    return lines + [f"- {one['licence'] or 'none stated'} ({one['movements']} movements)" for one in data["licences"]]


def _accuracy(scores: Mapping[str, Any]) -> list[str]:
    low, high = scores["test_accuracy_low"], scores["test_accuracy_high"]
    few: Sequence[str] = scores["few_test_works"]
    lines = [
        f"Composer named by a logistic regression on the frozen vector: **{scores['test_accuracy']:.1%}** of "
        f"{scores['clips']['test']} test clips of {scores['test_works']} works "
        f"({scores['confidence']:.0%} interval over works {low:.1%} to {high:.1%}; "
        f"macro-F1 {scores['test_macro_f1']:.2f}; majority class {scores['majority_accuracy']:.1%}).",
    ]
    if scores.get("temperature"):
        lines.append(
            f"Probabilities are calibrated on validation works (temperature {scores['temperature']:.2f}): test log "
            f"loss {scores['test_log_loss']:.2f} before, {scores['test_log_loss_calibrated']:.2f} after."
        )
    return lines + ([f"Few test works of {', '.join(few)}: of them the figure says little."] if few else [])
