# Two commands are all a newcomer needs: `make demo` and `make test`. PYTHON may name another interpreter (3.10-3.13).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMFYUI := .comfyui
# Where TAESD3's two files lie, for `make miniature`: docs/data.md.
TAESD3 ?= taesd3
# The Python of the machine that `make gpu-kit` packs for.
KIT_PYTHON ?= 3.12
# Every file by its hash where tests/locks has a lock for this platform; LOCK=no takes the newest versions that fit.
export LOCK
INSTALL := $(BIN)/python scripts/locked.py install
LOCKED := scripts/locked.py scripts/requirements.py tests/constraints.txt $(wildcard tests/locks/*.txt)

.PHONY: help demo test quick lint lock bench gpu-kit miniature clean

help:
	@echo "make demo   six photographs through the bundled miniature DA-VAE and eight prompts drawn in three ways; see davae-demo/"
	@echo "make test   lint, types and every test, in a real ComfyUI (the first time it installs one)"
	@echo "make quick  the tests that start no server and no process, train nothing and measure nothing: a minute and a half"
	@echo "make lint   only ruff and mypy"
	@echo "make lock   write the lock of this platform and this Python again, with today's versions"
	@echo "make miniature  trains the bundled miniature again on TAESD3=its folder and repeats the ablation: hours, see docs/ablation.md"
	@echo "make bench  count and time codec, sampling, pictures and training steps beside the stock model, and say what moved"
	@echo "make gpu-kit  pack everything that waits for a GPU into gpu-kit/, for a machine with PyTorch and no network"
	@echo "make clean  remove what the other commands installed and wrote"

demo: $(VENV)/.demo-installed
	$(BIN)/python -m davae_core demo -o davae-demo

test: lint $(COMFYUI)/.unpacked
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

quick: $(VENV)/.test-installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile -m "not slow"

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

miniature: $(VENV)/.test-installed
	$(BIN)/python -m training mini runs/miniature --set base_vae:model.base_vae=$(TAESD3)/taesd3_encoder.safetensors
	$(BIN)/python -m benchmarks.ablation runs/ablation --stack runs/miniature/miniature --codec-pictures runs/miniature/pictures \
		--seeds 0 1 2 --arms full no_alignment no_zero_init no_schedule no_edge_training \
		base_upsampled base_four_times_tokens
	$(BIN)/python -m benchmarks.ablation.compare runs/ablation/results.json

bench: $(COMFYUI)/.unpacked $(VENV)/.test-installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.speed --against benchmarks/speed/baseline.json

gpu-kit: $(COMFYUI)/.unpacked
	$(BIN)/python scripts/gpu_kit.py gpu-kit $(COMFYUI) $(KIT_PYTHON)

clean:
	rm -rf $(VENV) $(COMFYUI) davae-demo gpu-kit

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else "Python 3.10 to 3.13 is needed, this is %d.%d: name another one, as in make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(COMFYUI)/.unpacked: $(VENV)/.created tests/comfyui.txt scripts/fetch_comfyui.py
	$(BIN)/python scripts/fetch_comfyui.py $(COMFYUI)
	@touch $@

$(VENV)/test.txt: $(VENV)/.created $(COMFYUI)/.unpacked pyproject.toml scripts/requirements.py
	$(BIN)/python scripts/requirements.py demo diffusers train test > $@
	cat $(COMFYUI)/requirements.txt >> $@
	echo requests >> $@

$(VENV)/demo.txt: $(VENV)/.created pyproject.toml scripts/requirements.py
	$(BIN)/python scripts/requirements.py demo > $@

$(VENV)/.demo-installed: $(VENV)/demo.txt $(LOCKED)
	@echo "Installing what the demo needs into $(VENV) (the first time this takes some minutes) ..."
	$(INSTALL) demo $(VENV)/demo.txt
	@touch $@

$(VENV)/.test-installed: $(VENV)/test.txt $(LOCKED)
	@echo "Installing what the tests need into $(VENV) (the first time this takes some minutes) ..."
	$(INSTALL) test $(VENV)/test.txt
	@touch $@

# Today's versions of both environments, for this platform and this Python: look at what changed before you commit it.
lock: $(VENV)/demo.txt $(VENV)/test.txt
	$(BIN)/python scripts/locked.py write demo $(VENV)/demo.txt
	$(BIN)/python scripts/locked.py write test $(VENV)/test.txt
