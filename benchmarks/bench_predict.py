"""What a photo costs beyond its network and its proposals, and a training beyond its steps.

python benchmarks/bench_predict.py
"""

import torch
from against import Measured, in_turn, row, seconds, show

from co3lib.config import CoSegConfig
from co3lib.datasets import demo_set
from co3lib.inference import prepare
from co3lib.proposals import propose_regions
from co3lib.segmentation import CoSegmenter
from co3lib.training import batches, start_features, train

_PHOTOS, _EPOCHS = 40, 2


def main() -> None:
    config = CoSegConfig(epochs=_EPOCHS)
    ((_, samples),) = demo_set("coins").items()
    paths = [sample.image_path for sample in samples]
    segmenter = CoSegmenter(config).fit(paths, progress=False)
    model = segmenter.model
    assert model is not None
    photo = prepare(paths[0], config)

    def parts():
        with torch.no_grad():
            for side in config.peak_sizes:
                model(photo.at(side))
        propose_regions(photo.pixels, 1000)

    what = f"{len(config.peak_sizes)} forwards and the proposals"
    rows = [row("predict, one photo", in_turn(lambda: segmenter.predict(paths[:1], progress=False), parts, 3), what, 1.3)]
    proposals = in_turn(lambda: propose_regions(photo.pixels, 1000), lambda: model(photo.tensor), 5)
    rows.append(row("proposals, 1000 of a photo", proposals, "one forward", None))

    images = [photo.tensor + 0.01 * k for k in range(_PHOTOS)]
    activations, _ = start_features(model, images, config.frozen_until)
    priors = torch.rand(_PHOTOS, 1, config.input_size, config.input_size, generator=torch.Generator().manual_seed(0))

    def steps():
        trained = [one.requires_grad_() for one in model.backbone.parameters_after(config.frozen_until)]
        optimizer = torch.optim.AdamW(trained, 0.0)
        for epoch in range(_EPOCHS):
            for batch in batches(_PHOTOS, config.batch_size, torch.Generator().manual_seed(epoch)):
                optimizer.zero_grad()
                model.forward_from(activations[batch], config.frozen_until).score.sum().backward()
                optimizer.step()

    spans = [(seconds(steps), seconds(lambda: train(model, activations, priors, config, progress=False))) for _ in range(2)]
    measured = Measured([own for _, own in spans], [rival for rival, _ in spans])
    rows.append(row(f"training, {_PHOTOS} photos, {_EPOCHS} epochs", measured, "as many bare steps", 1.15))
    show("Predict and fit", rows)


if __name__ == "__main__":
    main()
