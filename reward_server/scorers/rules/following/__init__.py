"""Instructions of IFEval and IFBench, each with a function that checks a response."""
