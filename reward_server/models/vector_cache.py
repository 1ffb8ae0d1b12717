"""An LRU cache of text vectors: prompts and histories recur in every group."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

import numpy as np
from msgspec import Struct

# The size of an entry beside its numbers: two objects, the key and its place in the order.
ENTRY_BYTES = 350


class Embedding(Struct):
    """The vector of one text, in fp32. `cut`: tokens removed by truncation."""

    vector: np.ndarray
    tokens: int
    cut: int


class VectorCache:
    """Keyed by text and model digest, used by one thread. `max_bytes` 0 keeps nothing."""

    def __init__(self, digest: str, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._digest = digest.encode()
        self._kept: OrderedDict[bytes, Embedding] = OrderedDict()

    def key(self, text: str) -> bytes:
        """Return the key for the vector of `text`."""
        return blake2b(text.encode("utf-8", "replace"), digest_size=16, key=self._digest).digest()

    def get(self, key: bytes) -> Embedding | None:
        embedding = self._kept.get(key)
        if embedding is not None:
            self._kept.move_to_end(key)
        return embedding

    def put(self, key: bytes, embedding: Embedding) -> None:
        if key not in self._kept:
            self.bytes += embedding.vector.nbytes + ENTRY_BYTES
        self._kept[key] = embedding
        while self.bytes > self.max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= oldest.vector.nbytes + ENTRY_BYTES

    def __len__(self) -> int:
        return len(self._kept)
