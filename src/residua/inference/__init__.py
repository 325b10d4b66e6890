"""Trained networks in use: predictions, figures, explanations."""
