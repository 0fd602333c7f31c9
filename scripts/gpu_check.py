"""What a GPU does with this project, in minutes and without network: precision, speed, memory, as one JSON.

Cheap parts come first.  The file is written after every part; a part that finds too little time left is named in it.
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from gridai_env.files import write_json
from scripts.runs.arguments import Count
from scripts.runs.command import CommandOptions, InputError, command, need_packages
from scripts.runs.folder import check_out, commit, versions
from scripts.studies.speed.measure import Figure


class GpuOptions(CommandOptions):
    """Where to measure, and for how long."""

    device: Literal["cuda", "cpu"] = Field("cuda", description="cpu: to try the command itself")
    quick: bool = Field(False, description="the smallest sizes, to try the command itself")
    budget_s: Count = Field(480, description="seconds after which nothing more is begun")
    out: Path = Field(Path("gpu_check.json"), description="the file to write")


@command(GpuOptions)
def main(options: GpuOptions) -> int:
    """Measure part after part, print and write."""
    begin = time.monotonic()
    need_packages("torch", "stable_baselines3")
    check_out(options.out, "gpu_check.json")
    import torch

    from scripts.studies.speed.gpu import FULL, QUICK, parts

    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError(f"gpu_check needs a CUDA device: torch {torch.__version__} finds none here")
    figures: list[Figure] = []

    for part in parts(torch.device(options.device), QUICK if options.quick else FULL):
        left_s = options.budget_s - (time.monotonic() - begin)
        late = Figure(part.name, None, part.unit, "no time left")
        for figure in [late] if left_s < part.needs_s else part.figures():
            figures.append(figure)
            print(figure.line(), flush=True)
        about = machine(options.device) | {"seconds": round(time.monotonic() - begin)}
        write_json(options.out, about | {"figures": [asdict(figure) for figure in figures]})
    return 0


def machine(device: str) -> dict[str, Any]:
    """Return what the figures were measured with."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return {"device": name, "cuda": torch.version.cuda, "commit": commit(), **versions()}


if __name__ == "__main__":
    raise SystemExit(main())
