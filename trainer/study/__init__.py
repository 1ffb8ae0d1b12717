"""What each part of an algorithm does: the same run under several settings and seeds, compared."""
