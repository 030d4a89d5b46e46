#!/bin/bash
# Clients in TypeScript and Python, generated from the server's OpenAPI document and not kept: they
# are type-checked as a whole, and a program in each walks from a campaign to an issued reward.
# What ../node.sh says of GOODWORD and GOODWORD_CI_CACHE holds.
set -euo pipefail
cd "$(dirname "$0")"
source ../node.sh
source ../serve.sh

installed clients-typescript typescript
NODE_MODULES=$INSTALLED/node_modules
python_venv clients python/requirements.txt
# It runs TypeScript as it is.
use_node 22
# The Python generator formats with the ruff that it finds.
export PATH=$NODE_MODULES/.bin:$VENV/bin:$PATH

serve
cp -r typescript python "$SCRATCH/"
curl -fsS "$GOODWORD_URL/openapi.json" >"$SCRATCH/openapi.json"

say "TypeScript"
(
	cd "$SCRATCH/typescript"
	ln -s "$NODE_MODULES" node_modules
	openapi-typescript ../openapi.json -o schema.ts
	tsc --strict --noUncheckedIndexedAccess --noEmit --target es2022 --module nodenext --allowImportingTsExtensions walk.ts
	node walk.ts
)
say "Python"
(
	cd "$SCRATCH/python"
	openapi-python-client generate --path ../openapi.json --output-path goodword --meta none --config generator.yml
	mypy walk.py goodword
	python walk.py
)
say "done"
