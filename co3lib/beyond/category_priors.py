"""The saliency priors of a category's photos, of the kind that the configuration names.

Shape letters: N images, C channels, ``h w`` feature grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate
from tqdm import tqdm

from .. import checks
from ..backbones import Backbone, DenseClassifier, build_backbone, build_both
from ..config import CoSegConfig
from ..datasets.images import resize_maps
from ..inference import PreparedImage
from ..linear import ridge
from ..saliency import saliency_prior
from ..torch_defaults import torch_defaults
from .priors import cells_of, certainty_by_scale, classifier_prior, ddt_prior


@dataclass(frozen=True)
class Classified:
    """A network's classifier on the photos, at every size at which they were given to it.

    Attributes
    ----------
    network : the network's name.
    photos : with their inputs at the size of training alone, as a category's photos are all kept at once.
    features : side of the squares in pixels -> (N, C, h, w).
    likely : side -> the probabilities (N, classes, h, w).
    """

    network: str
    photos: list[PreparedImage]
    features: dict[int, torch.Tensor]
    likely: dict[int, torch.Tensor]

    def certainty(self) -> dict[int, float]:
        """Side -> how well the category is recognised there, as ``priors.certainty_by_scale`` says."""
        levels = certainty_by_scale(list(self.likely.values()))
        return dict(zip(self.likely, levels.tolist(), strict=True))


def classifying(
    backbone: Backbone, classifier: DenseClassifier | None, device: torch.device | None = None
) -> tuple[Backbone, DenseClassifier]:
    """The networks that a "classifier" prior is made by: those of ``build_both`` or, without a classifier, the default ones.

    Parameters
    ----------
    backbone, classifier : of ``build_both``.
    device : where they are moved; None: they stay.
    """
    if classifier is None:
        backbone, classifier = build_both()
        assert classifier is not None  # the default network has one
    return backbone.to(device), classifier.to(device)


@torch_defaults()
def classify(
    work: Iterable[PreparedImage],
    config: CoSegConfig,
    progress: bool = True,
    networks: tuple[Backbone, DenseClassifier] | None = None,
) -> Classified:
    """Run the classifier on photos at ``config.classifier_sizes``.

    Parameters
    ----------
    work : the photos, at those sizes; one at a time is in memory if it makes them so.
    config : gives the network and the sizes.
    progress : whether a bar shows the progress.
    networks : as ``classifying`` gives them, not trained yet; None: built here.
    """
    backbone, classifier = networks or classifying(*build_both(*config.network))
    features: dict[int, list[torch.Tensor]] = {side: [] for side in config.classifier_sizes}
    likely: dict[int, list[torch.Tensor]] = {side: [] for side in config.classifier_sizes}
    photos = []
    for image in tqdm(work, disable=not progress, desc="recognizing", unit="photo"):
        for side in config.classifier_sizes:
            with torch.no_grad():
                seen = backbone(image.at(side))
                features[side].append(seen.cpu())
                likely[side].append(classifier(seen).softmax(1).cpu())
        photos.append(image.for_training())
    # One side at a time, each photo's own maps being freed: these maps are the most that is kept of a photo.
    joined = [{side: torch.cat(maps.pop(side)) for side in config.classifier_sizes} for maps in (features, likely)]
    return Classified(backbone.name, photos, *joined)


@torch_defaults()
def category_priors(
    work: Sequence[PreparedImage],
    config: CoSegConfig,
    features: torch.Tensor | None = None,
    progress: bool = True,
    classified: Classified | None = None,
) -> torch.Tensor:
    """The saliency priors of a category's photos that ``config.prior`` asks for, at the network's input size.

    Parameters
    ----------
    work : the photos.
    config : gives the prior, the network and the sizes.
    features : (N, C, h, w) of the photos, which the prior "ddt" is made from, and to which a "classifier" prior of another
        network is carried over; None: computed here.
    progress : whether a bar shows the progress.
    classified : the classifier on the photos, for the prior "classifier"; None: computed here.

    Returns
    -------
    (N, 1, input_size, input_size) in [0, 1].
    """
    if config.prior == "classifier":
        classified = classified or classify(work, config, progress)
        sides = config.prior_sizes
        maps = classifier_prior([classified.features[side] for side in sides], [classified.likely[side] for side in sides])
        if classified.network != config.backbone:
            maps = carried_over(maps, _features(work, config) if features is None else features)
        return at_input_size(maps, config)
    if config.prior == "single":
        bar = tqdm(work, disable=not progress, desc="saliency", unit="photo")
        return at_input_size([saliency_prior(image.pixels) for image in bar], config)
    features = _features(work, config) if features is None else features
    return at_input_size(ddt_prior(features, [image.pixels for image in work]), config)


def _features(work: Sequence[PreparedImage], config: CoSegConfig) -> torch.Tensor:
    backbone = build_backbone(*config.network)
    with torch.no_grad():
        return torch.cat([backbone(image.tensor) for image in work])


@torch_defaults()
def carried_over(maps: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Priors made by one network as what a linear function of another network's features can say of them (ridge regression over
    all cells of all photos): all cells that the other network finds alike get like values.

    Parameters
    ----------
    maps : (N, h', w') in [0, 1].
    features : (N, C, h, w), of the other network.

    Returns
    -------
    (N, h, w) in [0, 1].
    """
    target = interpolate(maps[:, None], features.shape[2:], mode="bilinear", antialias=True)[:, 0].double()
    weight, bias = ridge(cells_of(features).double(), target.flatten())
    return (features.movedim(1, -1).double() @ weight + bias).clamp(0, 1).to(maps)


def at_input_size(priors: Iterable, config: CoSegConfig) -> torch.Tensor:
    """Saliency maps at the network's input size.

    Parameters
    ----------
    priors : N maps (H, W), as ``checks.saliency_map`` takes them.
    config : gives the size and the interpolation.

    Returns
    -------
    (N, 1, input_size, input_size) in [0, 1].

    Raises
    ------
    ValueError : naming the map that ``checks.saliency_map`` refuses.
    """
    size = (config.input_size, config.input_size)
    maps = (checks.saliency_map(prior, f"priors[{k}]") for k, prior in enumerate(priors))
    return torch.stack([resize_maps(saliency[None].float(), size, config.interpolation) for saliency in maps]).clamp(0, 1)
