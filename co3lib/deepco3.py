"""DeepCO3 on one page: the authors' released method from photos to instances, in the order of the paper.

Hsu, Lin and Chuang, "DeepCO3: Deep Instance Co-Segmentation by Co-Peak Search and Co-Saliency Detection", CVPR 2019. Every
step is a function with a module of its own. ``CoSegmenter(CoSegConfig.released())`` does the same, which a test checks.

Shape letters: N images, K proposals, H W a photo's own size. The network's input is 448 x 448 pixels, its grid 14 x 14 cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .backbones import build_backbone
from .correlation import correlate, pair_up
from .datasets.images import fit_within, read_image, resize_image, resize_maps, to_tensor
from .instance import Instance
from .losses import affinity_loss, copeak_loss, saliency_loss
from .model import CoPeakNet
from .optimizers import as_the_authors_adam, released_optimizer
from .overlap import tight_box
from .peak_backprop import check_rules, peak_response_maps
from .peaks import peak_cells, score_peaks
from .proposals import propose
from .ranking import mask_nms, noise_filter, rank_proposals
from .saliency import saliency_prior
from .torch_defaults import torch_defaults, with_gradients
from .training import batches

SIZE = 448


@torch_defaults()
def deepco3(
    images: Sequence,
    priors: Sequence[torch.Tensor] | None = None,
    proposals: Sequence[torch.Tensor] | None = None,
    backbone: str = "efficientnet_lite0",
    epochs: int = 40,
) -> list[list[Instance]]:
    """The instances in photos of one category, best first.

    Parameters
    ----------
    images : N paths, PIL images or (H, W, 3) uint8 arrays.
    priors : a saliency map (H, W) in [0, 1] for each; None: made here (the authors took them from other work).
    proposals : candidate masks (K, H, W) bool, best first, for each; None: made here (the authors took them from other work).
    backbone, epochs : as for ``build_backbone`` (the paper's is "vgg16_fc6"), and the passes of training over the photos.
    """
    photos = [read_image(image) for image in images]
    inputs = torch.cat([to_tensor(resize_image(photo, (SIZE, SIZE), "bicubic"), SIZE) for photo in photos])
    if priors is None:
        priors = [saliency_prior(fit_within(photo, SIZE)) for photo in photos]
    if proposals is None:
        proposals = [propose(photo) for photo in photos]

    # Section 3.2, co-peak search. One network a category is trained on all its photos, with no labels.
    targets = torch.stack([resize_maps(prior[None], (SIZE, SIZE), "bicubic") for prior in priors]).clamp(0, 1)
    model = train(inputs, targets, backbone, epochs)

    # Section 3.3, instance mask segmentation, photo by photo.
    found = [segment(model, *arguments) for arguments in zip(photos, inputs.split(1), proposals, strict=True)]

    # Of all instances of the category the fifth with the lowest scores is dropped, but each photo keeps its best.
    kept = noise_filter([torch.tensor([instance.score for instance in instances]) for instances in found])
    return [[instance for instance, keep in zip(*pair, strict=True) if keep] for pair in zip(found, kept, strict=True)]


@with_gradients()
def train(images: torch.Tensor, priors: torch.Tensor, backbone: str, epochs: int) -> CoPeakNet:
    """Train the network on a category. images: (N, 3, 448, 448) in [0, 1]; priors: (N, 1, 448, 448) in [0, 1]."""
    model = CoPeakNet(build_backbone(backbone)).requires_grad_()
    check_rules(model)
    optimizer = released_optimizer(dict(model.named_parameters()))
    for epoch in range(1, epochs + 1):
        optimizer.state.clear()  # the authors' framework starts every epoch with a new Adam state
        for step, batch in enumerate(batches(len(images), 6, torch.Generator().manual_seed(epoch)), start=1):
            output = model(images[batch])
            big_saliency = model.saliency_at_image_size(output.score)

            # Eq. 3: the correlation of the features at co-peaks, where both are salient, is to be high.
            correlation = correlate(*pair_up(output.weighted))
            # Eq. 1: L = ls + 0.5 lt + 0.1 la, the saliency loss being Eq. 6 and the affinity loss Eqs. 4 and 5.
            loss = (
                saliency_loss(big_saliency, priors[batch])
                + 0.5 * copeak_loss(correlation)
                + 0.1 * affinity_loss(output.normalized, output.saliency, alpha=4.0)
            )
            as_the_authors_adam(optimizer, step)
            optimizer.zero_grad()
            (loss / min(6, len(images) - 6 * (step - 1))).backward()  # over the images before an odd batch was completed
            optimizer.step()
    return model.requires_grad_(False)


def segment(model: CoPeakNet, photo, image: torch.Tensor, proposals: torch.Tensor) -> list[Instance]:
    """The instances of one photo (H, W, 3) uint8; image: the network's input, (1, 3, 448, 448); proposals: (K, H, W) bool."""
    size = photo.shape[:2]
    with torch.no_grad():
        output = model(image)
        saliency = resize_maps(model.saliency_at_image_size(output.score)[0], size, "bicubic")[0]

    # Peaks of the score map, before the sigmoid, at or above its median; each is back-propagated to the image.
    peaks = peak_cells(score_peaks(output.score)[0, 0], output.score[0, 0], every=True)
    heat_maps = resize_maps(peak_response_maps(model, image, peaks), size, "bicubic")

    # Eq. 7: every peak takes the proposal that fits its heat map best; of masks that overlap the best one stays.
    scores, chosen = rank_proposals(heat_maps, saliency, proposals).max(1)
    usable = torch.isfinite(scores)
    peaks, scores, masks = peaks[usable], scores[usable], proposals[chosen[usable]]
    pixels = ((peaks + 0.5) * (torch.tensor(size) / torch.tensor(output.score.shape[2:]))).long().tolist()
    return [
        Instance(masks[k].numpy(), float(scores[k]), tuple(pixels[k]), tight_box(masks[k].numpy()))
        for k in mask_nms(masks, scores).tolist()
    ]
