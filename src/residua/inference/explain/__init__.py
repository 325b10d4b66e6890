"""What a network looks for, and where: filters, activations, the grounds of a decision."""

from residua.inference.explain.activation_maps import activation_maps
from residua.inference.explain.filters import first_layer_filters, stretched
from residua.inference.explain.grad_cam import grad_cam
from residua.inference.explain.pictures import overlay, tiles

__all__ = ["activation_maps", "first_layer_filters", "grad_cam", "overlay", "stretched", "tiles"]
