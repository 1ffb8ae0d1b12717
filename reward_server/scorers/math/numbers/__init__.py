"""Evaluate expression trees, and compare their values."""
