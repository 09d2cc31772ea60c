"""Words for components: explain, simulate, score, and how far to trust it."""
