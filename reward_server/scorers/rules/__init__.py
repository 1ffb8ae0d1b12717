"""The library of rules: small scorers that need no model, one a file. docs/rules.md tells each."""
