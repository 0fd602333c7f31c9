"""The table of forecasts: its figures on a made-up file, and what it says of bad input."""

import csv
from pathlib import Path

import numpy as np
import pytest

from scripts import forecasts

FIRST, HOURS = np.datetime64("2023-01-01T00", "h"), 24 * 90


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of prices far above the calibrated ones, with memory, a shift and spikes."""
    rng, memory = np.random.default_rng(1), np.zeros(HOURS)
    for h in range(1, HOURS):
        memory[h] = 0.7 * memory[h - 1] + 15 * rng.standard_normal()
    price = 150 + 20 * np.sin(np.arange(HOURS) / 24 * 2 * np.pi) + memory
    price[HOURS // 2 :] += 60
    price += 300 * (rng.random(HOURS) < 0.005)
    lines = ["utc,zone,price_usd_per_mwh,carbon_average_kg_per_mwh"]
    for zone in ("DE-LU", "ELSEWHERE"):
        lines += [f"{FIRST + h}:00Z,{zone},{price[h]:.3f},300" for h in range(HOURS)]
    file = tmp_path_factory.mktemp("traces") / "t.csv"
    file.write_text("\n".join(lines))
    return file


def test_forecasts_of_a_shifted_year_have_no_bias_and_beat_persistence(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--traces", str(path), "--years", "2023", "--episodes", "40", "--csv", str(tmp_path / "t.csv")]
    assert forecasts.main(words) == 0
    assert "ELSEWHERE" in capsys.readouterr().out
    with open(tmp_path / "t.csv", newline="") as file:
        rows = {
            (r["zone"], r["kind"], float(r["lead_h"])): r for r in csv.DictReader(file) if r["quarter"] == "1"
        }
    for zone in ("DE-LU", "ELSEWHERE"):
        for lead in (1.0, 6.0, 12.0):
            own, last, told = (rows[zone, kind, lead] for kind in ("day_ahead", "persistence", "published"))
            assert abs(float(own["bias_usd_per_mwh"])) < 0.03 * float(own["mean_usd_per_mwh"])
            for figure in ("rmse_usd_per_mwh", "mae_usd_per_mwh"):
                assert float(told[figure]) < float(own[figure])
                assert lead < 6 or float(own[figure]) < float(last[figure])
            assert abs(float(own["skill"]) - float(own["declared_skill"])) < 0.15
    assert float(rows["DE-LU", "published", 1.0]["rmse_usd_per_mwh"]) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--zones", "NOWHERE"], "--zones NOWHERE: not in"),
        (["--years", "2023", "--episodes", "0"], "episodes"),
    ],
)
def test_bad_input(path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        forecasts.main(
            ["--traces", str(path), *(words if "--years" in words else ["--years", "2023", *words])]
        )
        == 2
    )
    assert message in capsys.readouterr().err
