"""Other trainers' formats: one file a format, and the one piece that answers them all, `routes`.

In: the body that a trainer's own client sends. Out: the body that it reads. Scores come from the
engine as for `POST /score`; nothing here decides about them.
"""
