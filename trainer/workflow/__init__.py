"""Several commands in a row: stages that resume, and the servers they need."""
