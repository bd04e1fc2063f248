"""What only a real Unleash can prove: the provider's contract, its traps, its errors, and what its SDK sees."""
