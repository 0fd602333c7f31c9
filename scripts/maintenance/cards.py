"""Write the model card of every shipped agent, as the Hugging Face hub has them.

    python -m scripts.maintenance.cards

Each folder ``configs/agents/pretrained/<scenario>/<kind>`` gets a ``README.md``, with the score that
``configs/benchmarks/<scenario>/test.csv`` holds (``scripts.evaluate --table``), and can then be uploaded as it is:
``huggingface_hub.upload_folder``.  Nothing is uploaded here.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from pydantic import Field

from gridai_env import IDS
from gridai_env.benchmarks.published import read_set, set_path
from gridai_env.files import write_text
from scripts.runs.command import CommandOptions, Folder, InputError, command, need_packages
from scripts.runs.folder import read_run
from scripts.studies.policies import pretrained_root

TEMPLATE = Path(__file__).with_name("card.md")
INSIDE = {
    "learned": "No rule is inside: all that it does was learned",
    "residual": "A rule is inside (`rule:merit_order`): what was learned corrects it",
    "ppo": "No rule is inside: PPO of Stable-Baselines3 on an MLP, the reference",
}


class CardOptions(CommandOptions):
    """Which agents get a card."""

    agents: Folder | None = Field(
        None, description="folder of <scenario>/<kind>/seed<N>; default: configs/agents/pretrained"
    )
    benchmarks: Folder | None = Field(
        None, description="folder of the benchmarks; default: configs/benchmarks"
    )


@command(CardOptions)
def main(options: CardOptions) -> int:
    """Write the cards."""
    need_packages("huggingface_hub", "jinja2")
    root = Path(options.agents or pretrained_root())
    folders = sorted({seed.parent for kind in INSIDE for seed in root.glob(f"*/{kind}/seed*")})
    if not folders:
        raise InputError(f"--agents {root}: no <scenario>/<kind>/seed<N> there, kind: {', '.join(INSIDE)}")
    benchmarks = Path(options.benchmarks) if options.benchmarks else None
    for folder in folders:
        write_text(folder / "README.md", card(folder, benchmarks))
        print(folder / "README.md")
    return 0


def card(folder: Path, benchmarks: Path | None = None) -> str:
    """Return the card of an agent; raise InputError where its runs or its score are missing."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    scenario, kind = folder.parts[-2:]
    seeds = sorted(folder.glob("seed*"))
    runs = [read_run(seed, "train") for seed in seeds]
    stages = [json.loads((seed / "stages.json").read_text(encoding="utf-8"))["stages"] for seed in seeds]
    minutes = sorted(sum(stage["seconds"] for stage in own) / 60.0 for own in stages)

    score, frozen = _score(folder, len(seeds), benchmarks), read_set(scenario, "test", benchmarks)
    gain, low, high = (round(float(score[f"gain_captured{end}"]), 4) for end in ("", "_low", "_high"))
    result = EvalResult(
        task_type="reinforcement-learning", task_name="energy-aware placement of AI work", dataset_split="test",
        dataset_type={own: name for name, own in IDS.items()}.get(scenario, scenario),
        dataset_name=f"{scenario}, frozen set", dataset_revision=frozen.hash,
        metric_type="gain_captured", metric_value=gain,
        metric_name="gain captured, median over training seeds", metric_args={"low_95": low, "high_95": high},
    )  # fmt: skip
    data = ModelCardData(
        license="mit", library_name="stable-baselines3", model_name=f"gridai-{scenario}-{kind}",
        tags=["reinforcement-learning", "stable-baselines3", "gridai-env", scenario, kind], eval_results=[result],
    )  # fmt: skip
    facts: dict[str, Any] = {
        "scenario": scenario, "kind": kind, "inside": INSIDE[kind], "run": runs[0], "minutes": minutes, "score": score,
        "commits": sorted({str(run["commit"]) for run in runs}), "seeds": [seed.name for seed in seeds],
        "gain": f"{gain:.1%} [{low:.1%}, {high:.1%}]", "set_hash": frozen.hash,
    }  # fmt: skip
    return str(ModelCard.from_template(data, template_str=TEMPLATE.read_text(encoding="utf-8"), **facts))


def _score(folder: Path, seeds: int, benchmarks: Path | None) -> dict[str, str]:
    """Return the row of an agent in the table of its test set."""
    scenario, kind = folder.parts[-2:]
    table, name = set_path(scenario, "test", benchmarks).with_suffix(".csv"), f"{kind}:pretrained"
    with table.open(encoding="utf-8", newline="") as file:
        found = [row for row in csv.DictReader(file) if row["policy"] == name]
    if not found or int(found[0]["runs"]) != seeds:
        raise InputError(
            f"{table}: no row {name!r} of {seeds} training seeds; run: python -m scripts.evaluate --policy {name} "
            f"--scenario {scenario} --table"
        )
    return found[0]


if __name__ == "__main__":
    raise SystemExit(main())
