"""Paths that a user names, and files and folders that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LONG_AGO = 86400  # seconds after which no process is still writing the same file


class FolderError(OSError, ValueError):
    """A folder to which nothing can be written; the message names it."""


def path_of(value: str | os.PathLike, name: str) -> Path:
    """A value as a path, with ``~`` as the user's home.

    Parameters
    ----------
    value : text, or a path.
    name : of the argument, for the error.

    Raises
    ------
    ValueError : naming the argument, for what cannot be a path.
    """
    text = os.fsdecode(value)
    if not text.strip():
        raise ValueError(f"{name} must be a path, got an empty one")
    try:
        text.encode()  # bytes of a name in another encoding can be in no notebook and no JSON file
        if "\0" in text:
            raise ValueError("it holds a null character")
        path = Path(text).expanduser()
        try:
            path.lstat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise ValueError("a name in it is too long") from error
        return path
    except (ValueError, RuntimeError) as error:
        said = "it is not Unicode" if isinstance(error, UnicodeError) else str(error)
        raise ValueError(f"{name} must be a path that can be used, got {text!a}: {said}") from error


def make_folder(value: str | os.PathLike, name: str) -> Path:
    """A value as the path of a folder, which is made if there is none.

    Parameters
    ----------
    value, name : as for ``path_of``.

    Raises
    ------
    ValueError : naming the argument, for what cannot be a path.
    FolderError : naming the argument, if nothing can be written to it.
    """
    path = path_of(value, name)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said = "which is a file" if path.is_file() else f"which cannot be made: {error.strerror}"
        raise FolderError(f"{name} must be a folder, got {path}, {said}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise FolderError(f"{name} must be a folder that can be written to, got {path}, which cannot")
    return path


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write a file or a folder to, which takes the place of ``path`` at the end, at once.

    Nothing stays of it where writing fails; what a killed process left beside it is removed.

    Parameters
    ----------
    path : of the file or folder to be; its folder is made if there is none.

    Raises
    ------
    OSError : naming ``path``, if writing fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_parts(path.parent)
    part = part_of(path)
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise (OSError(error.errno, error.strerror, str(path)) if error.errno else error) from error
    finally:
        remove(part)


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, ``aside``."""
    with aside(path) as part:
        part.write_text(text, encoding="utf-8")


def part_of(path: Path) -> Path:
    """A name that no other process takes for what is to become ``path``. Its length does not depend on ``path``'s."""
    return path.with_name(f".co3-{os.getpid()}-{secrets.token_hex(4)}-{_host()}.part")


def remove_parts(folder: Path) -> None:
    """Remove from a folder what processes that were killed left of ``aside``."""
    for part in folder.glob(".co3-*.part"):
        found = re.fullmatch(r"\.co3-(\d+)-[0-9a-f]{8}-(.*)\.part", part.name)
        with suppress(OSError):
            ended = found and found[2] == _host() and not _lives(int(found[1]))
            if ended or (found and time.time() - part.stat().st_mtime > _LONG_AGO):
                remove(part)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def packaged(name: str) -> Path:
    """A file that comes with the library: in ``data`` of a checkout, which a wheel holds as ``co3lib/data``."""
    folder = Path(__file__).resolve().parent
    checkout = folder.parent / "data" / name
    return checkout if checkout.is_file() else folder / "data" / name


def print_anything() -> None:
    """Let characters that a terminal or a pipe has no code for be printed as escapes; they would be an error otherwise."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _host() -> str:
    return re.sub(r"[^\w.-]", "_", socket.gethostname(), flags=re.ASCII)[:64]


def _lives(process: int) -> bool:
    if os.name == "nt":  # there signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
