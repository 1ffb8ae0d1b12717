"""Worker processes that score with a deadline and are killed when they exceed it."""
