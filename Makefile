# `make demo` and `make test` set themselves up; PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
BIN := .venv/bin
TORCH := torch==2.13.0
CPU_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: demo env test test-all check docs bench gpu accuracy clean

DEMO := project=demo experiment=demo
MODEL := checkpoint=outputs/demo/train/best_model.pth

# Three runs train, the fourth is picked and scored.
demo: env
	rm -rf outputs/demo/train outputs/demo/evaluate
	$(BIN)/octopi create_targets $(DEMO) overwrite=true
	$(BIN)/octopi train $(DEMO) hydra.run.dir=outputs/demo/train
	$(BIN)/octopi segment $(DEMO) $(MODEL) 'runs=[TS_04]' overwrite=true
	$(BIN)/octopi localize $(DEMO) $(MODEL) 'runs=[TS_04]'
	$(BIN)/octopi evaluate $(DEMO) 'runs=[TS_04]' hydra.run.dir=outputs/demo/evaluate
	@echo
	@echo "The model:     outputs/demo/train/best_model.pth   (curves.png beside it)"
	@echo "The picks:     outputs/demo/project/overlay        (a copick project: user octopi, session 1)"
	@echo "Their scores:  outputs/demo/evaluate/scores.json   (picks.png beside it)"

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

# A process a core, each on one thread; without the tests that take more than ten seconds each.
test: MARKED = -m "not slow"
test test-all: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --dist=worksteal $(MARKED)

check: env
	$(BIN)/ruff format --check octopi tests benchmarks
	$(BIN)/ruff check octopi tests benchmarks
	$(BIN)/pyright octopi
	$(BIN)/lint-imports

# The site, under site/; needs no network once .venv is there. Its pages open as files; to search
# them too, serve them: .venv/bin/python -m http.server -d site
docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "The site: site/index.html"

# Every figure of benchmarks/RESULTS.md. PEER is the Python of a virtual environment of its own with
# octopi==1.7.0: without it there are no ratios. Best on a machine with nothing else to do.
bench: env
	$(BIN)/python benchmarks/run.py $(if $(PEER),--peer $(PEER))

# On a machine with a GPU: what only it can show, and its figures.
gpu: env
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python benchmarks/gpu.py $(if $(PEER),--peer $(PEER))

accuracy: env
	$(BIN)/python benchmarks/accuracy.py --minutes 30

# The lock is made anew with: make lock (needs uv on the path)
.PHONY: lock
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --prerelease if-necessary-or-explicit --no-emit-package torch --no-header --no-annotate \
	  --output-file requirements.lock
	sed -i -E '/^(nvidia-|cuda-|triton==)/d' requirements.lock  # torch's own, installed with it

clean:
	rm -rf .venv outputs/cache site
