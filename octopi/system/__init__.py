"""Files, locks, memory, cores, processes and text encoding: what the operating system gives."""
