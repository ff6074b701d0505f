# Gristmill's commands. `make demo` is the two-minute introduction: everything it needs comes from the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: install demo scaling test mutate fuzz check audit ui peers clean lock

install: $(INSTALLED)

# torch first and alone: pip then finds a build for this machine. The lock is complete, so nothing is resolved;
# uv installs it in a fraction of pip's time, and pip stands in where uv cannot reach the package index.
$(INSTALLED): requirements.lock pyproject.toml
	@echo "Installing into $(VENV): one to four minutes, about 2 GB."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.11 install"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --no-compile torch==2.13.0 uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --requirement requirements.lock \
		|| $(PIP) --no-deps --no-compile --requirement requirements.lock
	@$(PIP) --no-deps --editable .
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >$(VENV)/not-compiled.log || true
	@touch $(INSTALLED)

demo: install
	@$(BIN)/gristmill run demo

# A ladder of five sizes on the demo's corpus, every checkpoint evaluated, and a page of how they scale.
scaling: install
	@$(BIN)/gristmill scaling

# PRECISION=fp32 or bf16 trains as on a processor without bfloat16 or with it, whatever this one has; ORDER=SEED shuffles.
test: install
	@GRISTMILL_TEST_PRECISION=$(PRECISION) GRISTMILL_TEST_ORDER=$(ORDER) $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Realistic mistakes, one at a time, in a copy of the code: the share that the tests notice, by room. About two hours on two cores.
mutate: install
	@$(BIN)/python -m tests.mutate

# Other examples for the property tests than those of the gate, and thirty times as many.
fuzz: install
	@$(BIN)/python -m pytest --numprocesses 2 -m hypothesis --hypothesis-profile fuzz --timeout 3000

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "some files are not formatted: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive flows tasks models warehouse demo 2>/dev/null

# Known vulnerabilities of what is locked, by the package index's own list: it needs the network.
audit: install
	@$(BIN)/uvx pip-audit --disable-pip --no-deps --requirement requirements.lock

ui: install
	@$(BIN)/gristmill ui

# Environments of their own for the systems that benchmarks are run beside and that this project does not depend on.
peers: $(patsubst benchmarks/peers/%.txt,.peers/%/.installed,$(wildcard benchmarks/peers/*.txt))

.peers/%/.installed: benchmarks/peers/%.txt
	@$(PYTHON) -m venv .peers/$*
	@.peers/$*/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Resolves requirements.in anew; torch is left out, since it is installed on its own.
lock:
	@$(BIN)/uv pip compile requirements.in --output-file requirements.lock --no-header --no-annotate --no-emit-index-url --no-emit-find-links

clean:
	rm -rf $(VENV) .peers build *.egg-info .mypy_cache .ruff_cache .hypothesis
	@echo "Your store (data/) was left alone."
