"""Workflows of several commands: resumable stages, and the servers they need."""
