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

.PHONY: install demo test test-all test-gpu fuzz kills baselines freeze lint types bench bench-phoenix pages clean

install: $(STAMP)

# torch first and pinned: any other request would pull the CUDA packages of the newest build
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $(STAMP)

# the main job end to end on data the project simulates itself
demo: $(STAMP)
	rm -rf demo
	$(BIN)/pyrogrn simulate linear --genes 100 --tfs 15 --cells 1500 --perturbed 3 --seed 1 --out demo/data
	$(BIN)/pyrogrn infer demo/data/expression.h5ad --method linear --tfs demo/data/tfs.csv --prior motif=demo/data/prior.csv \
	  --perturbation-key perturbation --truth demo/data/network.csv --seed 1 --out demo/run
	$(BIN)/pyrogrn score demo/run/edges.csv demo/data/network.csv
	$(BIN)/pyrogrn predict demo/run --knockout G0004 --out demo/run/knockout_G0004.csv
	$(BIN)/pyrogrn simulate muvi --genes 200 --cells 500 --sets 5 --set-size 30 --covariates 1 --correlation 0.5 --seed 1 \
	  --out demo/cells
	$(BIN)/pyrogrn infer demo/cells/expression.h5ad --method muvi --gene-sets sets=demo/cells/gene_sets.gmt --factors 1 \
	  --covariates covariate_1 --seed 1 --out demo/programs
	$(BIN)/pyrogrn simulate sergio --hubs 1 --copying 0.5 --dropout 60 --seed 2 --out demo/sergio
	$(BIN)/pyrogrn infer demo/sergio/expression.h5ad --method grnular --tfs demo/sergio/tfs.csv --truth demo/sergio/network.csv \
	  --seed 1 --out demo/grnular
	$(BIN)/pyrogrn simulate panel --genes 40 --seed 1 --out demo/panel
	$(BIN)/pyrogrn infer demo/panel/expression.h5ad --method factorbox --perturbation-key perturbation \
	  --steps 1000 --truth demo/panel/network.csv --seed 1 --out demo/factorbox
	$(BIN)/pyrogrn predict demo/factorbox --knockdown G0001 --out demo/factorbox_G0001.csv
	$(BIN)/pyrogrn flux demo/factorbox --out demo/factorbox_flux.csv
	@echo "Open demo/run/report.html, demo/programs/report.html demo/grnular/report.html and demo/factorbox/report.html"

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=10

test-all: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not gpu"

test-gpu: $(STAMP)
	$(BIN)/python -m pytest -m gpu

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

# every figure quoted in README.md and docs/results; tidy rows in experiments/results/
bench: $(STAMP)
	OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 $(BIN)/python -m pyrogrn.experiments.benchmarks --data $(DATA) --out experiments/results

# the DASH paper's tables: about a night on one core; interrupted, it goes on where it was
bench-phoenix: $(STAMP)
	OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 $(BIN)/python -m pyrogrn.experiments.benchmarks phoenix --data $(DATA) --out experiments/results

# docs/results and the results of README.md, from experiments/results/*.csv
pages: $(STAMP)
	$(BIN)/python -m pyrogrn.experiments.pages

clean:
	rm -rf $(VENV) .venv-types demo build *.egg-info
