"""Notebooks are run several times by the tests: headless, in JupyterLab, with their solutions. What is long in them, training
and predicting on the same photos, is computed by the first run and read from a file by the others.

A kernel whose ``IPYTHONDIR`` is the fixture ``ipython`` imports this at its start. Results are known by all that decides them,
and the folder belongs to one session of tests, so that they are never those of other code.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from co3course.lessons import saliency, training
from co3lib import inference, segmentation, selection
from co3lib.backbones import build_backbone
from co3lib.config import CoSegConfig
from co3lib.files import aside
from co3lib.model import CoPeakNet
from co3lib.segmentation import CoSegmenter


def install(folder: str) -> None:
    """Let this process keep and use the results in a folder."""
    Path(folder).mkdir(exist_ok=True)
    keep = functools.partial(_kept, Path(folder))
    selection.propose_regions = keep(selection.propose_regions)
    inference.response_maps_from = keep(inference.response_maps_from)
    saliency.learn, saliency.read_priors = keep(saliency.learn), keep(saliency.read_priors)
    training.run_trial = keep(training.run_trial)
    fit, candidates, classify = CoSegmenter.fit_prepared, CoSegmenter.candidates, segmentation.classify

    @keep
    def recognised(sizes, work, networks):
        return classify(work, CoSegConfig(**sizes), False, networks)

    @functools.wraps(classify)
    def classified(work, config, progress, networks):
        sizes = {name: getattr(config, name) for name in ("input_size", "prior_scales", "peak_scales")}
        return recognised(sizes, list(work), networks)  # nothing else of the settings decides it

    @keep
    def fitted(config, work, priors) -> tuple:
        segmenter = CoSegmenter(config)
        fit(segmenter, work, priors, progress=False)
        return segmenter.model.state_dict(), segmenter.history, segmenter.partners, segmenter.certainty

    @functools.wraps(fit)
    def fit_prepared(self, work, priors=None, checkpoint=None, progress=True, on_epoch=None) -> None:
        if checkpoint is not None or on_epoch is not None:
            return fit(self, work, priors, checkpoint, progress, on_epoch)
        weights, self.history, self.partners, self.certainty = fitted(self.config, list(work), priors)
        self.model = CoPeakNet(build_backbone(*self.config.network)).requires_grad_(False)
        self.model.load_state_dict(weights)
        return None

    def chosen(segmenter, image, proposals):
        return candidates(segmenter, image, proposals)

    segmentation.classify = classified
    CoSegmenter.fit_prepared = fit_prepared
    CoSegmenter.candidates = functools.wraps(candidates)(keep(chosen))


def _kept(folder: Path, function: Callable) -> Callable:
    @functools.wraps(function)
    def kept(*arguments, **named):
        sha = hashlib.sha256(function.__qualname__.encode())
        _add(sha, [arguments, named])
        file = folder / f"{sha.hexdigest()}.pickle"
        with FileLock(file.with_suffix(".lock")):
            if not file.is_file():
                result = function(*arguments, **named)
                with aside(file) as part:
                    part.write_bytes(pickle.dumps(result))
        return pickle.loads(file.read_bytes())

    return kept


def _add(sha, value) -> None:
    """Add to a digest all that a value consists of."""
    sha.update(type(value).__qualname__.encode())
    if isinstance(value, torch.Tensor):
        _add(sha, value.detach().numpy())
    elif isinstance(value, np.ndarray):
        sha.update(f"{value.dtype} {value.shape}".encode())
        sha.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, (str, bytes, int, float, bool, type(None), os.PathLike, torch.device)):
        sha.update(repr(value).encode())
    elif isinstance(value, Mapping):
        _add(sha, list(value.items()))
    elif isinstance(value, Sequence):
        sha.update(str(len(value)).encode())
        for item in value:
            _add(sha, item)
    elif isinstance(value, torch.nn.Module):
        _add(sha, value.state_dict())
    elif dataclasses.is_dataclass(value):
        _add(sha, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    else:
        _add(sha, vars(value))
