"""Rows for training: files, data sets, their formats, the samples that a run kept."""
