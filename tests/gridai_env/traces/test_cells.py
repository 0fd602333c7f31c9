"""Delimited text as spreadsheets write it: separators, decimal commas, encodings, suffixes, blanks."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from gridai_env.traces import TraceError
from gridai_env.traces.bounds import POSSIBLE, USUAL_MEAN
from gridai_env.traces.files.cells import check_suffix, text_rows
from tests.support.calibration_statistics import observed_statistics

PLAIN = "utc,zone,price\n2024-01-01T00:00Z,A,1.5\n2024-01-01T01:00Z,A,-20\n"
WANTED = [
    ["utc", "zone", "price"],
    ["2024-01-01T00:00Z", "A", "1.5"],
    ["2024-01-01T01:00Z", "A", "-20"],
]


def read(path: Path) -> list[list[str]]:
    with text_rows(path) as (header, rows):
        return [header, *(row for _, row in rows)]


def comma(text: str, separator: str) -> str:
    return text.replace(",", separator).replace("1.5", "1,5")


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace(",", " , ", 2).encode(),
        PLAIN.replace(",", ";").encode(),
        comma(PLAIN, ";").encode(),
        comma(PLAIN, "\t").encode("utf-16"),
        comma(PLAIN, "|").encode(),
    ],
)
def test_all_dialects_are_the_same_rows(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(content)
    assert read(path) == WANTED
    packed = tmp_path / "own.CSV.GZ"
    packed.write_bytes(gzip.compress(content))
    assert read(packed) == WANTED and not check_suffix(packed)


def test_thousands_points_beside_decimal_commas_are_read(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("price;carbon\n1.234,50;-1.000.000,25\n1,5e3;,\n")
    assert read(path)[1:] == [["1234.50", "-1000000.25"], ["1.5e3", ","]]


def test_a_file_with_decimal_commas_and_points_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("price;carbon\n1,5;2\n3;4\n1.5;2\n")
    with pytest.raises(TraceError, match="line 2 has a decimal comma, line 4 a decimal point; use one"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("price €,zone\n1,A\n".encode("cp1252"), "own.csv: cannot be read as text: neither UTF-8"),
        (b"\x7f\0\0\xd8\0\0", "neither UTF-8 nor UTF-16; save the table as CSV in UTF-8$"),
        (gzip.compress(PLAIN.encode(), mtime=0), "looks like gzip; name it own.csv.gz"),
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
    ],
)
def test_what_is_no_text_is_refused_with_what_to_do(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=message):
        read(path)


def test_usual_means_hold_those_of_the_calibrated_zones() -> None:
    names = ("price", "carbon", "carbon", "wetbulb", "pv", "wind")
    statistics = observed_statistics()
    for (column, (low, high)), name in zip(USUAL_MEAN.items(), names, strict=True):
        means = [s["mean"] for (_, variable), s in statistics.items() if variable == name]
        assert len(means) == 16 and low < min(means) and max(means) < high
        assert POSSIBLE[column][0] <= low and high <= POSSIBLE[column][1]
