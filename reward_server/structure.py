"""Count the elements and the nesting of JSON text before it is decoded.

Text costs about its own size in memory; each element costs a Python object. Two bytes, `1,` or
`[]`, become thirty or sixty, so a small compressed body can demand gigabytes. Counting first allows
such a body to be refused while it is still bytes.
"""

from __future__ import annotations

from itertools import accumulate

# No trainer nests deeper, and deeper values break recursive encoders.
MAX_DEPTH = 64
PAIRED_LEVELS = 8
_OPEN = b"[{"
_DEPTH_CHANGES = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in _DEPTH_CHANGES)


class Structure:
    """Counts over JSON text that is fed in parts.

    `elements`: members, items and containers. `deepest`: the deepest nesting, or a little more, but
    never more than `MAX_DEPTH` for text with few brackets. The grammar is not checked.
    """

    def __init__(self) -> None:
        self.elements = 0
        self.deepest = 0
        self._depth = 0
        self._in_string = False
        self._kept = b""

    def feed(self, part: bytes) -> None:
        """Count the next part of the text."""
        outside = self._outside_of_strings(part)
        opened = outside.count(b"[") + outside.count(b"{")
        self.elements += opened + outside.count(b",")
        if self._depth + opened <= MAX_DEPTH:
            self.deepest = max(self.deepest, self._depth + opened)
            self._depth += opened - outside.count(b"]") - outside.count(b"}")
            return
        # Most brackets are pairs; without them little is left to walk through.
        brackets, levels = outside.translate(None, _NOT_BRACKETS), 0
        while levels < PAIRED_LEVELS and (b"[]" in brackets or b"{}" in brackets):
            brackets, levels = brackets.replace(b"[]", b"").replace(b"{}", b""), levels + 1
        depths = list(accumulate(map(_DEPTH_CHANGES.__getitem__, brackets), initial=self._depth))
        self.deepest = max(self.deepest, max(depths) + levels)
        self._depth = depths[-1]

    def _outside_of_strings(self, part: bytes) -> bytes:
        part = self._kept + part
        self._kept = b""
        if b"\\" in part:
            if (len(part) - len(part.rstrip(b"\\"))) % 2:  # it escapes the start of the next part
                part, self._kept = part[:-1], b"\\"
            part = part.replace(b"\\\\", b"").replace(b'\\"', b"")
        pieces = part.split(b'"')
        outside = b"".join(pieces[self._in_string :: 2])
        if len(pieces) % 2 == 0:
            self._in_string = not self._in_string
        return outside


def structure_of(text: bytes) -> Structure:
    """Return the structure of a complete text."""
    counted = Structure()
    counted.feed(text)
    return counted
