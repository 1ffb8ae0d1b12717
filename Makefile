# Two commands for a fresh machine: `make demo` and `make test`. They need python3 and a registry.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SERVER := $(VENV)/.server
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: fuzz help demo test serve check lint bench limr locks sbom wheels docker-test docs reference openapi clean

# Tools of their own versions, apart from what is tested and served.
TOOLS := .venv-tools
DOCS := .venv-docs
# torch comes by its own step, from the index that has the build for the machine, and brings these.
UNLOCKED := torch triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas \
  nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft \
  nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 \
  nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
COMPILE := UV_CUSTOM_COMPILE_COMMAND='make locks' $(TOOLS)/bin/uv pip compile -q pyproject.toml \
  -c constraints.txt --generate-hashes --python-version 3.11 --python-platform linux \
  $(UNLOCKED:%=--no-emit-package %)

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[server,rules,neural,train,dev]'
	@touch $@ $(SERVER)

$(SERVER): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[server]'
	@touch $@

demo: $(INSTALLED) ## fetch a pretrained model, train it against a server; QUICK=1: a small one, no fetch
	$(BIN)/python -m touchstone_rewards.trainer $(if $(QUICK),quick_demo --output runs/demo_quick,demo --output runs/demo)

limr: $(INSTALLED) ## PPO, data selection and training on the selection, on the small task
	$(BIN)/python -m touchstone_rewards.trainer limr --config trainer/configs/limr_tiny.yaml

# Bytecode is kept, whatever the environment says: the servers and commands under test start sooner.
test: $(INSTALLED) ## run the tests on all cores; LONG=1 runs the long ones too
	PYTHONDONTWRITEBYTECODE= LONG=$(LONG) $(BIN)/python -m pytest -n auto --maxprocesses 4

serve: $(SERVER) ## start the server on 127.0.0.1:8700; installs it alone, without torch
	$(BIN)/python -m touchstone_rewards.reward_server serve

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

check: lint test ## lint, types, tests: what CI runs

bench: $(INSTALLED) ## run the benchmarks, peers side by side; BENCH=name runs one
	$(BIN)/python -m benchmarks $(BENCH)

$(TOOLS)/.installed: Makefile
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install -q uv==0.13.9 cyclonedx-bom==7.5.0
	@touch $@

locks: $(TOOLS)/.installed ## write what the images install, each version with its hashes
	$(COMPILE) --upgrade --extra server -o docker/locks/server.txt
	$(COMPILE) --upgrade --extra server --extra neural -o docker/locks/server,neural.txt
	$(COMPILE) --upgrade --extra train -o docker/locks/train.txt

sbom: $(INSTALLED) $(TOOLS)/.installed ## write build/sbom: what the slim image and .venv are made of
	mkdir -p build/sbom
	$(TOOLS)/bin/cyclonedx-py requirements docker/locks/server.txt --pyproject pyproject.toml \
	  --output-reproducible -o build/sbom/server_image.cdx.json
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml \
	  --output-reproducible -o build/sbom/environment.cdx.json

wheels: $(INSTALLED) ## fetch the wheels of both images into docker/wheels, for machines without a registry
	$(BIN)/python -m pip download -q -c constraints.txt -d docker/wheels torch setuptools wheel
	for lock in docker/locks/*.txt; do \
	  $(BIN)/python -m pip download -q --no-deps --require-hashes -d docker/wheels -r $$lock || exit; \
	done

docker-test: wheels ## build the images, run the whole stack, kill a container in the middle
	$(BIN)/python -m pytest tests/docker -m docker -s --timeout 5400

fuzz: $(INSTALLED) ## 1,000 generated requests to every operation of the wire
	FUZZ_EXAMPLES=1000 $(BIN)/python -m pytest -q tests/reward_server/http/test_fuzz_wire.py

$(DOCS)/.installed: docs/site/requirements.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install -q -r docs/site/requirements.txt
	@touch $@

docs: $(DOCS)/.installed ## build the documentation site into build/docs; open its index.html
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet

reference: $(INSTALLED) ## write docs/reference from the code; a test holds it to the code
	$(BIN)/python docs/site/reference.py

openapi: $(INSTALLED) ## write the OpenAPI snapshot that a test holds the server to
	$(BIN)/python -m touchstone_rewards.reward_server.openapi > tests/reward_server/openapi.json

clean: ## remove what was installed and made
	rm -rf $(VENV) $(TOOLS) $(DOCS) runs build dist *.egg-info
