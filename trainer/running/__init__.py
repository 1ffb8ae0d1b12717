"""Everything around training: start and resume, provenance, report, plots, LoRA."""
