"""What is fast, against what floor. `make bench` runs all of it and writes docs/benchmarks.md."""
