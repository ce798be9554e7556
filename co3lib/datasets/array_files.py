"""Arrays in files: MATLAB's ``.mat``, version 5 and 7.3, and NumPy's ``.npz``.

Proposals of one photo may be a gigabyte. ``read_masks`` reads those that are wanted; out of a MATLAB v7.3 file in slices, so
that there is never more in memory than what it returns and one slice. The other two formats are compressed as a whole.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from scipy import sparse

from .errors import DatasetError

_MOST = 1 << 28  # values of a sparse matrix written out
_SLICE = 1 << 25  # values of an array that are read at a time
_MATRIX, _COMPRESSED = 14, 15  # MATLAB v5's types of elements that hold others
_ELEMENTS = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13, _MATRIX, _COMPRESSED, 16, 17, 18)


@dataclass(frozen=True)
class _Unread:
    """An array (H, W, K) that is left in its MATLAB v7.3 file: its shape and type in MATLAB's order, and its name."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


def read_arrays(path: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """Named arrays of an ``.npz``, a MATLAB v5 or a MATLAB v7.3 (HDF5) file.

    Parameters
    ----------
    path : the file.
    names : of the arrays that are wanted.

    Returns
    -------
    The arrays in the order of ``names``, their axes in MATLAB's order.

    Raises
    ------
    DatasetError : naming the file, if it cannot be read, lacks an array, or holds other things than numbers in it.
    """
    return _read(path, names, ())


def read_masks(path: Path, limit: int | None = None) -> np.ndarray:
    """The best masks of a file of proposals, which holds ``masks`` (H, W, K) and K ``scores``.

    Parameters
    ----------
    path : the file, of a kind that ``read_arrays`` reads.
    limit : how many there are at most; None: all of them.

    Returns
    -------
    (N, H, W) bool, best first, N at most ``limit``; (0, 0, 0) where the file holds none.

    Raises
    ------
    DatasetError : as ``read_arrays``, for other shapes, and for NaN among the scores or in a mask that is read.
    """
    masks, scores = _read(path, ("masks", "scores"), ("masks",))
    scores = np.asarray(scores, dtype=np.float64).ravel()
    if masks.size == len(scores) == 0:
        return np.zeros((0, 0, 0), bool)
    if masks.ndim == 2:  # MATLAB drops the last axis of a single proposal
        masks = masks[..., None]
    if masks.ndim != 3 or masks.shape[2] != len(scores) or not masks.size:
        raise DatasetError(f"{path} must hold masks of shape (H, W, K) and K scores, got {masks.shape} and {len(scores)}")
    wanted = np.argsort(-scores, kind="stable")[:limit]
    best = np.empty((len(wanted), *masks.shape[:2]), bool)
    odd = np.isnan(scores).any()
    for places, left, layers in _slices(path, masks, wanted):
        odd |= layers.dtype.kind == "f" and np.isnan(layers).any()
        for place, layer in zip(places, layers, strict=True):
            np.greater(layer.T, 0, out=best[place, :, left : left + len(layer)])
    if odd:
        raise DatasetError(f"{path} must hold numbers in masks and scores, got NaN")
    return best


def _slices(path: Path, masks: np.ndarray | _Unread, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
    """Parts of (H, W, K): where their layers stand in ``wanted``, their first column, and the layers, each (columns, H)."""
    height, width, count = masks.shape
    place = np.full(count, -1)
    place[wanted] = np.arange(len(wanted))
    if isinstance(masks, np.ndarray):
        for k in np.flatnonzero(place >= 0):
            yield place[k : k + 1], 0, masks[..., k].T[None]
        return
    try:
        with h5py.File(path) as file:
            entry = file[masks.name]
            # Whole chunks: each would be uncompressed anew for every slice that has a part of it.
            deep, wide = (entry.chunks or (1, width))[:2]
            step = deep * max(1, _SLICE // (deep * width * height))
            across = min(width, wide * max(1, _SLICE // (step * wide * height)))
            for first in range(0, count, step):
                places = place[first : first + step]
                if (places >= 0).any():
                    for left in range(0, width, across):
                        layers = entry[first : first + step, left : left + across]
                        yield places[places >= 0], left, layers[places >= 0]
    except Exception as error:  # as in _read
        raise _unreadable(path, error) from error


def _read(path: Path, names: tuple[str, ...], later: tuple[str, ...]) -> list:
    """As ``read_arrays``; arrays of three axes that are named in ``later`` may stay in the file, as ``_Unread``."""
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path) as file:
                arrays = {name: file[name] for name in names if name in file}
        elif h5py.is_hdf5(path):
            with h5py.File(path) as file:
                arrays = {name: _from_hdf5(file[name], name in later) for name in names if name in file}
        else:
            # MATLAB stores whole numbers in the smallest type that holds them; mat_dtype gives back the type that they are of.
            file = io.BytesIO(_checked_v5(path.read_bytes()))
            content = scipy.io.loadmat(file, variable_names=names, mat_dtype=True)
            arrays = {name: _written_out(content[name]) for name in names if name in content}
    except Exception as error:  # each reader has its own exceptions for a damaged file
        raise _unreadable(path, error) from error
    for name in names:
        if name not in arrays:
            raise DatasetError(f"{path} must hold {' and '.join(names)}, it lacks {name}")
        if arrays[name].dtype.kind not in "buif":
            raise DatasetError(f"{path} must hold numbers in {name}, got {arrays[name].dtype}")
    return [arrays[name] for name in names]


def _unreadable(path: Path, error: Exception) -> DatasetError:
    return DatasetError(f"{path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}")


def _checked_v5(content: bytes) -> bytes:
    """A MATLAB v5 file with its compressed elements written out. ``ValueError`` for an element that is longer than the file,
    of a type that there is not, or missing: scipy.io takes types for places in memory, and the process would end."""
    if len(content) < 128 or 0 in content[:4]:  # v4, or nothing
        return content
    order = "<" if content[126:128] == b"IM" else ">"

    def elements(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
        """Each element's type, its content, and the whole of it with its tag."""
        start = 0
        while start + 8 <= len(data):
            kind, size = struct.unpack_from(f"{order}II", data, start)
            begin, end = start + 8, start + 8 + size
            if kind >> 16:  # up to four bytes, beside their type
                kind, size, begin, end = kind & 0xFFFF, kind >> 16, start + 4, start + 8
            elif kind != _COMPRESSED:
                end += -size % 8
            if kind not in _ELEMENTS or begin + size > len(data):
                raise ValueError("it is cut off or damaged")
            yield kind, data[begin : begin + size], data[start:end]
            start = end

    def check(matrix: memoryview) -> None:
        parts = [(kind, part) for kind, part, _ in elements(matrix)]
        for kind, part in parts:
            if kind == _MATRIX:
                check(part)
        flags = struct.unpack_from(f"{order}I", parts[0][1])[0] if parts and len(parts[0][1]) >= 8 else 0
        wanted = {4: 4, 5: 6}.get(flags & 0xFF, 4 if 6 <= flags & 0xFF <= 15 else 0)  # of text, sparse matrices and numbers
        if wanted and (len(parts) < wanted + bool(flags & 0x800) or any(kind in (_MATRIX, _COMPRESSED) for kind, _ in parts)):
            raise ValueError("it is cut off or damaged")

    written: list[bytes | memoryview] = [content[:128]]
    for kind, body, whole in elements(memoryview(content)[128:]):
        if kind == _COMPRESSED:
            written.append(zlib.decompressobj().decompress(body, 8 * _MOST))
        else:
            written.append(whole)
        for inner, part, _ in elements(memoryview(written[-1])):
            if inner == _MATRIX:
                check(part)
    return b"".join(written)


def _from_hdf5(entry: h5py.Dataset | h5py.Group, later: bool = False) -> np.ndarray | _Unread:
    """What MATLAB wrote under one name; HDF5 lists its axes the other way round. Later: three axes may stay in the file."""
    if "MATLAB_sparse" in entry.attrs:
        size = int(entry.attrs["MATLAB_sparse"]), len(entry["jc"]) - 1
        data, rows, columns = (entry[key][()] if key in entry else np.zeros(0) for key in ("data", "ir", "jc"))
        return _written_out(sparse.csc_array((data, rows.astype(np.int64), columns.astype(np.int64)), size))
    if isinstance(entry, h5py.Group):
        raise ValueError(f"{entry.name} is a struct")
    if later and len(entry.shape or ()) == 3 and not entry.attrs.get("MATLAB_empty"):
        return _Unread(entry.name, entry.shape[::-1], entry.dtype)
    values = entry[()]
    if entry.attrs.get("MATLAB_empty"):  # its size is stored in place of its values
        shape = tuple(int(n) for n in np.ravel(values))
        if 0 not in shape:
            raise ValueError(f"{entry.name} is marked as empty and of size {shape}")
        return np.zeros(shape)
    values = np.asarray(values).T
    return values.astype(bool) if entry.attrs.get("MATLAB_class") in (b"logical", "logical") else values


def _written_out(values: np.ndarray | sparse.sparray) -> np.ndarray:
    """Values as an array; a sparse matrix is of doubles or logical, both of which are what they say."""
    if not sparse.issparse(values):
        return values
    if np.prod(values.shape, dtype=float) > _MOST:
        raise ValueError(f"a sparse matrix of size {values.shape} is too large")
    values = sparse.csc_array(values)
    values.check_format(full_check=True)  # places outside of the matrix would be written to all the same
    return values.toarray().astype(np.float64)
