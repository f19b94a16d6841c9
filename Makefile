# `make demo` and `make test` set themselves up; PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
BIN := .venv/bin
TORCH := torch==2.13.0
CPU_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: demo env test check bench clean

demo: env
	$(BIN)/python benchmarks/demo.py

env: .venv/.complete

# A CPU build of torch spares gigabytes of CUDA; a machine with an NVIDIA driver gets PyPI's build.
.venv/.complete: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { echo "Cannot make .venv: install Python's venv module (Debian: apt-get install python3-venv)."; exit 2; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	if command -v nvidia-smi >/dev/null 2>&1; then \
	  $(BIN)/python -m pip install --quiet "$(TORCH)"; \
	else \
	  $(BIN)/python -m pip install --quiet "$(TORCH)+cpu" 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --index-url $(CPU_INDEX) "$(TORCH)"; \
	fi
	$(BIN)/python -m pip install --quiet --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

test: env
	$(BIN)/python -m pytest

check: env
	$(BIN)/ruff format --check octopi tests benchmarks
	$(BIN)/ruff check octopi tests benchmarks
	$(BIN)/pyright octopi
	$(BIN)/lint-imports

bench: env
	$(BIN)/python benchmarks/run_all.py

# The lock is made anew with: make lock (needs uv on the path)
.PHONY: lock
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --prerelease if-necessary-or-explicit --no-emit-package torch --no-header --no-annotate \
	  --output-file requirements.lock
	sed -i -E '/^(nvidia-|cuda-|triton==)/d' requirements.lock  # torch's own, installed with it

clean:
	rm -rf .venv outputs/cache
