"""Finding the answer in a response: boxes, tags, announcements in many languages, last values."""
