"""Measure the speed of training loops; `bench.py` is the command."""
