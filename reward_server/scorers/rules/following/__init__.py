"""The instructions of IFEval and IFBench, each a check of a response."""
