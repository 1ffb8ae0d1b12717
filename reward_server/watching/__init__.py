"""What follows the rewards without changing them: the hacking watch, shadows, the score log."""
