"""The parts of `benchmarks.parity`: samples, table of trainers, comparison, page.

`scripts` has one file per trainer, which runs in that trainer's own environment.
"""
