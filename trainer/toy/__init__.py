"""The quick demo: arithmetic for a model small enough to train on a CPU."""
