"""What a worker with a vLLM engine does, and what stands around the engine: `python -m benchmarks.engine --help`."""
