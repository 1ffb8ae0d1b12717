"""Audit a profile: measure how well it accepts, rejects and resists gaming.

The input is a profile and the user's own rows, the output an `AuditReport` as JSON and as a page.
An audit scores through an engine in this process or through a running server, and trains nothing.
"""
