"""Every method of a table under one protocol: the same photos, network, peaks, heat maps, proposals and ranking, another score.

The paper does not say how it turned the rivals' heat maps into instances. Here a rival's score takes the place of the score
map, and all that follows it is as the configuration says for every method. ``METHODS`` lists them:

* ``deepco3``: ``CoSegmenter`` itself.
* ``components``: connected components of the saliency prior; no peaks, no proposals, no ranking, no noise filter.
* ``ddt``: the first principal component of the category's descriptors (Wei et al., IJCAI 2017).
* ``ddt+``: the same on the features and on the middle stage, intersected: the lower of both scores (Wei et al., 2019).
* ``dff``: the factor of a non-negative factorisation that touches the photos' borders least (Collins et al., ECCV 2018).
* ``prm``: the response of the ImageNet classes that the photos are recognised as (Zhou et al., CVPR 2018). The published PRM
  was trained on the category's own labels. This one was not: its classes are ImageNet's, chosen without labels by
  ``priors.shared_classes``, and may miss a category that ImageNet does not have.

Nothing is trained but by ``deepco3``. Shape letters: N images, C channels, H W image size, ``h w`` feature grid.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import interpolate

from .. import checks
from ..backbones import Backbone, build_both
from ..config import CoSegConfig
from ..datasets.images import read_image, resize_maps
from ..inference import PreparedImage, prepare
from ..instance import Instance
from ..model import CoPeakNet, CoPeakOutput
from ..segmentation import CoSegmenter
from ..torch_defaults import torch_defaults, with_gradients
from .baselines import connected_components, dff_head
from .category_priors import category_priors, classify
from .priors import cells_of, principal_component, shared_classes, standardized

METHODS = ("deepco3", "components", "ddt", "ddt+", "dff", "prm")


def segment(
    method: str,
    photos: Sequence,
    config: CoSegConfig,
    priors: Sequence | None = None,
    proposals: Sequence | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    device: str | torch.device | None = "cpu",
) -> tuple[list[list[Instance]], str]:
    """The instances that a method finds in the photos of one category.

    Parameters
    ----------
    method : one of ``METHODS``.
    photos, priors, checkpoint, progress : as for ``CoSegmenter.fit``.
    config : the settings.
    proposals : as for ``CoSegmenter.predict``.
    device : as for ``CoSegmenter``; the prior of "components" is made on the CPU.

    Returns
    -------
    For every photo its instances, best first, and the SHA-256 of the network's weights as built, empty where no network was
    needed.

    Raises
    ------
    ValueError : for another method, and as ``CoSegmenter.fit`` and ``predict``.
    """
    checks.choice(method, "method", METHODS)
    photos = checks.photos(photos, empty=False)
    checks.same_length(photos=photos, priors=priors)
    if method == "components":
        return _components(photos, config, priors, progress)
    if method == "deepco3":
        segmenter = CoSegmenter(config, device).fit(photos, priors, checkpoint, progress)
    elif method == "prm":
        segmenter = prm(photos, config, progress, device)
    else:
        bare = config.model_copy(update={"epochs": 0, "init_head": False})
        # A rival learns from no prior. A "classifier" prior is made nevertheless: it says what each scale counts.
        if priors is not None or config.prior != "classifier":
            priors = [torch.zeros(8, 8)] * len(photos)
        inputs = [prepare(photo, config, k, []).tensor for k, photo in enumerate(photos)]
        segmenter = rival(method, CoSegmenter(bare, device).fit(photos, priors, progress=progress), inputs)
    assert segmenter.model is not None  # it has been fitted
    return segmenter.predict(photos, proposals, progress), segmenter.model.backbone.weights_sha256


@torch_defaults()
def rival(method: str, segmenter: CoSegmenter, inputs: Sequence[torch.Tensor]) -> CoSegmenter:
    """A rival's score in the place of a fitted segmenter's, all else being the same.

    Parameters
    ----------
    method : "ddt", "ddt+" or "dff".
    segmenter : fitted, best with no epochs, as its network is used as it is.
    inputs : of the category's photos, (1, 3, side, side) each, RGB in [0, 1].
    """
    checks.choice(method, "method", ("ddt", "ddt+", "dff"))
    model = segmenter.model
    if model is None:
        raise RuntimeError("this CoSegmenter has not been fitted; call fit(images) first")
    with torch.no_grad():
        features = torch.cat([model(tensor).features.cpu() for tensor in inputs])
    center = model.center.cpu()
    if method != "ddt+":
        make = principal_component if method == "ddt" else dff_head
        weight, bias = make(features + center)
        bias = bias + weight @ center.flatten()  # the head sees centred features
        return with_head(segmenter, features[: len(segmenter.partners)], weight, bias)
    other = segmenter.with_settings()
    other.model = IntersectedNet(model).to(other.device)
    with torch.no_grad():
        middle = torch.cat([other.model.activations(tensor, other.model.second_stage).cpu() for tensor in inputs])
        on_grid = interpolate(middle, features.shape[2:], mode="area")
        for head, values in ((other.model.head, features), (other.model.second_head, on_grid)):
            _set_head(head, *principal_component(values))
        seen = [other.model.forward_from(photo[None], other.model.second_stage) for photo in middle[: len(segmenter.partners)]]
        other.partners = torch.cat([output.weighted.cpu() for output in seen])
    return other


@with_gradients()
def prm(photos: Sequence, config: CoSegConfig, progress: bool = True, device: str | torch.device | None = "cpu") -> CoSegmenter:
    """A segmenter whose score is the response of the ImageNet classes that the photos are recognised as.

    The network goes on to the classifier's last layer, whose rows are averaged with the weights of ``priors.shared_classes``,
    less the mean of all rows; the score has deviation 1 over the photos' cells.

    Parameters
    ----------
    photos : of the category.
    config : gives the network, which must have a linear classifier, and the settings.
    progress : whether a bar shows the progress.
    device : as for ``CoSegmenter``.

    Raises
    ------
    ValueError : for a network without such a classifier.
    """
    backbone, classifier = build_both(*config.network)
    if classifier is None:
        raise ValueError(f"prm needs a network with a linear classifier of its cells, and {backbone.name} has none")
    segmenter = CoSegmenter(config, device)
    for network in (backbone, classifier):
        network.to(segmenter.device)
    sides = [config.input_size]
    one_size = config.model_copy(update={"prior_scales": (1.0,), "peak_scales": (1.0,)})
    work = [prepare(photo, config, k, sides) for k, photo in enumerate(photos)]
    classified = classify(work, one_size, progress, (backbone, classifier))
    for network in (backbone, classifier):
        network.cpu()  # where a network is put together
    weights = shared_classes([classified.likely[config.input_size]])
    *hidden, last = classifier.classifier.children()
    assert isinstance(last, nn.Conv2d)  # as `build_both` makes it
    rest = {f"rest.{k}": stage for k, stage in enumerate([*classifier.rest, *hidden])}
    stages = dict(zip(backbone.stage_names, backbone.stages.values(), strict=True)) | rest
    whole = Backbone(backbone.name, stages, backbone.mean.flatten().tolist(), backbone.std.flatten().tolist())
    segmenter.model = model = CoPeakNet(whole).requires_grad_(False).to(segmenter.device)
    with torch.no_grad():
        features = torch.cat([model(image.tensor).features.cpu() for image in work])
    rows = last.weight.flatten(1).cpu()
    direction = (weights / weights.sum().clamp_min(1e-9)) @ rows - rows.mean(0)
    kept = features[: config.max_partners]
    return with_head(segmenter, kept, *standardized(features, direction, cells_of(features).mean(0)))


@torch_defaults()
def with_head(segmenter: CoSegmenter, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> CoSegmenter:
    """A copy whose score is ``weight . f + bias``; all that follows the score stays: peaks, heat maps, proposals, ranking, what
    each scale counts.

    Parameters
    ----------
    segmenter : with a network.
    features : (N, C, h, w) of the photos that co-peaks are searched in, as the head sees them.
    weight : (C,).
    bias : a scalar.
    """
    other = segmenter.with_settings()
    other.model = copy.deepcopy(segmenter.model)
    assert other.model is not None
    _set_head(other.model.head, weight, bias)
    with torch.no_grad():
        other.partners = CoPeakOutput(features, other.model.head(features.to(other.device)).cpu()).weighted
    return other


class IntersectedNet(CoPeakNet):
    """A network with a score of its features and one of its middle stage: its score is the lower of the two.

    Heat maps can be read at the image or at the middle stage, as the score is computed from there on.

    Parameters
    ----------
    model : the network whose backbone and mean feature are used.

    Attributes
    ----------
    second_stage : the backbone's middle stage.
    second_head : the 1 x 1 convolution on its output, which is averaged to the grid of the features first.
    """

    def __init__(self, model: CoPeakNet):
        super().__init__(model.backbone)
        self.center.copy_(model.center)
        self.second_stage = self.backbone.middle_stage
        if self.second_stage in (None, self.backbone.stage_names[-1]):
            raise ValueError(
                f"ddt+ needs a network with a stage of stride 16 or less before its last, and {self.backbone.name} has none"
            )
        with torch.no_grad():
            channels = self.backbone(torch.zeros(1, 3, 64, 64), until=self.second_stage).shape[1]
        self.second_head = nn.utils.skip_init(nn.Conv2d, channels, 1, 1)  # leaves the caller's random numbers alone
        self.requires_grad_(False)

    def forward_from(self, activations: torch.Tensor, after: str | None) -> CoPeakOutput:
        """As ``CoPeakNet.forward_from``; after: the middle stage, or None for the images.

        Raises
        ------
        ValueError : for another stage.
        """
        stage = self.backbone.stage(after)
        if stage not in (None, self.second_stage):
            raise ValueError(f"ddt+ reads heat maps at {self.second_stage!r} ('middle') or at the image (None), got {after!r}")
        middle = activations.to(self.center.device) if stage else self.backbone(activations, until=self.second_stage)
        features = self.backbone.forward_from(middle, self.second_stage) - self.center
        first = self.head(features)
        on_grid = interpolate(middle, first.shape[2:], mode="area")
        return CoPeakOutput(features, torch.minimum(first, self.second_head(on_grid)))


def _components(photos, config: CoSegConfig, priors, progress: bool) -> tuple[list[list[Instance]], str]:
    if priors is not None:
        sizes = [read_image(photo).shape[:2] for photo in photos]
        given = (checks.saliency_map(prior, f"priors[{k}]") for k, prior in enumerate(priors))
        return [connected_components(resize_maps(map_[None], size)[0]) for map_, size in zip(given, sizes, strict=True)], ""
    work: list[PreparedImage] = [prepare(photo, config, k) for k, photo in enumerate(photos)]
    maps = category_priors(work, config, progress=progress)
    found = [connected_components(resize_maps(prior, image.size)[0]) for prior, image in zip(maps, work, strict=True)]
    return found, "" if config.prior == "single" else build_both(*config.network)[0].weights_sha256


def _set_head(head: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor) -> None:
    assert head.bias is not None
    with torch.no_grad():
        head.weight.copy_(weight.view_as(head.weight))
        head.bias.fill_(float(bias))
