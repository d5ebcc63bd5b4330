"""The byte search that lets all but df statements pass unparsed; it runs on every statement."""

from __future__ import annotations

import re

# df or "df" in front of a dot, not the end of a longer name; searched in lower-case bytes. "DF" is
# another schema, but reading one statement too many costs little.
_QUALIFIER = re.compile(rb'(?<![a-z0-9_$\x80-\xff])(?:df|"df")\s*\.')

# A byte without which neither can be there.
_DOT, _X = ord("."), ord("x")

# The calls after which an engine has something to do.
_WAKING = re.compile(_QUALIFIER.pattern + rb'\s*"?(?:start|signal|cancel)\b')

# A statement about the extension whose place we take: scripts have it near their beginning, and a
# long text is mostly data. Bounded, so that no text is slow to search.
_HEAD = 8 * 1024
_EXTENSION = re.compile(rb"\bextension\b[^;]{0,200}pg_durable")


def mentions_df(body: bytes | bytearray) -> bool:
    """Tell whether the text may name something in schema df, or the extension pg_durable."""
    lowered = body.lower()
    # `in` with a single byte is by far the fastest way to say no; `find` is the next
    if _DOT in lowered and lowered.find(b"df") >= 0 and _QUALIFIER.search(lowered) is not None:
        return True
    if _X not in lowered or lowered.find(b"pg_durable", 0, _HEAD) < 0:
        return False
    return _EXTENSION.search(lowered) is not None


def may_wake(text: bytes) -> bool:
    """Tell whether the text mentions df.start, df.signal or df.cancel."""
    return _WAKING.search(text.lower()) is not None
