"""Backbones: the features of an image, from VGG-16, EfficientNet-Lite, any timm network of the usual parts or any of timm's
vision transformers."""

from .backbone import Backbone, DenseClassifier, digest
from .build import DEFAULT, build_backbone, build_both, build_dense_classifier
from .vgg16 import VGG16_VARIANTS
from .weights import WeightsError

__all__ = [
    "DEFAULT",
    "VGG16_VARIANTS",
    "Backbone",
    "DenseClassifier",
    "WeightsError",
    "build_backbone",
    "build_both",
    "build_dense_classifier",
    "digest",
]
