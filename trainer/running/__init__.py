"""What surrounds a run: launch, provenance, report, plots, LoRA."""
