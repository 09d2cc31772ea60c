"""A causal LM as a sum of writes: families, loading, one instrumented pass."""
