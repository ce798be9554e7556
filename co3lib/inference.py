"""From a photo and a trained network to peaks and their heat maps; from there on it is ``selection``.

Shape letters: C channels, H W size of the masks, ``h w`` feature grid, Q peaks, M photos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from .beyond.feature_heat import feature_heat
from .config import CoSegConfig
from .datasets.images import fit_within, name_of, read_image, resize_image, resize_maps, to_tensor
from .model import CoPeakNet, CoPeakOutput
from .peak_backprop import enlarge, response_maps_from
from .peaks import copeak_votes, peak_cells, regional_maxima, score_peaks
from .torch_defaults import torch_defaults

_MORE_PEAKS = 20  # that count at every scale but the first: more of them cost time and find nothing more


@dataclass(frozen=True)
class PreparedImage:
    """A photo made ready.

    Attributes
    ----------
    name : its name, for messages.
    size : (height, width) of the photo itself, in pixels.
    pixels : (H, W, 3) uint8, the photo at the size at which masks are ranked.
    squares : side -> (side, side, 3) uint8, the network's inputs, that of training first.
    """

    name: str
    size: tuple[int, int]
    pixels: np.ndarray
    squares: Mapping[int, np.ndarray]

    @property
    def tensor(self) -> torch.Tensor:
        """The network's input at the size of training: (1, 3, side, side)."""
        return self.at(next(iter(self.squares)))

    def for_training(self) -> PreparedImage:
        """The photo with its input at the size of training alone."""
        side = next(iter(self.squares))
        return replace(self, squares={side: self.squares[side]})

    def at(self, side: int) -> torch.Tensor:
        """The network's input at one of the sizes: (1, 3, side, side)."""
        return to_tensor(self.squares[side], side)


@dataclass(frozen=True)
class NetworkView:
    """What the network makes of one photo at one scale, on the CPU.

    Attributes
    ----------
    activations : (1, C', h', w'), the output of the stage at which heat maps are read; of a backbone without rules for peak
        back-propagation, the backbone's features.
    output : features and scores.
    saliency : (H, W), the co-saliency in [0, 1].
    """

    activations: torch.Tensor
    output: CoPeakOutput
    saliency: torch.Tensor


@dataclass(frozen=True)
class ScalePeaks:
    """The peaks of one photo at one scale, and their heat maps.

    Attributes
    ----------
    view : what the network makes of the photo at this scale.
    cells : (Q, 2), the peaks' cells ``(i, j)`` of the feature grid.
    heat : (Q, H, W), their heat maps.
    weight : what a score at this scale is multiplied by.
    far : whether the photo is shown smaller than in training.
    """

    view: NetworkView
    cells: torch.Tensor
    heat: torch.Tensor
    weight: float = 1.0
    far: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """How many cells there are, down and across."""
        height, width = self.view.output.score.shape[2:]
        return height, width

    @property
    @torch_defaults()
    def points(self) -> torch.Tensor:
        """The middles of the peaks' cells, in pixels ``(y, x)`` of the heat maps: (Q, 2) long."""
        size = torch.tensor(self.view.saliency.shape)
        return ((self.cells + 0.5) * (size / torch.tensor(self.grid))).long()


def prepare(photo, config: CoSegConfig, index: int = 0, sides: Sequence[int] | None = None) -> PreparedImage:
    """Read a photo and resize it to what the network and the ranking need.

    Parameters
    ----------
    photo : a path, a PIL image or an (H, W, 3) uint8 array.
    config : gives the sizes and the interpolation.
    index : the photo's place in its list, which is its name in messages if it has no other.
    sides : sides of the network's inputs beside that of training; None: all those of the prior and of ``predict``.

    Raises
    ------
    ImageError : if the photo cannot be read; it names the photo.
    """
    pixels = read_image(photo, name=name_of(photo, index))
    small = pixels if config.mask_size is None else fit_within(pixels, config.mask_size)
    wanted = dict.fromkeys([config.input_size, *(sides or [*config.prior_sizes, *config.peak_sizes])])
    squares = {side: resize_image(pixels, (side, side), config.interpolation) for side in wanted}
    return PreparedImage(name_of(photo, index), pixels.shape[:2], small, squares)


def run_network(model: CoPeakNet, image: PreparedImage, config: CoSegConfig, side: int | None = None) -> NetworkView:
    """Run the network on a photo; side: one of ``config.peak_sizes`` (None: the first)."""
    with torch.no_grad():
        stage = _heat_map_stage(model, config)
        activations = model.activations(image.at(side or config.input_size), stage)
        output = model.forward_from(activations, stage)
        output = CoPeakOutput(output.features.cpu(), output.score.cpu())
        big = model.saliency_at_image_size(output.score)
    return NetworkView(activations.cpu(), output, resize_maps(big[0], image.pixels.shape[:2], config.interpolation)[0])


def find_peaks(output: CoPeakOutput, config: CoSegConfig, partners: torch.Tensor) -> torch.Tensor:
    """The peaks from which an image's instances are found, as ``config.peak_source`` says.

    "score": the peaks of the score map. "copeak": the regional maxima of the votes that the cells get as ends of co-peaks
    with other photos; of cells with equal votes the one with the higher score wins.

    Parameters
    ----------
    output : of one image.
    config : gives the source, and whether every cell of a plateau is a peak.
    partners : (M, C, h, w), the other photos' features, normalised and weighted by their co-saliency.

    Returns
    -------
    (Q, 2) long, cells ``(i, j)`` of the grid, best first.
    """
    score = output.score[0, 0]
    partners = partners_of(output.weighted, partners) if config.peak_source == "copeak" else partners[:0]
    if not len(partners):
        return peak_cells(score_peaks(output.score)[0, 0], score, every=config.ranking == "released")
    votes = copeak_votes(output.weighted, partners)
    # Votes are whole numbers and tie often; the saliency, below one, only breaks the ties.
    height = votes + output.saliency[0, 0]
    return peak_cells(regional_maxima(height[None])[0] & (votes > 0), height)


def heat_maps(
    model: CoPeakNet, activations: torch.Tensor, cells: torch.Tensor, config: CoSegConfig, size: tuple[int, int]
) -> torch.Tensor:
    """The heat maps of peaks (Q, 2), enlarged to ``size``: (Q, H, W); activations: as in ``NetworkView``.

    By peak back-propagation where the backbone has rules for it, else by ``feature_heat``.
    """
    stage = _heat_map_stage(model, config)
    if model.backbone.has_peak_rule:
        maps = response_maps_from(model, activations, stage, cells)
    else:
        with torch.no_grad():
            maps = feature_heat(model.forward_from(activations, stage).normalized.cpu(), cells)
    return enlarge(maps, size, config.interpolation)


def _heat_map_stage(model: CoPeakNet, config: CoSegConfig) -> str | None:
    return config.heat_map_stage if model.backbone.has_peak_rule else model.backbone.stage_names[-1]


def peaks_at_scale(
    model: CoPeakNet, image: PreparedImage, config: CoSegConfig, partners: torch.Tensor, side: int, weight: float
) -> ScalePeaks:
    """A photo's peaks and their heat maps at one scale.

    Parameters
    ----------
    model, image, config : the network, the photo, the settings.
    partners : as for ``find_peaks``.
    side : one of ``config.peak_sizes``.
    weight : what a score at this scale is multiplied by.
    """
    view = run_network(model, image, config, side)
    cells = find_peaks(view.output, config, partners)[: None if side == config.input_size else _MORE_PEAKS]
    heat = heat_maps(model, view.activations, cells, config, image.pixels.shape[:2])
    return ScalePeaks(view, cells, heat, weight, side < config.input_size)


@torch_defaults()
def partners_of(weighted: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
    """The photos of ``partners`` (M, C, h, w) without the one that ``weighted`` (1, C, h, w) is of."""
    # The photo itself may be among them, at the scale of training; a co-peak with itself says nothing.
    if partners.shape[1:] != weighted.shape[1:]:
        return partners
    own = [bool(torch.allclose(weighted[0], partner, atol=1e-5)) for partner in partners]
    return partners[~torch.tensor(own, dtype=torch.bool)]
