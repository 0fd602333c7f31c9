"""Write the model card of every shipped agent, as the Hugging Face hub has them.

    python -m scripts.maintenance.cards

Each folder ``configs/agents/pretrained/<scenario>/<kind>`` gets a ``README.md``, with the score that
``configs/benchmarks/<scenario>/test.csv`` holds (``scripts.evaluate --table``), and can then be uploaded as it is:
``huggingface_hub.upload_folder``.  Nothing is uploaded here.  The text is that of ``card.md``.
"""

from pathlib import Path

from gridai_env import IDS
from gridai_env.benchmarks.published import read_set, set_path
from gridai_env.files import write_text
from scripts.runs.command import CommandOptions, InputError, command, need_packages
from scripts.runs.folder import read_run
from scripts.runs.tables import read_rows
from scripts.studies.policies import pretrained_root

TEMPLATE = Path(__file__).with_name("card.md")


@command(CommandOptions)
def main(_: CommandOptions) -> int:
    """Write the cards."""
    need_packages("huggingface_hub", "jinja2")
    folders = sorted({seed.parent for seed in pretrained_root().glob("*/*/seed*")})
    if not folders:
        raise InputError(f"{pretrained_root()}: no agent is shipped; see scripts.maintenance.ship")
    for folder in folders:
        write_text(folder / "README.md", card(folder))
        print(folder / "README.md")
    return 0


def card(folder: Path, benchmarks: Path | None = None) -> str:
    """Return the card of an agent; raise InputError where its score is missing."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    from agents.training.curves import PROGRESS, SECONDS

    scenario, kind = folder.parts[-2:]
    seeds = sorted(folder.glob("seed*"))
    runs = [read_run(seed, "train") for seed in seeds]
    minutes = [float(read_rows(seed / PROGRESS)[-1][SECONDS]) / 60.0 for seed in seeds]

    frozen = read_set(scenario, "test", benchmarks)
    score = _score(
        set_path(scenario, "test", benchmarks).with_suffix(".csv"), f"{kind}:pretrained", len(seeds)
    )
    gain, low, high = (round(float(score[f"gain_captured{end}"]), 4) for end in ("", "_low", "_high"))
    result = EvalResult(
        task_type="reinforcement-learning", dataset_name=f"{scenario}, frozen test set", dataset_revision=frozen.hash,
        dataset_type={own: name for name, own in IDS.items()}.get(scenario, scenario), dataset_split="test",
        metric_type="gain_captured", metric_value=gain, metric_args={"low_95": low, "high_95": high},
    )  # fmt: skip
    data = ModelCardData(
        license="mit", library_name="stable-baselines3", model_name=f"gridai-{scenario}-{kind}", eval_results=[result],
        tags=["reinforcement-learning", "stable-baselines3", "gridai-env", scenario, kind],
    )  # fmt: skip
    first = [run["config"].get("start_from") for run in runs]
    first_shipped = all(model and (folder.parents[1] / model).is_file() for model in first)
    return str(ModelCard.from_template(
        data, str(TEMPLATE), scenario=scenario, kind=kind, seeds=seeds, runs=runs, minutes=minutes, score=score,
        gain=f"{gain:.1%} [{low:.1%}, {high:.1%}]", set_hash=frozen.hash,
        first_shipped=first_shipped,
    ))  # fmt: skip


def _score(table: Path, name: str, seeds: int) -> dict[str, str]:
    """Return the row of an agent in the table of a test set."""
    for row in read_rows(table):
        if (row["policy"], row["runs"]) == (name, str(seeds)):
            return row
    raise InputError(f"{table}: no row {name!r} of {seeds} training seeds; see scripts.evaluate --table")


if __name__ == "__main__":
    raise SystemExit(main())
