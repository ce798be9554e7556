"""The backbone forwards, against the same network in ONNX Runtime with as many threads.

    python benchmarks/bench_backbone.py

Needs ``pip install onnx onnxruntime``, which nothing else here does.
"""

import io

import torch
from against import in_turn, row, show

from co3lib.backbones import build_backbone

_SIDES = (448, 896, 1344)


def main() -> None:
    try:
        import onnx  # noqa: F401  (what torch exports with)
        import onnxruntime
    except ImportError as error:
        raise SystemExit(f"bench_backbone.py needs pip install onnx onnxruntime: {error}") from error
    backbone = build_backbone().requires_grad_(False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    rows = []
    for side in _SIDES:
        image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        file = io.BytesIO()
        torch.onnx.export(backbone, (image,), file, input_names=["image"], dynamo=False)
        session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])

        def ours(image=image):
            with torch.no_grad():
                return backbone(image)

        (expected,) = session.run(None, {"image": image.numpy()})
        torch.testing.assert_close(ours(), torch.from_numpy(expected), rtol=1e-3, atol=1e-3)
        given = {"image": image.numpy()}
        measured = in_turn(ours, lambda s=session, x=given: s.run(None, x), 5)
        rows.append(row(f"{backbone.name}, {side} x {side}", measured, "ONNX Runtime", 1))
    show("Backbone", rows)


if __name__ == "__main__":
    main()
