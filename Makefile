# Everything a person types here; each target says what it does in one line of `make help`.

VENV := .venv
BIN := $(VENV)/bin
PINS := pyproject.toml constraints.txt scripts/venv

.DEFAULT_GOAL := help
.PHONY: help run test check fix simulation test-mutants bench survival chaos matrix claims screenshots docs constraints clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1 - \2/p' Makefile

run: $(VENV)/.installed-demo ## show the same 4K call failing and arriving, then serve (ONCE=1: end after the image)
	@$(BIN)/holdfast demo $(if $(filter-out 0,$(ONCE)),--once) $(if $(HOLDFAST_PORT),--port $(HOLDFAST_PORT))

test: $(VENV)/.installed-dev ## check the sources and run every suite
	@$(BIN)/python scripts/test

check: $(VENV)/.installed-dev ## ruff, mypy, import directions and house rules
	@scripts/check

fix: $(VENV)/.installed-dev ## format, repair what ruff can, rewrite the generated reference pages
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/python scripts/docs-reference

simulation: $(VENV)/.installed-dev ## run the gateway under seeded faults (SEEDS=1000 FROM=0)
	@scripts/simulation --seeds $(or $(SEEDS),1000) --from $(or $(FROM),0) $(if $(KEEP),--keep $(KEEP))

test-mutants: $(VENV)/.installed-dev ## plant known bugs in a copy of the sources; the simulation must catch each
	@$(BIN)/python scripts/test-mutants

bench: $(VENV)/.installed-dev $(VENV)/.installed-bench ## compare speed and memory side by side with nginx and LiteLLM
	@$(BIN)/python lab/bench/run.py

survival: $(VENV)/.installed-dev $(VENV)/.installed-bench ## what arrives while callers are cut, the gateway is killed, upstreams fail
	@$(BIN)/python lab/survival/run.py --readme
	@$(BIN)/python lab/survival/plot.py

chaos: $(VENV)/.installed-dev $(VENV)/.installed-bench ## six replicas on PostgreSQL and S3 while all is killed and cut (MINUTES=30)
	@$(BIN)/python lab/chaos/run.py --minutes $(or $(MINUTES),30) --readme
	@$(BIN)/python lab/chaos/plot.py

matrix: $(VENV)/.installed-dev $(VENV)/.installed-matrix ## every client through every proxy, with a page (Node, Java and Go needed)
	@$(BIN)/python lab/matrix/run.py --page

claims: $(VENV)/.installed-dev $(VENV)/.installed-claims ## put what is said of slow image calls to the test (about an hour; root)
	@$(BIN)/python lab/claims/run.py

docs: $(VENV)/.installed-docs ## the documentation as a site, in site/ (SERVE=1: and look at it)
	@$(BIN)/python scripts/docs-reference
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(if $(SERVE),serve,build) --strict --quiet
	@echo site/index.html

screenshots: $(VENV)/.installed-dev ## make the pictures of the console anew (Chromium needed)
	@$(BIN)/python scripts/screenshots

constraints: ## pin the newest packages that fit pyproject.toml
	@scripts/constraints

clean: ## remove .venv and every cache; data folders stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	@find src tests lab -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed-%: $(PINS)
	@scripts/venv $*
