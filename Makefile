# Everything a developer runs. `make help` lists it; the README shows the order.
.DEFAULT_GOAL := help
SHELL := bash

PYTHON ?= python3
PORT ?= 8000
PROFILE ?= builtin
GENERATE_HOST ?= lambda
OUT ?= out
PRECISION ?= int8
# Where the weights of PROFILE come from: pocket's lie here, and nobody has trained the tiny ones.
SOURCE ?= $(if $(filter pocket,$(PROFILE)),layers/weights/pocket,$(if $(filter tiny%,$(PROFILE)),random,hub))
MINUTES ?= 120
PIECES ?= 2000
DURATION ?= 30
CONFIG_ENV ?= default
# The reference backend's; its other packages are in tests/models/requirements.txt.
TORCH := 2.13.0
TEMPERATURE ?= 1.0
RUN := .venv/bin/python

# What users give reaches programs by the environment, as it was written: neither make nor a shell expands anything in it.
GIVEN := AUDIO DURATION TEMPERATURE SEED PROFILE OUT PORT DATA PRECISION SOURCE ENDPOINT STACK API_URL API_TOKEN CONFIG_ENV GENERATE_HOST ENDPOINT_BASE
TAKING := demo serve sam models weights checkpoint redrive deploy test-deployed check-%
written = $(if $(filter file,$(origin $(1))),$($(1)),$(value $(1)))
$(foreach name,$(GIVEN),$(eval override $(name) := $$(call written,$(name))))
$(foreach name,$(GIVEN),$(eval $(TAKING): export $(name) := $$($(name))))
# Before anything is installed, a target's values are checked.
.NOTPARALLEL:

# The neural profiles run on our own engine, which is compiled once, and on weights (`make models`).
ENGINE := $(if $(filter builtin,$(PROFILE)),,.venv/engine weights)
# On an endpoint, also on torch, which reads checkpoints.
CHECKPOINT := $(if $(filter sagemaker,$(GENERATE_HOST)),$(if $(filter builtin,$(PROFILE)),,checkpoint))
# What the images have in /opt/python.
export PYTHONPATH := layers
# What is started again and again is compiled once.
unexport PYTHONDONTWRITEBYTECODE
# Where bundles are looked for; images have theirs in /opt/models.
export MODELS ?= $(CURDIR)/build/models

.PHONY: help demo serve page screenshots redrive models weights checkpoint test test-page test-clients test-faults test-faults-long test-pocket test-endpoint test-hostile test-files test-docs test-truth test-long test-torch test-models train-pocket bench-pocket lint audit bench bench-form bench-load bench-models bench-gpu sam test-sam deploy test-deploy test-deployed openapi files lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: check-demo .venv/bin/music $(ENGINE) ## Music like AUDIO=track.mp3 [DURATION=30] [TEMPERATURE=1.0] [SEED=] [PROFILE=builtin] [OUT=out]
	@.venv/bin/music demo $${AUDIO:+--audio "$$AUDIO"} --duration "$$DURATION" --temperature "$$TEMPERATURE" \
		$${SEED:+--seed "$$SEED"} --profile "$$PROFILE" --out "$$OUT"

serve: check-serve .venv/bin/music $(ENGINE) ## The local stack in the foreground on 127.0.0.1 [PORT=8000] [DATA=folder that keeps it] [GENERATE_HOST=lambda]
	@exec .venv/bin/music serve --port "$$PORT" --profile "$$PROFILE" --parameter "GenerateHost=$$GENERATE_HOST" $${DATA:+--data "$$DATA"}

redrive: check-redrive .venv/bin/music ## Try again what workers gave up, at ENDPOINT= (as make serve prints it) or of STACK= on AWS
	@if test -n "$$STACK"; then .venv/bin/music redrive --stack "$$STACK"; else .venv/bin/music redrive --endpoint-url "$$ENDPOINT"; fi

models: check-models .venv/local .venv/engine $(if $(filter hub,$(SOURCE)),.venv/hub) ## Weights for PROFILE=small [SOURCE=hub|random|a folder] [PRECISION=int8]
	@$(RUN) -m weights build "$$PROFILE" --source "$$SOURCE" --precision "$$PRECISION"

weights: check-models .venv/local .venv/engine # are whole: images check theirs when they are built
	@test -e "$(MODELS)/$$PROFILE/manifest.json" || $(MAKE) --no-print-directory models
	@$(RUN) -m music.engine.bundle "$(MODELS)/$$PROFILE" "$$PROFILE"

checkpoint: .venv/local .venv/engine $(if $(filter hub,$(SOURCE)),.venv/hub) # of the endpoint's image, for torch
	@test -d "build/models/torch/$$PROFILE/musicgen" || $(RUN) -m weights torch "$$PROFILE" --source "$$SOURCE"

check-%:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed (set PYTHON=)"; exit 1; }
	@$(PYTHON) -m local.arguments $*

# Three on two processors, for some wait for processes of their own; by file, for tests of a file share what it starts.
test: .venv/dev .venv/engine ## Every test that needs neither Docker nor AWS
	$(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-faults: .venv/dev ## Workers killed between any two side effects, faults at every AWS call (minutes)
	$(RUN) -m pytest -n 2 --dist loadfile tests/faults

test-faults-long: .venv/dev ## The same with 200 kills at random, more faults, 200 histories of events (an hour)
	FAULT_SUITE=long $(RUN) -m pytest -o faulthandler_timeout=0 -n 2 --dist loadfile -rP tests/faults tests/unit/backend/test_delivery.py

test-page: .venv/dev build/page/node_modules ## The web page, and what other pages do with the API, in Chromium (Debian's; installed where root may)
	$(RUN) -m pytest tests/page

page: build/page/node_modules ## Make the web page's script of functions/api/web and what it uses of others
	sh functions/api/web/build.sh functions/api/static

screenshots: .venv/dev ## Pictures of the web page for docs/, by Chromium
	$(RUN) -m tests.page.screenshots

test-clients: .venv/dev .venv-clients/ready build/clients/node_modules ## Lint openapi.json; generate clients in Python and TypeScript, compile and drive them
	$(RUN) -m pytest tests/clients

test-pocket: .venv/dev .venv/engine ## What end-to-end tests ask of a profile, on the neural path
	$(RUN) -m weights build pocket --source layers/weights/pocket
	MODELS="$(CURDIR)/build/models" PROFILE=pocket $(RUN) -m pytest -m profile tests/integration/test_end_to_end.py tests/page/test_neural.py

test-endpoint: .venv/dev .venv/engine ## What end-to-end tests ask of a profile, with generations on an endpoint instead of Lambda
	$(RUN) -m weights build tiny --source random
	MODELS="$(CURDIR)/build/models" PROFILE=tiny GENERATE_HOST=sagemaker $(RUN) -m pytest -m profile tests/integration/test_end_to_end.py

test-hostile: .venv/dev ## Bad input at length: 10,000 damaged files, 1,000 uploads, thousands of requests (half an hour)
	$(RUN) -m tests.benchmarks.bench_hostile --json docs/benchmarks/hostile.json
	CONTRACT_EXAMPLES=400 $(RUN) -m pytest tests/integration/test_contract.py

test-files: .venv/dev ## 200 audio files by flac, sox, opusenc, oggenc, lame and ffmpeg, which root gets from Debian
	$(RUN) -m pytest -n 2 -rs tests/files

test-docs: .venv/dev .venv/engine ## The long commands of README and docs/, run as they stand there (minutes)
	DOCS=long $(RUN) -m pytest tests/integration/test_docs.py

test-truth: .venv/dev .venv/compose ## The analysis on 300 rendered pieces of which everything is known (fails below its bars)
	$(RUN) -m tests.benchmarks.bench_truth

test-long: test-faults-long test-hostile test-docs test-truth ## The long suites (hours on two processors)

train-pocket: .venv/soundfont .venv-models/ready .venv/engine ## Train the weights of pocket anew, or go on [MINUTES=120] [PIECES=2000]
	$(RUN) -m weights.compose --out build/pocket/pieces --pieces $(PIECES) --seed 1
	.venv-models/bin/python -m weights.train --data build/pocket/pieces --out build/pocket --pieces $(PIECES) --minutes $(MINUTES)
	$(RUN) -m weights.train.curves build/pocket/figures.json build/pocket/curves.png

bench-pocket: .venv/dev .venv/soundfont .venv/engine ## What the weights of pocket can do, beside baselines (an hour)
	$(RUN) -m tests.benchmarks.bench_pocket

lint: .venv/dev ## ruff, mypy, and who may import whom
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy layers functions local client tests
	.venv/bin/lint-imports --no-cache --no-logo

audit: .venv/dev ## Ask a vulnerability database about every locked dependency
	$(RUN) -m tests.audit

bench: .venv/dev .venv/compose ## The promises, measured: embedder, generator, analysis, images (fetches Debian's music packages)
	$(RUN) -m tests.benchmarks.bench_embedder
	$(RUN) -m tests.benchmarks.bench_mosaic
	$(RUN) -m tests.benchmarks.bench_beats --against docs/benchmarks/beats.json
	$(RUN) -m tests.benchmarks.bench_truth
	$(RUN) -m tests.benchmarks.bench_longest
	$(RUN) -m tests.benchmarks.bench_processor --json docs/benchmarks/processor.json
	$(RUN) -m tests.benchmarks.bench_costs --json docs/benchmarks/costs.json
	$(if $(shell docker info >/dev/null 2>&1 && echo yes),$(RUN) -m tests.benchmarks.bench_images,@echo "images: no Docker engine here, left out")

bench-form: .venv/dev .venv/soundfont ## Bars, endings and loops on music that nothing was fitted on (half an hour)
	$(RUN) -m tests.benchmarks.plot_form
	$(RUN) -m tests.benchmarks.bench_form --json docs/benchmarks/form.json

bench-load: .venv/dev ## 1,000 uploads and 500 generations while workers are killed; a greedy tenant (30 minutes)
	$(RUN) -m tests.benchmarks.bench_load --json docs/benchmarks/load.json
	$(RUN) -m tests.benchmarks.bench_fairness --json docs/benchmarks/fairness.json

bench-gpu: ## The torch runtime beside transformers, on this machine's GPU and its python3 (6 minutes)
	PYTHONPATH=layers:. python3 -m tests.benchmarks.bench_gpu

test-torch: .venv-models/ready .venv/engine ## The torch runtime, without a GPU, beside transformers on tiny checkpoints
	PYTHONPATH=layers:. .venv-models/bin/python -m pytest --confcutdir tests/models $(addprefix tests/models/,test_torch_language.py test_torch_runtime.py test_generation_parity.py test_pytorch.py)

test-models: .venv-models/ready .venv/engine ## Parity with torch and transformers on full-size random checkpoints (30 minutes)
	PARITY=docs/benchmarks/parity.json PYTHONPATH=layers:. .venv-models/bin/python -m pytest --confcutdir tests/models tests/models  # others need the local stack

bench-models: .venv/dev .venv-models/ready .venv/engine ## The engine beside transformers [QUICK=1]
	.venv-models/bin/python -m tests.benchmarks.bench_models $(if $(QUICK),--quick)
	$(RUN) -m tests.benchmarks.plot_models

sam: check-sam .venv/local .venv-sam/ready $(ENGINE) ## The same stack with the functions in real Lambda containers [PORT=8000] [GENERATE_HOST=lambda]
	@exec $(RUN) -m local sam --port "$$PORT" --profile "$$PROFILE" --parameter "GenerateHost=$$GENERATE_HOST"

test-sam: .venv/dev .venv/engine .venv-sam/ready ## What containers may spoil of the end-to-end suite, and the sample events
	API_GATEWAY=sam-local $(RUN) -m pytest -m transport tests/integration/test_end_to_end.py tests/sam
	$(RUN) -m weights build tiny --source random
	for host in lambda sagemaker; do \
		MODELS="$(CURDIR)/build/models" PROFILE=tiny GENERATE_HOST=$$host API_GATEWAY=sam-local \
			$(RUN) -m pytest -m "profile and transport" tests/integration/test_end_to_end.py || exit 1; \
	done

deploy: check-deploy .venv/bin/music .venv-sam/ready $(ENGINE) $(CHECKPOINT) ## sam build and sam deploy, to AWS [CONFIG_ENV=default, or prod] [PROFILE=builtin] [GENERATE_HOST=lambda, or sagemaker]
	@.venv/bin/music deploy --config-env "$$CONFIG_ENV" --profile "$$PROFILE" --generate-host "$$GENERATE_HOST" $${ENDPOINT_BASE:+--endpoint-base "$$ENDPOINT_BASE"}

test-deploy: .venv/dev .venv/engine .venv-sam/ready .venv-ministack/ready ## The same, as prod, to an emulator of AWS; what a deployment may spoil; all of it removed
	API_GATEWAY=ministack $(RUN) -m pytest -rs -m transport tests/integration/test_end_to_end.py tests/deployed

test-deployed: check-test-deployed .venv/dev ## The end-to-end suite against API_URL= [API_TOKEN=]
	$(RUN) -m pytest tests/integration/test_end_to_end.py

openapi: .venv/dev ## Write layers/backend/openapi.json anew from the routes
	$(RUN) -m tests.write_openapi

files: .venv/dev ## Write the table of docs/files.md anew from the matrix of tests
	$(RUN) -m tests.write_files

lock: .venv/dev ## Pin every set of dependencies anew, with hashes
	sh local/lock.sh

clean: ## Remove what the other targets made
	rm -rf layers/music/engine/*.so build/models build/clients build/page .venv .venv-clients .venv-sam .venv-ministack .venv-models .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis out

# The locks hold for Python 3.11 and later; a stamp for each set, so that nothing is installed twice.
step = @$(PYTHON) local/step.py $@
pip = bin/pip install --disable-pip-version-check --require-hashes --no-deps -r $<

.venv/bin/activate .venv-clients/bin/activate .venv-sam/bin/activate .venv-models/bin/activate .venv-ministack/bin/activate:
	$(step) "making the Python environment $(@:/bin/activate=)" -- $(PYTHON) -m venv $(@:/bin/activate=)

.venv/local: local/requirements.txt | .venv/bin/activate
	$(step) "installing the local stack" $< -- .venv/$(pip)

.venv/bin/music: pyproject.toml .venv/local
	$(step) "installing the command line" $^ -- .venv/bin/pip install --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .

.venv/dev: tests/requirements.txt .venv/bin/music
	$(step) "installing what tests need" $^ -- .venv/$(pip)

.venv/engine: layers/music/engine/requirements.txt layers/music/engine/kernels.c layers/music/engine/build.py | .venv/bin/activate
	$(step) "installing the engine and compiling it" $^ -- sh -c '.venv/$(pip) && $(RUN) -m music.engine.build'

.venv/compose: layers/weights/compose/requirements.txt | .venv/bin/activate
	$(step) "installing what plays soundfonts" $< -- .venv/$(pip)

.venv/hub: local/hub/requirements.txt | .venv/bin/activate
	$(step) "installing what fetches checkpoints" $< -- .venv/$(pip)

.venv-clients/ready: tests/clients/requirements.txt | .venv-clients/bin/activate
	$(step) "installing a generator of clients in Python" $< -- .venv-clients/$(pip)

build/page/node_modules: functions/api/web/package-lock.json functions/api/web/package.json
	$(step) "installing what the web page is made with" $^ -- sh -c 'mkdir -p build/page && cp $^ build/page && npm ci --no-audit --no-fund --prefix build/page'

build/clients/node_modules: tests/clients/package-lock.json tests/clients/package.json
	$(step) "installing a generator of clients in TypeScript, and linters" $^ -- sh -c 'mkdir -p build/clients && cp $^ build/clients && npm ci --no-audit --no-fund --prefix build/clients'

.venv-sam/ready: tests/sam/requirements.txt | .venv-sam/bin/activate
	$(step) "installing SAM CLI" $< -- .venv-sam/$(pip)

# torch without a hash: pip may take the build that suits the machine. What it needs is there by then.
.venv-models/ready: tests/models/requirements.txt | .venv-models/bin/activate
	$(step) "installing torch and transformers" $< -- sh -c '.venv-models/$(pip) && .venv-models/bin/pip install --disable-pip-version-check torch==$(TORCH)'

.venv-ministack/ready: tests/deployed/requirements.txt | .venv-ministack/bin/activate
	$(step) "installing an emulator of AWS" $< -- .venv-ministack/$(pip)
