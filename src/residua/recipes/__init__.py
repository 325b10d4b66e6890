"""Recipes: the value that defines a training, its built-in values, and how it is loaded."""
