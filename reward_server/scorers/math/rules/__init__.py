"""Whether a response's answer is the ground truth's, by the kind of answer."""
