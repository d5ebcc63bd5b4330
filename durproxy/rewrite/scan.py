"""The byte search that lets all but df statements pass unparsed; it runs on every statement."""

from __future__ import annotations

import re

# df or "df" in front of a dot, not the end of a longer name; searched in lower-case bytes. "DF" is
# another schema, but reading one statement too many costs little.
_QUALIFIER = re.compile(rb'(?<![a-z0-9_$\x80-\xff])(?:df|"df")\s*\.')

# The calls after which an engine has something to do.
_WAKING = re.compile(_QUALIFIER.pattern + rb'\s*"?(?:start|signal|cancel)\b')


def mentions_df(body: bytes | memoryview) -> bool:
    """Tell whether the text may name something in schema df."""
    # lower and find are the fastest way to say no: `in` on bytes and a pattern take twice the time
    lowered = bytes(body).lower()
    return lowered.find(b"df") >= 0 and _QUALIFIER.search(lowered) is not None


def may_wake(text: bytes) -> bool:
    """Tell whether the text mentions df.start, df.signal or df.cancel."""
    return _WAKING.search(text.lower()) is not None
