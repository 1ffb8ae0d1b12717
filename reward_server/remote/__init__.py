"""Scoring through remote endpoints: transport, retries, and parsing of their answers."""
