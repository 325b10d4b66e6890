"""The report of a run: what was trained, how it went and what came of it."""
