"""Environments that trainers call over HTTP, each made of one profile and one file of rows.

There is one ASGI application per wire. A response that could not be scored has no reward; it is
never 0.
"""
