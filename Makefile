# Everything runs in .venv, made from the pinned set in constraints.txt.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DATA   ?= ../shared/data
WORKERS ?= 2
FROZEN  ?= frozen.json
SEED    ?= 1
CASES   ?= 10000

# of the suite, what touches other packages most: reading, writing, fitting, pictures, the command line
QUICK   := $(patsubst %,tests/test_%.py,data readers file_formats files_from_outside prior_network network_files formats \
  gram gibbs sparse factor_fit scores calibration storage archives netcdf datatree arviz tools plots report exports cli \
  sweep)

.PHONY: install demo test test-all test-gpu test-oldest test-newest test-anndata fuzz kills baselines freeze lint types bench \
  bench-quick bench-phoenix provenance pages notebooks docs clean

install: $(STAMP)

# torch first and pinned: any other request would pull the CUDA packages of the newest build
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $(STAMP)

# the main jobs end to end on data the project simulates itself
demo: $(STAMP)
	rm -rf demo
	$(BIN)/pyrogrn demo --all --out demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=10

test-all: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not gpu"

test-gpu: $(STAMP)
	$(BIN)/python -m pytest -m gpu

# the quick part with the oldest versions that pyproject.toml allows, as uv resolves them, and with the newest of all;
# torch as pinned in both (docs/versions.md says what that leaves open)
test-oldest: RESOLUTION := lowest-direct
# old packages say that what they call of others is deprecated
test-oldest: WARNINGS := -o filterwarnings=default
test-newest: RESOLUTION := highest
test-oldest test-newest:
	rm -rf .venv-$@
	$(PYTHON) -m venv .venv-$@
	.venv-$@/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv-$@/bin/pip install --quiet --disable-pip-version-check uv
	grep '^torch==' constraints.txt > .venv-$@/torch.txt
	.venv-$@/bin/uv pip compile --quiet pyproject.toml --extra test --extra multi --extra parquet --resolution $(RESOLUTION) \
	  -c .venv-$@/torch.txt --python .venv-$@/bin/python --no-annotate --no-header -o .venv-$@/resolved.txt
	grep -vE '^(torch=|nvidia-|cuda-|triton)' .venv-$@/resolved.txt > .venv-$@/wanted.txt
	.venv-$@/bin/pip install --quiet --disable-pip-version-check -r .venv-$@/wanted.txt
	.venv-$@/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	OMP_NUM_THREADS=1 .venv-$@/bin/python -m pytest -n $(WORKERS) --dist worksteal $(WARNINGS) $(QUICK)

# an h5ad that pyrogrn.tl has written, read by each anndata from the oldest allowed to the newest; PYTHONS="python3.11 python3.13"
test-anndata: $(STAMP)
	$(BIN)/python tests/anndata_versions.py $(or $(PYTHONS),$(PYTHON))

# mutated inputs over every reader, command, option and stored folder; `make fuzz SEED=2`, one again: SEED=2 CASE=417
fuzz: $(STAMP)
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m fuzz --seed $(SEED) --cases $(CASES) --workers $(WORKERS) $(if $(CASE),--case $(CASE))

# 30 runs of ten kinds of commands, killed at random moments and resumed, and all hostile surroundings; KILLS="--runs 100 --seed 5" for others
kills: $(STAMP)
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m kills $(KILLS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or not slow" tests/test_hostile.py

# the stored pictures of pyrogrn.pl, which tests/test_pictures.py compares; look at them before they are committed
baselines: $(STAMP)
	$(BIN)/python tests/pictures/make.py

# fingerprints of small fits by every model and engine: `make freeze` before a change, `make freeze COMPARE=1` after it
freeze: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/freeze.py $(if $(COMPARE),--compare,--out) $(FROZEN)

lint: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy does not see an editable install of a package that is its own checkout: check an ordinary one
types:
	$(PYTHON) -m venv .venv-types
	.venv-types/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv-types/bin/pip install --quiet --disable-pip-version-check -c constraints.txt . mypy pandas-stubs
	cd .venv-types && bin/mypy --config-file ../pyproject.toml -p pyrogrn

# every figure quoted in README.md and docs/results, about a day of one core; tidy rows in experiments/results/
bench: $(STAMP)
	OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 $(BIN)/python -m pyrogrn.experiments.benchmarks --anew --data $(DATA) --out experiments/results

# a part of it that is made from nothing within twenty minutes on one core, into build/quick
bench-quick: $(STAMP)
	rm -rf build/quick
	OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 $(BIN)/python -m pyrogrn.experiments.benchmarks --quick --data $(DATA) --out build/quick

# the DASH paper's tables: some hours on one core; interrupted, they go on where they were
bench-phoenix: $(STAMP)
	OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 $(BIN)/python -m pyrogrn.experiments.benchmarks phoenix phoenix_table --data $(DATA) --out experiments/results

# which commit made each results file, and what it measures that has changed since (needs the history of git)
provenance: $(STAMP)
	$(BIN)/python -m pyrogrn.experiments.benchmarks --provenance --out experiments/results

# docs/results and the results of README.md, from experiments/results/*.csv
pages: $(STAMP)
	$(BIN)/python -m pyrogrn.experiments.pages

# notebooks/*.ipynb with outputs, from their sources *.py whose code has changed since; NAMES="time_courses" runs those
notebooks: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	OMP_NUM_THREADS=1 $(BIN)/python -m pyrogrn.experiments.site.executed $(NAMES)

# the site of the documentation, into build/site; a warning or a link that leads nowhere is an error
docs: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	OMP_NUM_THREADS=1 $(BIN)/python -m pyrogrn.experiments.site build/site

clean:
	rm -rf $(VENV) .venv-types .venv-test-oldest .venv-test-newest demo build *.egg-info
