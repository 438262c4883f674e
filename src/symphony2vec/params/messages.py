"""Validation errors of params.yaml as one clear line each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

# Keys of earlier versions -> their present name.
_TEMPORAL = {
    "adversary": "adversarial_weight",
    "reconstruction": "reconstruction_weight",
    "contrast": "contrastive_weight",
    "frames": "crop_frames",
    "masked_bins": "mask_bins",
    "masked_frames": "mask_frames",
    "shifted_bins": "shift_bins",
    "level": "level_shift",
    "tempo": "time_stretch",
    "played": "generator_batch",
    "average": "ema_decay",
}  # fields of a setting of the temporal ALI

RENAMED = {
    "seeds": "folds",
    "audio.soundfont": "audio.soundfonts",
    "clips.splits": "folds",
    "clips.leak_seeds": "folds",
    "clips.seed": "folds",
    "clips.group_by": "folds",
    "clips.leakage_folds": "folds",
    "clips.first_seed": "folds",
    "clips.alike_works": "clips.ambiguous_works",
    "probe.strengths": "probe.inverse_regularisation",
    "meaning.strengths": "meaning.inverse_regularisation",
    "probe.bootstrap_draws": "probe.bootstrap_resamples",
    "meaning.shown": "meaning.profile_models",
    "registry.minimum_draws": "registry.minimum_folds",
    "study.averaged": "study.averaged_probes",
    "study.repeated": "study.repeated_trials",
    "temporal.parts": "temporal.ablations",
    **{
        f"{section}.{old}": f"{section}.{new}"
        for section in ("temporal.full", "study.temporal")
        for old, new in _TEMPORAL.items()
    },
}


def describe(error: Any, keys: Iterable[str]) -> str:
    """Return one line for an error of pydantic.

    Args:
        error: an item of `ValidationError.errors()`.
        keys: the dotted keys that exist, from which the closest to an unknown one is suggested.
    """
    key = ".".join(str(part) for part in error["loc"]) or "params"
    if error["type"] == "extra_forbidden":
        return f"'{key}' is called '{RENAMED[key]}' now" if key in RENAMED else f"unknown key '{key}'{_hint(key, keys)}"
    if error["type"] == "missing":
        return f"missing key '{key}'"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    value = "" if isinstance(error["input"], dict) else f" is {error['input']!r}"
    return f"'{key}'{value}: {message}"


def _hint(key: str, keys: Iterable[str]) -> str:
    """The closest key: by the whole name, else by its last part."""
    last_parts = {name: name.rpartition(".")[2] for name in keys}
    last = key.rpartition(".")[2]
    closest = difflib.get_close_matches(key, last_parts, n=1, cutoff=0.6)
    closest = closest or [name for name, part in last_parts.items() if part == last]
    closest = closest or [
        name for name, part in last_parts.items() if difflib.get_close_matches(last, [part], cutoff=0.7)
    ]
    return f" (did you mean '{closest[0]}'?)" if closest else ""
