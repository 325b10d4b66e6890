"""Let atheris loose on a reader: `fuzz.py TARGET [libFuzzer's options]`; `make fuzz` does all.

Coverage guides it through the code that reads; what it finds is any exception but UserError.
"""

import sys

import atheris

with atheris.instrument_imports(include=["residua", "yaml", "tarfile", "tomllib"]):
    import targets
    from sound import FILES


def main(name: str, *options: str) -> None:
    target = {each.__name__: each for each in targets.BYTES}[name]
    corpus = targets.HOME / "corpus"
    corpus.mkdir()
    (corpus / "sound").write_bytes(FILES[target])
    atheris.Setup([sys.argv[0], *options, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
