"""Explanations of a network: first-layer filters, activation maps, Grad-CAM."""

from residua.inference.explain.activation_maps import activation_maps
from residua.inference.explain.figures import image_grid, overlay_heatmap
from residua.inference.explain.filters import first_layer_filters, rescale_filters
from residua.inference.explain.grad_cam import grad_cam

__all__ = [
    "activation_maps",
    "first_layer_filters",
    "grad_cam",
    "image_grid",
    "overlay_heatmap",
    "rescale_filters",
]
