"""Samples from files, results into files."""
