"""What the paper's network costs: VGG-16 in both variants at 448 pixels, and the four full sets by arithmetic.

    python benchmarks/vgg16_costs.py [--photos 4] [--output results/costs.md]

Weights are random: they change no time. Each variant runs in a process of its own, with one thread, so that its memory is its
own. Seconds are the processor's. Training is the difference between two epochs and one, the rest of ``fit`` what is left of it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from measure import put_between
from torch.utils.flop_counter import FlopCounterMode

from co3cli.markdown import markdown
from co3lib.backbones import build_backbone
from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.paper import paper_results
from co3lib.segmentation import CoSegmenter

VARIANTS = ("vgg16_pool5", "vgg16_fc6")
WORKERS = 16
SUSTAINED = (10e12, 40e12)  # multiplications and additions a second that a GPU may sustain in single precision


def costs(backbone: str, count: int) -> dict[str, float]:
    """Seconds a photo of each part, operations of a forward pass, and the process's memory in GB."""
    torch.set_num_threads(1)
    photos = [sample.image_path for sample in demo_set("coins")["coin"][:count]]
    config = CoSegConfig.released(backbone=backbone, weights="random")

    def seconds(work) -> float:
        started = time.process_time()
        work()
        return (time.process_time() - started) / count

    segmenter = CoSegmenter(config.model_copy(update={"epochs": 1}))
    one = seconds(lambda: segmenter.fit(photos, progress=False))
    two = seconds(lambda: CoSegmenter(config.model_copy(update={"epochs": 2})).fit(photos, progress=False))
    predict = seconds(lambda: segmenter.predict(photos, progress=False))
    network = build_backbone(backbone, "random")
    image = torch.zeros(1, 3, 448, 448)
    forward = seconds(lambda: [network(image) for _ in range(count)])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "forward and graph": forward,
        "an epoch of training": two - one,
        "the rest of fit": max(2 * one - two, 0.0),
        "predict": predict,
        "GFLOP forward": counter.get_total_flops() / 1e9,
        "peak memory, GB": memory,
    }


def arithmetic(found: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Days for the four sets: 40 epochs of training and one prediction of each photo."""
    rows = paper_results().query("table == 'Table 1' and measure == 'images'")
    photos = int(rows.value.sum())
    lines = {}
    for name, cost in found.items():
        each = 40 * cost["an epoch of training"] + cost["the rest of fit"] + cost["predict"]
        # A backward pass counts as two forward ones: 40 epochs, two more passes, and 40 peaks of a photo down to the image.
        passes = 40 * 3 + 2 + 40 * 3
        hours = [photos * passes * cost["GFLOP forward"] * 1e9 / rate / 3600 for rate in SUSTAINED[::-1]]
        lines[name] = {
            "photos": photos,
            "seconds a photo, one core": f"{each:.0f}",
            "core days": f"{photos * each / 86400:.1f}",
            f"days on {WORKERS} workers": f"{photos * each / 86400 / WORKERS:.1f}",
            "hours on one GPU, by operations alone": f"{hours[0]:.1f} to {hours[1]:.1f}",
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("network")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--variant", choices=VARIANTS, help="measure this one and print it as JSON")
    parser.add_argument("--output", type=Path, default=Path("results/costs.md"))
    arguments = parser.parse_args()
    if arguments.variant:
        print(json.dumps(costs(arguments.variant, arguments.photos)))
        return
    found = {}
    for name in VARIANTS:
        command = [sys.executable, __file__, "--variant", name, "--photos", str(arguments.photos)]
        found[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    table = pd.DataFrame.from_dict(found, orient="index").rename_axis("network").round(1)
    text = (
        f"Processor seconds a photo, one thread, {arguments.photos} photos, the released configuration at 448 pixels, random "
        f"weights.\n\n{markdown(table)}\n\nThe four sets of the paper, 40 epochs and one prediction a photo:\n\n"
        f"{markdown(arithmetic(found))}\n\nThe GPU's hours are arithmetic, not a measurement: operations of the network over "
        "10 to 40 TFLOP/s, nothing else counted.\n"
    )
    put_between(arguments.output, text)
    print(text)


if __name__ == "__main__":
    main()
