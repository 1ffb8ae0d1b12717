"""Rows for training: files, datasets, their formats, and the samples that a run kept."""
