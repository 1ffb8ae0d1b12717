"""From a request's samples to its results: fan out to the scorers, combine, cache, reload."""
