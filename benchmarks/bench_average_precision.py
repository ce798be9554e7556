"""Average precision over many photos, against pycocotools' COCOeval at the same three thresholds, both from run lengths.

python benchmarks/bench_average_precision.py
"""

import contextlib
import io

import numpy as np
import torch
from against import in_turn, row, show
from bench_suppression import ellipses
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from co3lib.evaluation import THRESHOLDS, overlaps, pooled_average_precision
from co3lib.instance import Instance
from co3lib.overlap import tight_box

_PHOTOS, _FOUND, _TRUE, _SIZE = 1000, 5, 3, (240, 320)


def main() -> None:
    found, truth, annotations, results = [], [], [], []
    for k in range(_PHOTOS):
        masks = ellipses(_FOUND + 1, *_SIZE, seed=k)
        masks = masks[masks.any((1, 2))]
        scores = np.random.default_rng(k).random(len(masks))
        found.append([Instance(m, float(s), (0, 0), tight_box(m)) for m, s in zip(masks[1:], scores, strict=False)])
        truth.append(torch.from_numpy(np.roll(masks[:_TRUE], 2, 2)))
        for one in rle.encode(np.asfortranarray(truth[-1].numpy().view(np.uint8).transpose(1, 2, 0))):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": k, "category_id": 1, "iscrowd": 0}
                | {"segmentation": one, "area": float(rle.area(one)), "bbox": rle.toBbox(one).tolist()}
            )
        for one in found[-1]:
            results.append({"image_id": k, "category_id": 1, "score": one.score, "segmentation": one._runs})
    images = [{"id": k, "height": _SIZE[0], "width": _SIZE[1]} for k in range(_PHOTOS)]

    def ours():
        ious, scores = overlaps(found, truth)
        return [pooled_average_precision(ious, scores, iou) for iou in THRESHOLDS]

    def rival():
        with contextlib.redirect_stdout(io.StringIO()):
            known = COCO()
            known.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1}], "info": {}}
            known.createIndex()
            evaluation = COCOeval(known, known.loadRes([dict(one) for one in results]), "segm")
            evaluation.params.iouThrs = np.array(THRESHOLDS)
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation.eval["precision"]

    show("AP", [row(f"{_PHOTOS} photos", in_turn(ours, rival, 3), "COCOeval", 0.2)])


if __name__ == "__main__":
    main()
