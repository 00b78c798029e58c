"""Names from outside that UTF-8 cannot hold, made such that it can. Imports nothing heavy.

A file name is bytes: where they are not UTF-8, Python's ``str`` of it holds lone surrogates, and so
does JSON that says ``"\\ud800"``. Such a text can neither be written to a file nor be printed. It
is cleaned where it enters, so that it costs no more than its own spelling.
"""

from __future__ import annotations


def clean_name(text: str) -> str:
    """``text`` with each lone surrogate written as an escape: ``caf\\udce9``.

    Different texts stay different unless one already holds such an escape, and a text that UTF-8
    can hold is returned as it is.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text
