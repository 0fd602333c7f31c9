"""The check of a GPU, tried on the CPU: what is written when, and what it says without a device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra 'rl'")

import torch
from generated_pages import gpu_check as page

from scripts import gpu_check
from scripts.studies.speed import gpu
from scripts.studies.speed.gpu import FULL, QUICK, Part, parts, speed_and_memory
from scripts.studies.speed.measure import Figure
from scripts.studies.speed.setting import Setting

CPU = torch.device("cpu")


def test_all_parts_run_and_precision_is_that_of_the_types(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    assert gpu_check.main(["--device", "cpu", "--quick", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    values = {one["name"]: one["value"] for one in found["figures"]}
    assert list(values) == [
        "TwoSites, float64 from NumPy",
        "TwoSites, float32 from float64",
        "simulator of two_sites, eager, batch 4",
        "learned.yaml, eager, batch 4",
        "ppo_device.yaml, eager, batch 4",
    ]
    double, single, *speeds = values.values()
    assert double <= 1e-12 and 0.0 < single < 1e-5 and min(speeds) > 0.0
    assert found["device"] == "cpu" and found["commit"]
    assert torch.get_float32_matmul_precision() == "highest"
    assert "| TwoSites, float32 from float64 | " in page(out)


def test_the_full_check_has_five_ids_and_batches_from_1024_to_65536() -> None:
    names = [part.name for part in parts(CPU, FULL)]
    assert sum(name.endswith("precision") for name in names) == 5
    for how in ("eager", "compiled"):
        for batch in ("1,024", "4,096", "16,384", "65,536"):
            assert f"simulator of global, {how}, batch {batch}" in names
    assert len(names) == len(set(names)) == 5 + 2 * 11
    assert len(list(parts(CPU, QUICK))) == 4


def test_parts_without_time_are_named_and_every_part_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "found.json"

    def one(name: str) -> Iterator[Figure]:
        yield Figure(name, 1.0, "1")

    def broken() -> Iterator[Figure]:
        raise RuntimeError("killed")

    def some(device: torch.device, sizes: gpu.Sizes) -> Iterator[Part]:
        yield Part("cheap", "1", 0, partial(one, "cheap"))
        yield Part("dear", "s", 1000, partial(one, "dear"))
        yield Part("fatal", "1", 0, broken)

    monkeypatch.setattr(gpu, "parts", some)
    with pytest.raises(RuntimeError):
        gpu_check.main(["--device", "cpu", "--budget-s", "100", "--out", str(out)])
    found = [(one["name"], one["value"], one["note"]) for one in json.loads(out.read_text())["figures"]]
    assert found == [("cheap", 1.0, ""), ("dear", None, "no time left")]
    assert "| dear |  | s | no time left |" in page(out)


def test_too_little_memory_is_noted_and_nothing_else_is() -> None:
    def full(batch: int) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def wrong(batch: int) -> float:
        raise RuntimeError("another fault")

    setting = Setting(CPU, "float32", (4,), 1, False)
    (found,) = speed_and_memory(setting, "all", 4, full)
    assert found.value is None and found.note == "out of memory"
    with pytest.raises(RuntimeError, match="another fault"):
        list(speed_and_memory(setting, "all", 4, wrong))


def test_without_a_device_there_is_one_line_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = tmp_path / "found.json"
    assert gpu_check.main(["--out", str(out)]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "needs a CUDA device" in said.err and not said.out
    assert not out.exists()
    assert page(out) == "No CUDA device has been measured: this table is empty.\n"
