"""The page at `/` and the data it requests; no other part of the server depends on it."""
