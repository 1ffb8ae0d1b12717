"""HTTP: authentication, limits, and the bytes of requests and answers."""
