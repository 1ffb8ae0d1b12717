"""Ablation studies: the same run under several settings and seeds, compared."""
