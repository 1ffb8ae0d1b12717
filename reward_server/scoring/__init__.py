"""Turn a request's samples into results: fan out to the scorers, combine, cache, reload."""
