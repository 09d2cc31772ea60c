"""How a token is written on a line of its own, so that one line is one token and the token can be read back."""

from __future__ import annotations

import re

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
_READ = {spelled[1]: char for char, spelled in _NAMED.items()}
# Control characters and what str.splitlines or a language model may take for the end of a line.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\\\\]")
_SPELLED = re.compile(r"\\(?:u([0-9a-f]{4})|(.))", re.DOTALL)


def spelled(token: str) -> str:
    """A token on a line: its leading space as it is, line breaks and tabs as \\n, \\r, \\t, and \\ as \\\\."""
    return _ODD.sub(lambda odd: _NAMED.get(odd[0]) or f"\\u{ord(odd[0]):04x}", token)


def unspelled(line: str) -> str:
    """The token that `spelled` wrote; of what it never writes, the characters as they stand."""
    return _SPELLED.sub(lambda found: chr(int(found[1], 16)) if found[1] else _READ.get(found[2], found[0]), line)
