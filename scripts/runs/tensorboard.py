"""TensorBoard event files, written by the tensorboard package alone: scalars, pictures and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np


def is_installed() -> bool:
    """Return whether event files can be written here."""
    return find_spec("tensorboard") is not None


Layout = Mapping[str, Mapping[str, Sequence[str]]]


class EventWriter:
    """One TensorBoard run.  Use as a context: the file is complete when it closes."""

    def __init__(self, folder: Path) -> None:
        """Open an event file in ``folder``; raises ModuleNotFoundError where tensorboard is missing."""
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._metadata = summary_pb2.SummaryMetadata
        self._tensor, self._shape = tensor_pb2.TensorProto, tensor_shape_pb2.TensorShapeProto
        self._string = types_pb2.DT_STRING
        self._writer = EventFileWriter(str(folder), max_queue_size=1000, flush_secs=120)

    def scalars(self, values: Mapping[str, float], step: int, wall_time_s: float) -> None:
        """Add scalars by tag at ``step``; ``wall_time_s`` (UTC since 1970) is what the axis "wall" shows."""
        summary = self._summary()
        for tag, value in values.items():
            if np.isfinite(value):
                summary.value.add(tag=tag, simple_value=float(value))
        self._add(summary, step, wall_time_s)

    def picture(self, tag: str, png: bytes, size: tuple[int, int], step: int, wall_time_s: float) -> None:
        """Add a PNG of ``size`` (width, height)."""
        summary = self._summary()
        image = self._summary.Image(encoded_image_string=png, width=size[0], height=size[1], colorspace=4)
        summary.value.add(tag=tag, image=image)
        self._add(summary, step, wall_time_s)

    def text(self, tag: str, text: str, wall_time_s: float) -> None:
        """Add text (Markdown)."""
        self._for_plugin("text", f"{tag}/text_summary", text.encode(), wall_time_s)

    def layout(self, groups: Layout, wall_time_s: float) -> None:
        """Pin the order of charts under "Custom scalars": charts and the tags of each (expressions), by group."""
        from tensorboard.plugins.custom_scalar import layout_pb2

        pinned = layout_pb2.Layout()
        for group, charts in groups.items():
            category = pinned.category.add(title=group)
            for title, tags in charts.items():
                category.chart.add(title=title, multiline=layout_pb2.MultilineChartContent(tag=tags))
        content = pinned.SerializeToString()
        self._for_plugin("custom_scalars", "custom_scalars__config__", content, wall_time_s)

    def settings(self, config: Mapping[str, Any], wall_time_s: float) -> None:
        """Add settings as a Markdown table."""
        lines = [
            "| setting | value |",
            "|---|---|",
            *(f"| {key} | {value} |" for key, value in config.items()),
        ]
        self.text("config", "\n".join(lines), wall_time_s)

    def _for_plugin(self, plugin: str, tag: str, content: bytes, wall_time_s: float) -> None:
        """Add content that a plugin of TensorBoard shows."""
        shape = self._shape(dim=[self._shape.Dim(size=1)])
        tensor = self._tensor(dtype=self._string, string_val=[content], tensor_shape=shape)
        metadata = self._metadata(plugin_data=self._metadata.PluginData(plugin_name=plugin))
        summary = self._summary()
        summary.value.add(tag=tag, metadata=metadata, tensor=tensor)
        self._add(summary, 0, wall_time_s)

    def _add(self, summary: Any, step: int, wall_time_s: float) -> None:
        self._writer.add_event(self._event(wall_time=wall_time_s, step=step, summary=summary))

    def flush(self) -> None:
        """Write all so far to disk."""
        self._writer.flush()

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()
