"""What the benchmarks share: turns side by side, synthetic projects, jobs and stopwatches."""
