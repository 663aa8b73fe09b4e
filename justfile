# The commands of .ci/run, one by one. Set up once with: python3 -m venv .venv && .venv/bin/pip install -e '.[dev]'

bin := ".venv/bin"

# List the commands.
default:
    @just --list

# Run the tests: all of them, or the given files.
test *files:
    {{bin}}/pytest -n auto {{files}}

# Check style, formatting and the layers of imports.
lint:
    {{bin}}/ruff check .
    {{bin}}/ruff format --check .
    {{bin}}/lint-imports

# Check types.
types:
    {{bin}}/mypy

# Build the documentation site into site/; `just docs serve` shows it while you edit.
docs command="build --strict --quiet":
    NO_MKDOCS_2_WARNING=1 {{bin}}/mkdocs {{command}}

# Format the code and fix what can be fixed.
format:
    {{bin}}/ruff check --fix .
    {{bin}}/ruff format .
