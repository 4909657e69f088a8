# make demo: the main job, end to end, on clips made on the spot.   make test: the tests.   make docs: the site.
# make torture: the long tests, two hours: crashes, kills, full disks, damaged files, an hour of soak. Goes on where it was stopped.
# make cluster: extraction and training on a real Slurm and a real Ray cluster on this machine.
# All install what they need into $(VENV); a second run finds it there.
VENV ?= .venv
PYTHON ?= python3
DEMO ?= demo
CLIPS ?= ../shared/data/java_sed/clips
FILMS ?= ../shared/data/media

BIN := $(abspath $(VENV))/bin
DEPENDENCIES := $(VENV)/.dependencies-$(shell cat requirements.txt setup.py | cksum | cut -d' ' -f1)
EDITABLE := $(VENV)/.editable-$(shell (pwd; cat setup.py) | cksum | cut -d' ' -f1)

.PHONY: install demo docs test torture cluster lint clean

install: $(EDITABLE)

$(DEPENDENCIES): requirements.txt setup.py
	@echo "== installing avemo and its dependencies into $(VENV) (some gigabytes, mostly torch; minutes)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@rm -f $(VENV)/.dependencies-* && touch $@

$(EDITABLE): $(DEPENDENCIES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@rm -f $(VENV)/.editable-* && touch $@

demo: install
	@echo "== making clips: one photograph, moved by code, with a synthetic voice"
	$(BIN)/avemo demo $(DEMO)/clips
	@echo "== clips to features"
	cd $(DEMO) && $(BIN)/avemo-extract clips --tta meanstd
	@echo "== features to a trained ensemble"
	cd $(DEMO) && $(BIN)/avemo-fuse train --fusion fbp --members 3 --out run
	@echo "== the ensemble to a submission"
	cd $(DEMO) && $(BIN)/avemo-fuse ensemble run --prior train --out submission --zip demo --overwrite
	@echo "== the report"
	cd $(DEMO) && $(BIN)/avemo-fuse report run
	@echo "== which faces were taken"
	cd $(DEMO) && $(BIN)/avemo preview features
	@echo "== one clip, shown with what the ensemble says of it"
	cd $(DEMO) && $(BIN)/avemo-fuse predict run $$(ls clips/Val_AFEW/Happy/*.mp4 | head -n 1) --window 0.6 --hop 0.1 \
		--overlay overlay.mp4 --overwrite
	@echo "== done, in $(DEMO): submission/submission.csv, submission/demo.zip, run/report.html, preview/index.html, overlay.mp4"

docs: install
	@echo "== building the site, the tutorial with it (minutes)"
	$(BIN)/python -m sphinx -W --keep-going -n -q docs build/docs
	@echo "== done: build/docs/index.html"

test: install
	@echo "== running the tests, the slow ones too"
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

torture: install
	@echo "== the long tests: about two hours; what is done is not done again until the code changes (build/torture)"
	$(BIN)/python -m tests.torture --films $(FILMS)

cluster: install
	@echo "== Slurm: needs root, and apt-get install slurm-wlm munge"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[slurm,ray]'
	$(BIN)/python -m tests.cluster.real slurm $(CLIPS)
	@echo "== Ray"
	$(BIN)/python -m tests.cluster.real ray $(CLIPS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@mkdir -p $(VENV)/types && ln -sfn $(CURDIR) $(VENV)/types/avemo
	MYPYPATH=$(VENV)/types:benchmarks $(BIN)/mypy --explicit-package-bases --follow-imports silent --allow-untyped-calls benchmarks

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
