"""The byte search that lets all but df statements pass unparsed; it runs on every statement."""

from __future__ import annotations

import re

# df or "df" in front of a dot, not the end of a longer name. "DF" is another schema, but reading
# one statement too many costs little.
_QUALIFIER = re.compile(rb'(?<![A-Za-z0-9_$\x80-\xff])(?:[dD][fF]|"[dD][fF]")\s*\.')

# The calls after which an engine has something to do.
_WAKING = re.compile(_QUALIFIER.pattern + rb'\s*"?(?:start|signal|cancel)\b', re.IGNORECASE)


def mentions_df(body: bytes | memoryview) -> bool:
    """Tell whether the text may name something in schema df; most texts end at the first line."""
    text = bytes(body)
    if b"df" in text or b"DF" in text or b"Df" in text or b"dF" in text:
        return _QUALIFIER.search(text) is not None
    return False


def may_wake(text: bytes) -> bool:
    """Tell whether the text mentions df.start, df.signal or df.cancel."""
    return _WAKING.search(text) is not None
