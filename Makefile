# Two commands do everything on a bare machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint audit clean
demo: $(READY)
	@$(BIN)/python data/sample/demo.py --out out/demo

test: $(READY)
	@$(BIN)/python -m pytest

lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

# Asks PyPI for known vulnerabilities of every pinned version: needs the network. A version that
# PyPI does not tell about fails, too.
audit: $(READY)
	@$(BIN)/uv tool run pip-audit==2.10.1 --strict --no-deps --disable-pip \
	  --requirement requirements.lock || { echo "make audit: FAILED. Above stand the vulnerable \
	versions: raise their pins. Or an ERROR: then the pins were NOT audited. 'not found on PyPI' and \
	connection errors mean that https://pypi.org itself was not reached (mirrors of packages know no \
	vulnerabilities): run it where it is."; exit 1; } >&2

clean:
	rm -rf .venv out

# uv installs the pinned set in seconds. It reads wheels from a local folder only if told to:
# whoever keeps a CPU build of torch there names it in PIP_FIND_LINKS, as for pip.
$(READY): requirements.lock setup.py pyproject.toml
	@echo "Setting up .venv (once) ..."
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 is needed, found " + sys.version.split()[0] \
	  + ": call make with PYTHON=/path/to/python3.11" if sys.version_info[:2] != (3, 11) else 0)'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@UV_FIND_LINKS="$$PIP_FIND_LINKS" $(BIN)/uv pip install --quiet --no-deps \
	  --python $(BIN)/python -r requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .
	@touch $(READY)
	@echo "Set-up done."
