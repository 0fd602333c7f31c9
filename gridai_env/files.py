"""One file for named arrays and a JSON header, with a checksum: .npz without pickled objects."""

import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

HEADER = "header.json"
# What reading a damaged archive may raise: as a zip file, as one that is packed, as text of a header, as an array.
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, KeyError, EOFError, struct.error),
    *(ValueError, SyntaxError, TokenError, OverflowError, MemoryError),
)


class InstanceError(ValueError):
    """An instance cannot be made, stacked, saved or loaded; the message names what, why and what to do."""


def shipped_folder(kind: str) -> Path:
    """Return a folder of ``configs`` that is shipped: inside the package, or that of the checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "configs" / kind
    return inside if inside.is_dir() else package.parent / "configs" / kind


def digest(arrays: dict[str, np.ndarray]) -> str:
    """Return SHA-256 (hex) over names, types, shapes and values; the order of the arrays does not matter."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def write_archive(path: Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write header and arrays to ``path`` atomically."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder does not exist; make it first")
    text = json.dumps(header, sort_keys=True)
    checked = {**arrays, HEADER: np.frombuffer(text.encode(), dtype=np.uint8)}
    checksum = np.frombuffer(digest(checked).encode(), dtype=np.uint8)
    with atomic_write(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **checked, sha256=checksum)


def read_archive(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return header and arrays of a file that `write_archive` wrote.

    Raises FileNotFoundError, and InstanceError for a file of another kind or with a wrong checksum.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            # What is no array comes as bytes.
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such instance file; make one with Instance.save") from None
    except DAMAGED as error:
        raise InstanceError(
            f"{path}: not a readable instance file ({error}); save the instance again"
        ) from error
    missing = {HEADER, "sha256"} - arrays.keys()
    if missing:
        raise InstanceError(f"{path}: not an instance file (without {', '.join(sorted(missing))})")

    stored = arrays.pop("sha256").tobytes().decode(errors="replace")
    found = digest(arrays)
    if stored != found:
        raise InstanceError(
            f"{path}: checksum {found[:12]} does not match the stored {stored[:12]}: the file was changed or "
            "damaged; save the instance again"
        )
    header: dict[str, Any] = json.loads(arrays.pop(HEADER).tobytes())
    return header, arrays


def write_json(path: Path, record: Any, **style: Any) -> None:
    """Write a JSON file atomically; ``style``: keywords of `json.dumps`, by default an indent of 2."""
    write_text(path, json.dumps(record, **{"indent": 2} | style) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) atomically."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path, with the same ending, that atomically replaces ``path`` on success.

    Writers choose a format by the ending.
    """
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
