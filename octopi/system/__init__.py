"""What octopi asks of the operating system: locks, memory, cores, processes, text encoding."""
