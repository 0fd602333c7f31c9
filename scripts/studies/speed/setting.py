"""Where and how the batch on torch is measured: device, number type, batch sizes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

KINDS = ("cpu", "cuda")
LEARNED = "four_markets"


@dataclass(frozen=True)
class Setting:
    """Where and how to measure."""

    device: torch.device
    dtype: str
    batches: tuple[int, ...]
    repetitions: int
    compiled: bool  # also measure compiled steps, whose compiler needs half a minute for each batch

    @property
    def kind(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.device.type

    def note(self, batch: int, more: str = "") -> str:
        """Return what a figure was measured with."""
        where = (
            torch.cuda.get_device_name(self.device)
            if self.kind == "cuda"
            else f"{torch.get_num_threads()} threads"
        )
        return f"{where}, batch {batch:,}, {self.dtype}" + (f", {more}" if more else "")


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Return wall time of a function, until the device is done with it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def settings_of(setting: Setting, algorithm: str, compile: bool = False) -> Any:
    """Return the settings of the shipped configuration of device training, where and how ``setting`` says."""
    from agents.config import load_config

    wanted: dict[str, Any] = {
        "algorithm": algorithm,
        "device": setting.kind,
        "environment": {"scenario": LEARNED},
        "torch_threads": torch.get_num_threads(),
    }
    if setting.kind == "cpu":
        wanted |= {"num_envs": 256, "batch_size": 1024}  # the file's are for a GPU
    wanted["on_device.compile"] = compile
    return load_config("configs/agents/ppo_device.yaml", wanted)
