.PHONY: install test slow lint types ci
install:
	pip install -e '.[dev]' -c constraints.txt
test:
	pytest
slow:
	pytest -m slow
lint:
	ruff check . && ruff format --check .
types:
	mypy functional networks metrics lightning_modules datamodules callbacks comparison page tasks *.py
ci:
	bash .ci/run
