"""The demo: arithmetic for a model that is small enough for a processor."""
