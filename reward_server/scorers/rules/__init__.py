"""Rule-based scorers that need no model, one per file; documented in docs/rules.md."""
