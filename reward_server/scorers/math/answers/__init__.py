"""What kind of answer a tree is: a set, an interval, a relation, a list of values."""
