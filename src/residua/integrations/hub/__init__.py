"""The Hugging Face Hub: repositories made from runs, uploads and downloads.

repository.py makes the tree of a repository from a run: public_run.py copies the run without what
is private (private.py), card.py writes the model card, transformers_files.py the files for the
library transformers. client.py uploads and downloads, worker.py is the process that uploads during
a training. Only client.py uses huggingface_hub, the extra `hub`.
"""

from residua.integrations.hub.client import download_model

__all__ = ["download_model"]
