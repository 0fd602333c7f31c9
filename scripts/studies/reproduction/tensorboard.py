"""A reproduction in TensorBoard: headlines, and quantities against the assumptions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from scripts.runs.tables import Row
from scripts.runs.tensorboard import EventWriter

STEP_SCALE = 1000  # TensorBoard's axis holds whole numbers: value x 1000


def write_board(folder: Path, headlines: Sequence[Row], rows: Sequence[Row]) -> None:
    """Write one TensorBoard run per model and assumption: quantities against its value (x 1000)."""
    now = time.time()
    with EventWriter(folder / "headlines") as writer:
        writer.scalars({f"headline/{r['model']}/{r['quantity']}": r["ours"] for r in headlines}, 0, now)
    for model, parameter in dict.fromkeys((row["model"], row["parameter"]) for row in rows):
        with EventWriter(folder / f"{model}_{parameter}") as writer:
            for row in rows:
                if (row["model"], row["parameter"]) == (model, parameter):
                    tag = f"sensitivity/{row['quantity']}"
                    writer.scalars({tag: row["ours"]}, round(STEP_SCALE * row["value"]), now)
