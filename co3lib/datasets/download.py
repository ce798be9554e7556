"""Public data sets downloaded and unpacked.

What is there is whole: a download goes on where it was stopped, if the server lets it, and its hash is checked where one is
known; an archive is unpacked aside and then put in place. Members of an archive that would lie outside of its folder are
refused.
"""

from __future__ import annotations

import errno
import os
import re
import tarfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.error import HTTPError

import pooch
from tqdm import tqdm

from ..checks import choice
from ..files import aside, make_folder, part_of, remove, remove_parts

_BLOCK = 1 << 20  # bytes read at a time
_PATIENCE = 60  # seconds without a byte


class DownloadError(OSError, ValueError):
    """What could not be downloaded or unpacked; the message says what to do."""


@dataclass(frozen=True)
class Archive:
    """An archive of a public data set.

    Attributes
    ----------
    url : where it is.
    md5 : of the file; None where none is known.
    """

    url: str
    md5: str | None

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The name of the folder that it is unpacked to."""
        return self.file.rpartition(".")[0]


_VOC, _COCO = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012", "http://images.cocodataset.org"
ARCHIVES = {
    "voc12": Archive(f"{_VOC}/VOCtrainval_11-May-2012.tar", "6cd6e144f989b92b3379bac3b3de84fd"),
    # COCO's own page gives no hashes; these are what several public readers of COCO check.
    "coco-annotations": Archive(f"{_COCO}/annotations/annotations_trainval2017.zip", "f4bbac642086de4f52a3fdda2de5fa2c"),
    "coco-val2017": Archive(f"{_COCO}/zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80"),
    "coco-train2017": Archive(f"{_COCO}/zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2"),
    "penn-fudan": Archive("https://www.cis.upenn.edu/~jshi/ped_html/PennFudanPed.zip", None),
}


def fetch(name: str, folder: str | Path) -> Path:
    """An archive of a public data set, downloaded and unpacked unless it has been.

    Parameters
    ----------
    name : one of ``ARCHIVES``.
    folder : holds the archive, and beside it the folder that it is unpacked to; made if it is not there. An archive that was
        put there by hand is taken, if its hash is right.

    Returns
    -------
    The folder that it is unpacked to.

    Raises
    ------
    DownloadError : saying what to do, if it cannot be downloaded, is damaged, or holds a member that would lie elsewhere.
    """
    archive, folder = ARCHIVES[choice(name, "name", list(ARCHIVES))], make_folder(folder, "download")
    target = folder / archive.folder
    if not target.is_dir():
        unpack(download(archive, folder), target)
    return target


def download(archive: Archive, folder: Path) -> Path:
    """The archive's file in a folder, downloaded unless it is there.

    Raises
    ------
    DownloadError : if it cannot be downloaded or written, or its hash is wrong.
    """
    pooch.get_logger().setLevel("ERROR")  # it tells of each download, and we show its progress
    file, known = folder / archive.file, archive.md5 and f"md5:{archive.md5}"
    if file.is_file():
        if archive.md5 not in (None, pooch.file_hash(file, alg="md5")):
            raise DownloadError(f"{file} must have the MD5 hash {archive.md5}, it has another; remove it to download it anew")
        return file
    remove_parts(folder)
    # What has come stays beside it until it is whole and checked. pooch's own folder may be left by a process that was killed.
    begun, work = file.with_name(f"{archive.file}.part"), part_of(file)
    try:
        pooch.retrieve(archive.url, known, archive.file, work, downloader=_go_on(begun))
        os.replace(work / archive.file, file)
    except DownloadError:
        raise
    except OSError as error:
        raise _not_written(file, error) from error
    except ValueError as error:  # pooch's, of the hash
        begun.unlink(missing_ok=True)
        said = f"must have the MD5 hash {archive.md5}, what came has another and was removed"
        raise DownloadError(f"{archive.url} {said}; run the same command again to download it anew") from error
    finally:
        remove(work)
    begun.unlink(missing_ok=True)
    return file


def unpack(file: Path, target: Path) -> None:
    """Unpack a tar or zip file to a folder, which is there whole or not at all.

    Raises
    ------
    DownloadError : if the file is damaged, something cannot be written, or a member would lie outside of the folder.
    """
    try:
        with aside(target) as part, _members(file) as members:
            part.mkdir()
            for name, extract in tqdm(members, desc=f"unpacking {file.name}", unit="file", disable=None):
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts or "\\" in name or PureWindowsPath(name).drive:
                    raise DownloadError(
                        f"{file} must hold only members within its folder, it holds {name!r}; nothing was unpacked"
                    )
                extract(part)
    except DownloadError:
        raise
    except tarfile.FilterError as error:
        raise DownloadError(f"{file} must hold only members within its folder: {error}; nothing was unpacked") from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise DownloadError(f"{file} is damaged or no archive: {said}; remove it to have it downloaded again") from error
    except OSError as error:
        raise _not_written(target, error) from error


@contextmanager
def _members(file: Path) -> Iterator[list]:
    """The members of an archive: a list of their names, and of what extracts each to a folder."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            yield [(one.filename, lambda part, one=one: archive.extract(one, part)) for one in archive.infolist()]
    else:
        with tarfile.open(file) as archive:
            yield [(one.name, lambda part, one=one: archive.extract(one, part, filter="data")) for one in archive.getmembers()]


def _go_on(part: Path):
    """A downloader for pooch, which goes on with what is in ``part``."""

    def downloader(url: str, output: str, _pooch) -> None:
        done = part.stat().st_size if part.is_file() else 0
        asked = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
        try:
            try:
                answer = urllib.request.urlopen(asked, timeout=_PATIENCE)
            except HTTPError as error:
                if error.code != 416:
                    raise
                # There is nothing behind what is here: it is whole, or of another file.
                if error.headers.get("Content-Range", "").endswith(f"/{done}"):
                    _hand_over(part, output)
                    return
                done, answer = 0, urllib.request.urlopen(url, timeout=_PATIENCE)
            with answer:
                _receive(answer, part, done, url)
        except DownloadError:
            raise
        except HTTPError as error:
            raise _not_reached(url, part, f"the server answers {error.code} {error.reason}") from error
        except (OSError, HTTPException) as error:
            said = getattr(error, "reason", None) or error
            raise _not_reached(url, part, str(getattr(said, "strerror", None) or said or type(error).__name__)) from error
        _hand_over(part, output)

    return downloader


def _hand_over(part: Path, output: str) -> None:
    """Let pooch have the file; it is kept as well, where the file system has hard links, until its hash is known."""
    os.unlink(output)  # an empty one
    try:
        os.link(part, output)
    except OSError:
        os.replace(part, output)


def _receive(answer, part: Path, done: int, url: str) -> None:
    """Write an answer behind the ``done`` bytes of a file, or in their place if the server starts anew."""
    found = re.match(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    if answer.status == 206 and found and int(found[1]) == done:
        total = int(found[2])
    else:
        done, total = 0, int(answer.headers.get("Content-Length", 0))
    with tqdm(total=total or None, initial=done, desc=url.rpartition("/")[2], unit="B", unit_scale=True, disable=None) as bar:
        try:
            file = part.open("ab" if done else "wb")
        except OSError as error:
            raise _not_written(part, error) from error
        with file:
            while block := answer.read1(_BLOCK):
                try:
                    file.write(block)
                    file.flush()
                except OSError as error:
                    raise _not_written(part, error) from error
                done += len(block)
                bar.update(len(block))
    if done < total:
        raise _not_reached(url, part, f"the connection ended after {done} of {total} bytes")


def _not_reached(url: str, part: Path, said: str) -> DownloadError:
    then = f"run the same command again to go on, or put the file into {part.parent} by hand"
    return DownloadError(f"{url} could not be downloaded ({said}); {then}")


def _not_written(path: Path, error: OSError) -> DownloadError:
    if error.errno == errno.ENOSPC:
        return DownloadError(f"the disk is full, {path} could not be written; make room and run the same command again")
    return DownloadError(f"{path} could not be written: {error.strerror or error}")
