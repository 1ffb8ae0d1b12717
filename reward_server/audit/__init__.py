"""Audits of a profile: what it accepts, what it refuses, and what a policy could exploit.

In: a profile and the user's own rows. Out: an `AuditReport`, as JSON and as a page. It scores
through the engine, or through a server that runs, and trains nothing.
"""
