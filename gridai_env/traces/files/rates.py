"""Windowed request rates: one row per model and window (the columns of the totals of ServeGen, arXiv:2505.09999).

``t_s,model,req_per_s,output_tokens_mean`` and ``input_tokens_mean`` or, for multimodal models, the means of text,
image, audio and video tokens, which are added.  ``t_s`` counts seconds from local midnight of the trace's first
day; dates and weekdays are not published.  A window is a hole where the rate is below `HOLE` of the model's
median (the collection stopped), where the token means are empty, or where it is missing: holes stay holes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.cells import number, text_rows
from gridai_env.traces.files.requests import TokenMinutes

COLUMNS = ("t_s", "model", "req_per_s", "output_tokens_mean")
INPUT = "input_tokens_mean"
MODALITIES = ("text_tokens_mean", "image_tokens_mean", "audio_tokens_mean", "video_tokens_mean")
HOLE = 0.05  # of the model's median rate
MOST_RATE = 1e7
MOST_TOKENS = 1e7
LONGEST_S = 1e9


def read_windows(path: Path, model: str | None) -> TokenMinutes:
    """Read one model of a file of windowed rates; ``model`` None is enough where the file holds one.

    Raises TraceError for an unknown model, unsorted or unequal windows, and numbers out of range.
    """
    with text_rows(path) as (header, rows):
        by_model = _by_model(path, header, rows)
    if not by_model:
        raise TraceError(f"{path}: no rows below the header")
    if model is None and len(by_model) > 1:
        raise TraceError(f"{path}: holds the models {', '.join(by_model)}; choose one with model=")
    name = next(iter(by_model)) if model is None else model
    if name not in by_model:
        raise TraceError(f"{path}: model = {name!r} is not in the file; it has {', '.join(by_model)}")
    return _by_minute(path, name, np.array(by_model[name]))


def _by_model(
    path: Path, header: list[str], rows: Iterator[tuple[int, list[str]]]
) -> dict[str, list[tuple[float, float, float, float]]]:
    """Return (t_s, requests/s, input tokens, output tokens) of each row, by model; NaN where empty."""
    at = {name: header.index(name) for name in (*COLUMNS, INPUT, *MODALITIES) if name in header}
    out: dict[str, list[tuple[float, float, float, float]]] = {}
    for line, row in rows:
        cells = {name: row[i].strip() for name, i in at.items()}

        def mean(name: str, line: int = line, cells: dict[str, str] = cells) -> float:
            text = cells.get(name, "")
            return number(path, line, name, text, 0, MOST_TOKENS) if text else float("nan")

        rate = number(path, line, "req_per_s", cells["req_per_s"], 0, MOST_RATE)
        t_s = number(path, line, "t_s", cells["t_s"], 0, LONGEST_S)
        entry = (t_s, rate, _input_tokens(mean(INPUT), [mean(name) for name in MODALITIES]), mean(COLUMNS[3]))
        out.setdefault(cells["model"], []).append(entry)
    return out


def _input_tokens(given: float, parts: list[float]) -> float:
    """Return the input tokens: as given, else the sum of the modalities that are given (text must be)."""
    if not np.isnan(given):
        return given
    return float("nan") if np.isnan(parts[0]) else float(np.nansum(parts))


def _step_s(path: Path, model: str, t_s: Float[Floats, " n"]) -> float:
    """Return the length of the windows; raises TraceError where they are not sorted, equal and whole minutes."""
    if len(t_s) < 2:
        raise TraceError(f"{path}: model {model!r} has {len(t_s)} window; at least two are needed")
    gaps = np.diff(t_s)
    if (gaps <= 0).any():
        at = t_s[1:][gaps <= 0][0]
        raise TraceError(
            f"{path}: model {model!r}: t_s = {at:g} does not come after the row before; sort, no doubles"
        )

    step_s = float(gaps.min())
    if step_s % 60 or (t_s % 60).any() or (gaps % step_s).any():
        raise TraceError(
            f"{path}: model {model!r}: windows must be equal and whole minutes, found {step_s:g} s"
        )
    return step_s


def _by_minute(path: Path, model: str, windows: Float[Floats, "n 4"]) -> TokenMinutes:
    t_s, rate, prompt, generated = windows.T
    step_s = _step_s(path, model, t_s)
    place = np.round((t_s - t_s[0]) / step_s).astype(np.int64)
    good = (rate >= HOLE * np.median(rate)) & np.isfinite(prompt) & np.isfinite(generated)

    def spread(per_s: Float[Floats, " n"]) -> Float[Floats, " M"]:
        """Return amounts per minute of rates per second; NaN in holes."""
        dense = np.full(place[-1] + 1, np.nan)
        dense[place[good]] = per_s[good] * 60.0
        return np.repeat(dense, round(step_s / 60))

    return TokenMinutes(
        first_min=round(t_s[0] / 60),
        stamped=False,
        requests=spread(rate),
        context_tokens=spread(rate * prompt),
        generated_tokens=spread(rate * generated),
        images=None,
    )
