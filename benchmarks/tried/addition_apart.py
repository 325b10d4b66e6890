"""Our loop with the shortcut and the branch added into memory of their own."""

from residua.bench import ours
from residua.bench.serve import serve
from residua.models.blocks import ActivatedBranch, ResidualBlock

if __name__ == "__main__":
    ResidualBlock.added = ActivatedBranch.added  # type: ignore[assignment]
    serve(ours.loop)
