"""Fuzz a target with atheris: `fuzz.py TARGET [libFuzzer's options]`; `make fuzz` runs all.

Coverage guides the fuzzer through the code that reads; any exception but `UserError` is a finding.
"""

import sys

import atheris

with atheris.instrument_imports(include=["residua", "yaml", "tarfile", "tomllib"]):
    import targets
    from valid_inputs import FILES


def main(name: str, *options: str) -> None:
    target = {each.__name__: each for each in targets.BYTES}[name]
    corpus = targets.DIRECTORY / "corpus"
    corpus.mkdir()
    (corpus / "valid").write_bytes(FILES[target])
    atheris.Setup([sys.argv[0], *options, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
