"""The model card of a package: purpose, training data, accuracy and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CROP_NETWORKS = ("CropEncoder", "EncoderClassifier")  # of ALI
MIDDLE_CROP = (
    "- Only the middle crop of each clip, 32 bands by 32 frames, is used; ALI's readout `crops` uses the whole clip."
)
NOT_PROBED = "Not probed yet: the stage `probe` adds the accuracy."
REPRESENTATION_NAMES = {"mel": "a mel spectrogram", "mfcc": "MFCC", "chroma": "a chromagram"}


def text(config: Mapping[str, Any], scores: Mapping[str, Any] | None) -> str:
    """Return the card as Markdown.

    Args:
        config: the plain values of `contents.Config`.
        scores: the probe's scores for this readout (see `symphony2vec.evaluation.probe`), once it has run.
    """
    subject, frontend, build = config["subject"], config["frontend"], config["build"]
    output = "one probability per composer" if build["method"].startswith("probabilities") else "one vector"
    uses_crop = "crop" in build or (build["name"] in CROP_NETWORKS and not config["readout"])
    name = f"{subject['model']}-{subject['representation']}{' ' + config['readout'] if config['readout'] else ''}"
    return "\n".join(
        [
            f"# {', '.join(part for part in (name, subject['fold']) if part)}",
            "",
            f"A model of symphony2vec (stage `{subject['stage']}`). Input: {frontend['duration_s']:g} seconds of mono "
            f"sound at {frontend['sample_rate_hz']} Hz, as {REPRESENTATION_NAMES[frontend['representation']]}. "
            f"Output: {output}.",
            "",
            "## Data",
            *_data(config["data"], config["data"].get("fold", subject["fold"])),
            "",
            "## Accuracy",
            *(_accuracy(scores) if scores else [NOT_PROBED]),
            "",
            "## Intended use",
            "Comparing passages and recordings of orchestral music: similarity search, maps of a collection,",
            "features for a small classifier.",
            "",
            "## Limits",
            *([MIDDLE_CROP] if uses_crop else []),
            "- It only distinguishes the composers it was trained on; for other music its probabilities mean nothing.",
            "- It was trained on the music above, in that sound. For other instruments, halls, voices or recordings",
            "  its accuracy is unknown, and probably lower.",
            "- It cannot settle questions of authorship: at the accuracy above it is wrong too often.",
            "- Recordings are normalised to the same loudness first, so the vectors do not encode absolute level.",
            "",
        ]
    )


def _data(data: Mapping[str, Any], fold: str) -> list[str]:
    is_synthesized = any("score" in licence["kind"] for licence in data["licences"])
    composers = ", ".join(f"{name} ({count} clips)" for name, count in data["composers"].items())
    splits = ", ".join(
        f"{name} {split['clips']} clips of {split['works']} works" for name, split in data["sides"].items()
    )
    return [
        f"Corpus `{data['corpus']}`{' (synthesized from scores)' if is_synthesized else ''}: {composers}.",
        f"Fold {fold}: {splits}.",
        "",
        "Licences:",
        *(f"- {entry['licence'] or 'none stated'} ({entry['movements']} movements)" for entry in data["licences"]),
    ]


def _level(scores: Mapping[str, Any], level: str) -> str:
    accuracy, low, high = (scores[f"test_{level}_accuracy{end}"] for end in ("", "_low", "_high"))
    items = scores[f"test_{level}s"]
    return (
        f"Of whole {level}s, by the mean log probability over their clips: **{accuracy:.1%}** of {items} "
        f"({low:.1%} to {high:.1%}; majority class {scores[f'majority_{level}_accuracy']:.1%})."
    )


def _accuracy(scores: Mapping[str, Any]) -> list[str]:
    low, high = scores["test_accuracy_low"], scores["test_accuracy_high"]
    lines = [
        f"Composer classification by logistic regression on the vector: accuracy "
        f"**{scores['test_accuracy']:.1%}** on {scores['clips']['test']} test clips of {scores['test_works']} works "
        f"({scores['confidence']:.0%} confidence interval over works {low:.1%} to {high:.1%}; "
        f"macro-F1 {scores['test_macro_f1']:.2f}; majority class {scores['majority_accuracy']:.1%}).",
        *(_level(scores, level) for level in ("movement", "work")),
    ]
    if scores.get("temperature"):
        lines.append(
            f"Probabilities are calibrated on validation works (temperature {scores['temperature']:.2f}): test log "
            f"loss {scores['test_log_loss']:.2f} before, {scores['test_log_loss_calibrated']:.2f} after."
        )
    if scores["few_test_works"]:
        lines.append(f"Few test works of {', '.join(scores['few_test_works'])}: the estimate for them is unreliable.")
    return lines
