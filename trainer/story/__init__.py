"""Multi-turn stories: rows from conversations, and what the history told the model."""
