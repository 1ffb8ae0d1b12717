"""Read samples from files, write results to files."""
