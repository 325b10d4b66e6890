"""Explanations of a network and of its predictions.

`explain_image` gives all of them for one image; the other functions give one each.
"""

from residua.inference.explain.activation_maps import activation_maps, stage_names
from residua.inference.explain.explanation import Explanation, explain_image
from residua.inference.explain.figures import (
    channel_mosaic,
    filter_mosaic,
    mosaic,
    overlay_attribution,
    overlay_heatmap,
)
from residua.inference.explain.filters import first_layer_filters, rescale
from residua.inference.explain.grad_cam import grad_cam
from residua.inference.explain.integrated_gradients import Attribution, integrated_gradients
from residua.inference.explain.neighbors import Neighbors, nearest_images, penultimate_features

__all__ = [
    "Attribution",
    "Explanation",
    "Neighbors",
    "activation_maps",
    "channel_mosaic",
    "explain_image",
    "filter_mosaic",
    "first_layer_filters",
    "grad_cam",
    "integrated_gradients",
    "mosaic",
    "nearest_images",
    "overlay_attribution",
    "overlay_heatmap",
    "penultimate_features",
    "rescale",
    "stage_names",
]
