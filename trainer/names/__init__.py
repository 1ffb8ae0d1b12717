"""The names that people bring from other projects, and what each means here."""
