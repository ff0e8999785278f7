"""The steps from a question to an answer with timestamps, and what they stand on. Usable without a queue."""
