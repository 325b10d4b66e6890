"""What a network looks for, and where: filters, activations, the grounds of a decision."""

from residua.explain.activation_maps import activation_maps
from residua.explain.filters import first_layer_filters, stretched
from residua.explain.grad_cam import grad_cam
from residua.explain.pictures import overlay, tiles

__all__ = ["activation_maps", "first_layer_filters", "grad_cam", "overlay", "stretched", "tiles"]
