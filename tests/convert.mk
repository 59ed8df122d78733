# Tests of the conversion from PyTorch, in an environment of their own; included by the Makefile.
# torch comes without hashes: which of its builds fits depends on the machine and on where pip looks.

CONVERT_VENV ?= .venv-convert
TORCH ?= torch==2.13.0

.PHONY: test-convert lock-convert

test-convert: $(CONVERT_VENV)/installed
	$(CONVERT_VENV)/bin/python -m pytest -m convert tests/system/test_convert.py

$(CONVERT_VENV)/installed: requirements-convert.lock pyproject.toml
	python3 -m venv $(CONVERT_VENV)
	$(CONVERT_VENV)/bin/python tools/install.py --require-hashes -r requirements-convert.lock
	$(CONVERT_VENV)/bin/python tools/install.py $(TORCH)
	$(CONVERT_VENV)/bin/python tools/install.py --no-deps --no-build-isolation --editable .
	touch $@

lock-convert:
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock-convert" \
		--constraint requirements.lock --output-file requirements-convert.lock pyproject.toml tests/requirements-convert.in
