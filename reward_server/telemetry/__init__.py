"""The server's metrics, logs and traces."""
