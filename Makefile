# make demo    set up everything and run the main job on embedded data
# make test    set up everything and pass the tests
# make check   format, lint, types, floors, tests
# make wheel   build the wheel, install it where the checkout cannot be seen, and use it
# make clean   remove what the above made

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUN    ?= demo

.PHONY: demo test check lint slow wheel clean

# One thread: the images are so small that a second one does not pay, and on a busy machine two wait for each other.
demo: $(VENV)/.demo
	$(BIN)/autoprune compress --model resnet20 --data digits --target onnxruntime --latency 30% \
	    --agent ddpg --episodes 100 --train-threads 1 --onnx --run $(RUN) --overwrite

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile --no-loadscope-reorder --durations=30

slow: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or gpu"

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: $(VENV)/.dev
	VENV=$(VENV) .ci/wheel

check: lint test

# One environment serves both; the stamps say which extras are in it.
$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[onnx,report]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(VENV)/.demo $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
