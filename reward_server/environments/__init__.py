"""One profile and one file of rows as an environment of the kinds that trainers ask over HTTP.

In: rows and an engine. Out: an ASGI application for each wire. What is missing of a reward stays
missing: no environment says 0 for a response that could not be scored.
"""
