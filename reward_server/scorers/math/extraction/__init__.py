"""Search a response for its answer: boxes, tags, announcements in many languages, last values."""
