"""Code for the library transformers that goes into each repository as it is.

It does not import residua. The network is data: a list of operations in config.json, which
`transformers_files.py` writes and `modeling_residua.py` runs.
"""
