"""From an expression tree to values, and whether two values are the same."""
