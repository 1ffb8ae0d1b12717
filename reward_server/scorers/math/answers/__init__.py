"""Kinds of answers that a tree can state: a set, an interval, a relation, a list of values."""
