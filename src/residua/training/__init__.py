"""The training loop, and all that it needs while it runs."""
