"""The errors that are shown to users, and how text that is not UTF-8 is shown."""


class UserError(Exception):
    """A mistake that the user can fix.

    The command line prints the message, which is one line, and exits with status 2.
    """


class PeerError(UserError):
    """Another process of the same training failed, and tells why; or it ended.

    The command line exits with status 1 and prints nothing.
    """


def is_utf8(text: str) -> bool:
    r"""Whether text can be written as UTF-8.

    It cannot if it has lone surrogates: JSON can spell them (`"\ud800"`), and in the names of
    files they stand for bytes that are not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escaped(text: str) -> str:
    r"""Text with its lone surrogates escaped; those that stand for bytes as these: a\xffb."""
    shown = (
        f"\\x{ord(char) - 0xDC00:02x}" if "\udc80" <= char <= "\udcff" else char for char in text
    )
    return "".join(shown).encode(errors="backslashreplace").decode()
