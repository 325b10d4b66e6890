"""A training as a directory: typed records, checkpoints, the model, artifacts."""
