# `make help` lists what there is. Every target makes or renews the virtual environment it needs (.venv) first.

PYTHON ?= python3
VIDEO ?=
BAG ?=
CAMERA ?=
PYTEST_ARGS ?=

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-test demo test lint types bench clean

# The packages below ros/ know no ROS and are type-checked.
TYPED := $(addprefix h2onet_ros/,hand model engines perception bag photos cli.py command.py) train tools
ENTER := source tools/ros_env.sh
say = @printf '\n== %s\n' '$(1)'

help:
	@echo 'make demo    a camera, the node and a recorder over DDS; writes an overlay video and hands.mcap to output/'
	@echo '             VIDEO=file | BAG=folder | CAMERA=/dev/video0 instead of the recording that comes along'
	@echo 'make test    linter, formatter check, type check, all tests (PYTEST_ARGS="test/ros -k node" for some)'
	@echo 'make lint    linter, formatter check and type check alone'
	@echo 'make bench   timings'
	@echo 'make clean   removes what make made, the virtual environment included'
	@echo
	@echo 'PYTHON=python3.11 names another Python; with a ROS 2 sourced that one is used, else its PyPI wheels.'

setup:
	@$(PYTHON) tools/environment.py runtime

setup-test:
	@$(PYTHON) tools/environment.py test

demo: setup
	@$(ENTER) && exec python -m h2onet_ros.ros.demo \
	  $(if $(VIDEO),--video '$(VIDEO)') $(if $(BAG),--bag '$(BAG)') $(if $(CAMERA),--camera '$(CAMERA)')

lint: setup-test
	$(call say,ruff check)
	@$(ENTER) && ruff check .
	$(call say,ruff format --check)
	@$(ENTER) && ruff format --check .
	$(call say,mypy)
	@$(ENTER) && mypy $(TYPED)

test: lint
	$(call say,pytest)
	@$(ENTER) && python -m pytest $(PYTEST_ARGS)

bench: setup-test
	@$(ENTER) && python -m benchmark

clean:
	rm -rf .venv build dist output *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
