"""Our loop with torch's large tensors in huge pages, where Linux gives them on request."""

import os

# Torch reads it once, at its first allocation.
os.environ["THP_MEM_ALLOC_ENABLE"] = "1"

from speed import ours
from speed.serve import serve

if __name__ == "__main__":
    serve(ours.loop)
