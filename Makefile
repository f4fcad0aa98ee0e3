# make demo: the whole loop on this machine, from a commit to a virtual machine that runs an endorsed image.
# make test: lint, types and all tests. Both install what they need first and say so.
.PHONY: demo test setup docs lock clean

demo: setup
	@.venv/bin/vmkeeper demo $(if $(KEEP),--keep) $(if $(ALL),--all)

test:
	@.ci/system test
	@.ci/venv
	@.ci/test $(ARGS)

setup:
	@.ci/system
	@.ci/venv

docs: setup
	@.venv/bin/vmkeeper schema --write docs

lock:
	uv pip compile pyproject.toml --extra dev --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header -o requirements.lock

clean:
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
