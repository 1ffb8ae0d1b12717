"""What the server reports of itself: metrics, logs, traces."""
