"""Folders and files that appear whole or not at all, whatever kills their writer."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

import psutil


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Fill the folder that is given; when the block ends well, it is on the disk and becomes `target` in one step.

    Raises:
        FileExistsError: `target` was there first; it is left as it is.
    """
    token = secrets.token_hex(4)
    building = target.with_name(f".{target.name}.{token}.{os.getpid()}")
    building.mkdir(parents=True)
    try:
        yield building
        for path in (*building.iterdir(), building):
            _sync(path)
        _rename(building, target)
        _sync(target.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[BufferedRandom]:
    """A file to fill; when the block ends well, it is on the disk and takes the place of `path` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def is_abandoned(building: Path) -> bool:
    """Whether the writer of a folder that was never finished is gone.

    In a container the same pid comes back with every start: a process younger than the folder is not its writer.
    """
    try:
        writer = psutil.Process(int(building.name.rpartition(".")[2]))
        return writer.create_time() > building.stat().st_mtime + 1.0
    except (ValueError, psutil.NoSuchProcess):
        return True
    except FileNotFoundError:
        return False


def _rename(building: Path, target: Path) -> None:
    try:
        building.rename(target)
    except OSError as error:
        if target.is_dir():
            raise FileExistsError(f"{target} was written by another process first") from error
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
