# Every target works from a clean clone: it makes what it needs first, and only once.
PY      := .venv/bin/python
SOURCES := setup.py $(wildcard dita/*.pyx dita/*.pxd dita/*.pxi dita/*.h dita/rules/*.pxi)
SUFFIX  := 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))'

.PHONY: explore mutants simulate help setup build run test check golden bench trace wheel clean

# The text after two hashes is what this prints.
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Does nothing when .venv is up to date with pyproject.toml, setup.py and this folder.
# `make setup PYTHON=/path/to/python` chooses the interpreter.
setup: ## make .venv and install the project in it, editable
	@sh scripts/setup

# The extensions' names depend on the Python in .venv, so it is asked after setup. One run makes
# them all.  Byte code is made here too: where Python may not write it, every start would make it.
build: setup ## compile kernel, journal, digits and byte code if their sources changed
	@suffix=$$($(PY) -c $(SUFFIX)) && \
		$(MAKE) -s dita/_kernel$$suffix dita/_journal$$suffix dita/_digits$$suffix
	@$(PY) -m compileall -q dita commands configs runbooks tests

dita/_kernel%.so dita/_journal%.so dita/_digits%.so: $(SOURCES)
	@echo "compiling _kernel$*.so, _journal$*.so and _digits$*.so in dita"
	@$(PY) setup.py -q build_ext --inplace --force
	@touch dita/_kernel$*.so dita/_journal$*.so dita/_digits$*.so

# The shortest way to see it at work: a local exchange, and the kernel as its client. What the run
# before left behind is removed first: the exchange begins anew each time, so the journal must too.
run: build ## trade twenty minutes of tape in half a minute on a local exchange, with the live board
	@rm -rf build/demo
	.venv/bin/pink-ctl serve --demo --state-dir build/demo

# Static checks first: they are quick and say more. One process more than two cores: much of what
# the sessions do is waiting.
JOBS ?= 3
test: check ## run everything: check, then the tests
	$(PY) -P -m pytest -q -n $(JOBS) --dist loadfile

# stubtest holds the .pyi files against the compiled modules. Which names Cython adds differs
# from version to version, so an allowed name need not be there.
check: build ## ruff, mypy and stubtest, no tests
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	$(PY) -m mypy
	$(PY) -m mypy.stubtest dita._kernel dita._journal dita._digits --ignore-unused-allowlist \
		--allowlist tests/stubtest_allow.txt

# Fails when a figure of a recorded case differs.
golden: build ## run the golden cases and compare every figure
	.venv/bin/pink-ctl golden

# Every order of events in small worlds, on the compiled kernel.  WORLDS="flip crash" walks those.
explore: build ## walk through small worlds to their ends, and judge every state
	cd tests && ../$(PY) -m explore $(WORLDS)

# The whole system in virtual time, from seeds.  SEEDS="7 20-40" plays those.
simulate: build ## play seeds of the whole system: node, adapter, exchange, disk, power cuts
	$(PY) -P -m dita.simulation $(SEEDS)

# In a copy below build/.  NAMES="proxy sizer" tries those whose names have that in them.
mutants: build ## break each promise on purpose and see a test turn red
	cd tests && ../$(PY) -m mutants $(NAMES)

# Numbers depend on the machine; the table says which one it was.
bench: build ## measure speed and size, quickly
	$(PY) -m benchmarks.run --peers
	$(PY) -m benchmarks.journal --quick
	$(PY) -m benchmarks.snapshots
	$(PY) -m benchmarks.frames --quick
	$(PY) -m benchmarks.start_up
	$(PY) -m benchmarks.reconcile
	$(PY) -m benchmarks.exchange --rounds 1
	$(PY) -m benchmarks.transports --quick
	$(PY) -m benchmarks.wire_to_wire --quick
	$(PY) -m benchmarks.serve --quick

# A traced kernel is slow, so it is thrown away afterwards. Not on CPython 3.12, which cannot.
trace: build ## line coverage of the kernel's .pyx
	DITA_BUILD=trace $(PY) setup.py -q build_ext --inplace --force
	-$(PY) -P -m coverage run -m pytest -q
	-$(PY) -m coverage report --include='dita/*'
	@rm -rf build dita/_kernel.c dita/_kernel*.so dita/_journal.c dita/_journal*.so
	@rm -rf dita/_digits.c dita/_digits*.so
	@$(MAKE) -s build

# scripts/lock pins the packages anew.
wheel: ## build dist/pink_ctl-*.whl and serve.txt, the pinned packages it is installed with
	@sh scripts/wheel

# Back to a clean clone.
clean: ## remove everything that was made, .venv included
	rm -rf .venv build dist *.egg-info dita/_kernel*.so dita/_kernel.c dita/_kernel.html
	rm -rf dita/_journal*.so dita/_journal.c dita/_journal.html
	rm -rf dita/_digits*.so dita/_digits.c dita/_digits.html
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
