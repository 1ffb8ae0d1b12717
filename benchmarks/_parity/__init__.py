"""What `benchmarks.parity` is made of: samples, the trainers' table, the comparison, the page.

`scripts` has a file a trainer, which is run in that trainer's own environment.
"""
