"""Multi-turn stories: training rows from conversations, and signals from the history."""
