# `make demo`: install what segmenting needs and segment a synthetic CT.  `make test`: install everything and run the tests.
# `make web`: the same work in a browser, with a synthetic CT open in it.  `make bench`: speed and memory on this machine.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# Tests mostly compute on one core or wait, so two at once take two thirds of the time; files of `loadfile` share fixtures.
TWO := --numprocesses 2 --dist

.PHONY: demo web test bench lint clean

$(VENV)/.segmenting: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.developing: $(VENV)/.segmenting
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(VENV)/.web: $(VENV)/.segmenting
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[web,train]"
	touch $@

# where one can't be installed, the tables say so
$(VENV)/.benchmarking: $(VENV)/.developing
	-$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	touch $@

demo: $(VENV)/.segmenting
	$(BIN)/spineseg phantom $(DEMO)/case --seed 7 --region thoracolumbar --view spine --overwrite
	$(BIN)/spineseg segment $(DEMO)/case/dicom --reference $(DEMO)/case/mask.nii.gz --overwrite \
	  --output $(DEMO)/spine.seg.nrrd --metrics $(DEMO)/metrics.json --picture $(DEMO)/overview.png

web: $(VENV)/.web
	$(BIN)/spineseg phantom $(DEMO)/case --seed 7 --region thoracolumbar --view spine --overwrite
	$(BIN)/spineseg web --data $(DEMO) --open case/dicom

test: $(VENV)/.developing
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/python -m pytest $(TWO) loadfile --ignore Testing/Python/panel --ignore Testing/Python/shell
	$(BIN)/python -m pytest $(TWO) worksteal Testing/Python/panel Testing/Python/shell  # apart: TensorFlow and Mesa crash in one process

bench: $(VENV)/.benchmarking
	$(BIN)/python -m Testing.Benchmarks.run

lint: $(VENV)/.developing
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(DEMO)
