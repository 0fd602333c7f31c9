"""How a training went: the gain captured on validation episodes over minutes and over steps."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from gridai_env.arrays.types import Floats
from scripts.report.data import palette
from scripts.report.data.names import rounded, words
from scripts.report.data.numbers import percent, plural
from scripts.report.data.parts import Panel, Plot, Section
from scripts.report.data.run_folders import RunFolder
from scripts.report.drawing import drawing, stroke
from scripts.runs.command import InputError

STEP, SECONDS, GAIN = "time/total_timesteps", "time/seconds", "eval/gain_captured"


def train_sections(run: RunFolder) -> list[Section]:
    """Return the learning curve; raises InputError where no gain was watched or files are damaged."""
    table, stages = run.table("progress.csv", (STEP,)), _stages(run)
    if not (table.has(GAIN) and table.has(SECONDS)):
        raise InputError(
            f"{table.file}: no gain on validation episodes yet; train with evaluation and bounds"
        )

    steps, seconds, gain = (table.numbers(name) for name in (STEP, SECONDS, GAIN))
    seen = np.isfinite(gain)

    config, watched = run.record["config"], run.record["instances"]
    what = [config["policy"], config["algorithm"], words(config["environment"]["scenario"])]
    facts = {"what": ", ".join(what), "episodes": plural(len(watched), "validation episode")}
    plots = [
        _plot(seconds[seen] / 60.0, gain[seen], "minutes"),
        _plot(steps[seen], gain[seen], "environment steps"),
    ]
    after = ", ".join(f"{one['name']} {percent(one['gain_captured'])}" for one in stages)
    return [
        Section("learning", [Panel("learning", plots, notes=[f"After each stage: {after}."], facts=facts)])
    ]


def _stages(run: RunFolder) -> list[dict[str, Any]]:
    file = run.folder / "stages.json"
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))["stages"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); train again") from error


def _plot(x: Floats, gains: Floats, title: str) -> Plot:
    """Return the gain over what it took."""
    out = drawing(340, hovermode="closest", showlegend=False)
    hover = f"%{{y:.1f}} % after %{{x:,.4~g}} {title}<extra></extra>"
    out.add("learned", x=rounded(x), y=rounded(100.0 * gains), hovertemplate=hover)
    out.figure.add_hline(y=100.0, line=stroke(palette.INK, 1, dash="dot"), layer="below")
    out.figure.update_xaxes(title_text=title, rangemode="tozero")
    out.figure.update_yaxes(title_text="gain captured [%]")
    return out.plot(f"Gain captured on validation episodes over {title}")
