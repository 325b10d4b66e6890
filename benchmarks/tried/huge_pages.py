"""The loop of `residua train` with large tensors in huge pages, where Linux supports them."""

import os

# torch reads this once, at its first allocation.
os.environ["THP_MEM_ALLOC_ENABLE"] = "1"

from speed import ours
from speed.worker import serve

if __name__ == "__main__":
    serve(ours.loop)
