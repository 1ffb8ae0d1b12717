"""The wire formats of other trainers: one file per format, and `routes`, which serves them all.

Each format translates the body that a trainer's own client sends into samples, and results into the
body that this client reads. The engine scores the samples as for `POST /score`.
"""
