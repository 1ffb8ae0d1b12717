"""Rules that compare an answer with a ground truth, by kind of answer."""
