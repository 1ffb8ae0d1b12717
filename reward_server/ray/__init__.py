"""Serve and score in bulk on a Ray cluster; only this package imports Ray."""
