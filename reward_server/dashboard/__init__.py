"""The page at `/`, and the data that it asks for. Nothing else in the server knows of it."""
