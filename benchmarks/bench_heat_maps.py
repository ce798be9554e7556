"""Heat maps of a photo: how many ordinary passes, forwards and back to the same place, does a peak take?

python benchmarks/bench_heat_maps.py
"""

from functools import partial

import torch
from against import in_turn, row, show
from skimage import data

from co3lib.backbones import build_backbone
from co3lib.datasets.images import resize_image, to_tensor
from co3lib.model import CoPeakNet
from co3lib.peak_backprop import response_maps_from

_SIDE = 448


def network_and_cells(stage: str | None) -> tuple[CoPeakNet, torch.Tensor, torch.Tensor]:
    """A network with a drawn score, what its stage makes of a photo, and all cells of the score in an order that is drawn."""
    model = CoPeakNet(build_backbone()).requires_grad_(False)
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    start = model.activations(to_tensor(resize_image(data.coffee(), (_SIDE, _SIDE)), _SIDE), stage)
    cells = torch.nonzero(torch.ones_like(model.forward_from(start, stage).score[0, 0]))
    return model, start, cells[torch.randperm(len(cells), generator=torch.Generator().manual_seed(0))]


def main() -> None:
    rows = []
    for stage, reach, rounds in (("middle", 0.2, 7), (None, 0.35, 3)):
        model, start, cells = network_and_cells(stage)

        def ordinary(model=model, start=start, stage=stage):
            leaf = start.clone().requires_grad_()
            torch.autograd.grad(model.forward_from(leaf, stage).score.sum(), leaf)

        for count in (8, 32):
            peaks = cells[:count]
            measured = in_turn(partial(response_maps_from, model, start, stage, peaks), ordinary, rounds)
            what = f"{count} peaks, {'stopped at the middle stage' if stage else 'down to the image'}"
            rows.append(row(what, measured, "one pass; the ratio is a peak's", reach, 1 / count))
    show("Heat maps", rows)


if __name__ == "__main__":
    main()
